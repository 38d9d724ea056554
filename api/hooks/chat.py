"""Orders from a chat: what Rocket.Chat's outgoing webhooks send, and the answer to it.

The body and the answer: docs.rocket.chat, "Outgoing webhook": JSON with `token`, `user_name`,
`channel_name`, `message_id`, `text`, `trigger_word`, `bot`; `{"text": …}` is put into the channel.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api import logtext, render
from api.hooks import orders
from api.hooks.orders import Parts
from builder_framework.domain import chat as words
from builder_framework.domain.access import Action, Actor, Subject, Verdict, decide
from builder_framework.domain.hooks import Room
from builder_framework.domain.model import is_build_id
from builder_framework.domain.states import TERMINAL, State
from builder_framework.errors import (
    BuilderError,
    FieldProblem,
    InvalidInputError,
    LeadershipLostError,
    NotFoundError,
    StaleWriteError,
    StoreUnavailableError,
    no_build,
)
from builder_framework.ports import BuildView, Idempotency, ListQuery
from builder_framework.validate import git_ref

MAX_ANSWER = 4000
"""Characters; Rocket.Chat takes 5000 (`Message_MaxAllowedSize`)."""

MOST = 10
"""Builds that `status` tells of."""

HELP = """\
`build APP [REF]`: build an app at a branch, tag or commit
`status [APP or BUILD]`: what goes on, the last build of an app, or one build
`logs BUILD`: the end of its log
`cancel BUILD`: end it"""

_COMMANDS = ("build", "status", "logs", "log", "cancel", "help")

Text = Annotated[str, Field(max_length=512)]


class Message(BaseModel):
    """What somebody wrote. `bot`: a program did."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    token: Text = ""
    user_name: Text = ""
    channel_name: Text | None = None
    message_id: Text = ""
    text: Annotated[str, Field(max_length=64 * 1024)] = ""
    trigger_word: Text | None = None
    bot: Any = None


def parse(body: bytes) -> Message:
    """Raises InvalidInputError."""
    try:
        return Message.model_validate(json.loads(body))
    except ValidationError as error:
        raise InvalidInputError(
            [
                FieldProblem(".".join(map(str, one["loc"])) or "body", one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None
    except (ValueError, RecursionError):
        raise InvalidInputError([FieldProblem("body", "is no JSON")]) from None


def is_from(room: Room, token: str) -> bool:
    """Whether the sender knows one of the room's tokens."""
    given = token.encode("utf-8", "surrogatepass")
    return any(hmac.compare_digest(given, one.reveal().encode()) for one in room.tokens)


def answer(parts: Parts, message: Message, actor: Actor) -> str:
    """Does what was said, and tells what came of it; always something for people."""
    command, *rest = _words(message) or ["help"]
    known: dict[str, Callable[[_Talk, Sequence[str]], str]] = {
        "build": _Talk.build,
        "status": _Talk.status,
        "logs": _Talk.logs,
        "log": _Talk.logs,
        "cancel": _Talk.cancel,
    }
    do = known.get(command.casefold())
    if do is None:
        return HELP
    try:
        return do(_Talk(parts, actor, message), rest)[:MAX_ANSWER]
    except InvalidInputError as error:
        return words.plain("; ".join(f"{one.field}: {one.problem}" for one in error.problems))
    except (StoreUnavailableError, LeadershipLostError, StaleWriteError):
        return "I cannot do that right now; nothing was changed. Try again in a moment."
    except BuilderError as error:
        return words.plain(error.message)


def _words(message: Message) -> list[str]:
    found = message.text.split()
    trigger = (message.trigger_word or "").split()
    if trigger and [each.casefold() for each in found[: len(trigger)]] == [
        each.casefold() for each in trigger
    ]:
        rest = found[len(trigger) :]
        # Who chose a command as the trigger word means it.
        return found if trigger[-1].casefold() in _COMMANDS else rest
    return found


class _Talk:
    """One order of one user."""

    def __init__(self, parts: Parts, actor: Actor, message: Message) -> None:
        self._parts = parts
        self._actor = actor
        self._message = message

    def build(self, rest: Sequence[str]) -> str:
        apps = self._parts.hooks.apps
        if not 1 <= len(rest) <= 2:
            return f"Say `build APP [REF]`. {self._apps()}"
        app = apps.get(rest[0].casefold())
        if app is None:
            return f"I know no app {words.plain(rest[0])}. {self._apps()}"
        ref = git_ref(rest[1]) if len(rest) == 2 else None
        body = orders.of_app(app, ref)
        about = {"app": rest[0].casefold(), "asked-by": self._message.user_name}
        body["labels"] = {**body.get("labels", {}), **about}
        once = None
        if self._message.message_id:
            once = Idempotency(f"chat {self._message.message_id}"[:255], "chat")
        builds = self._parts.builds
        view = builds.replayed(self._actor.name, once) if once else None
        if view is None:
            request = self._parts.admitted(body, self._actor)
            view, _ = builds.submit(request, self._actor.name, once)
        return self._line(view)

    def status(self, rest: Sequence[str]) -> str:
        if not rest:
            return self._all()
        app = self._parts.hooks.apps.get(rest[0].casefold())
        if app is None:
            return self._line(self._found(rest[0], Action.SEE))
        query = ListQuery(git_url=app.repository, visible=self._actor.visible, limit=1)
        page = self._parts.builds.list(query)
        if not page.builds:
            return f"There is no build of {words.plain(rest[0])} yet."
        return self._line(page.builds[0])

    def logs(self, rest: Sequence[str]) -> str:
        if len(rest) != 1:
            return "Say `logs BUILD`."
        view = self._found(rest[0], Action.SEE)
        text = view.build.request.redactor().text(logtext.tail(self._parts.builds, view))
        line = self._line(view)
        return f"{line}\n{words.code(text)}" if text else f"{line} (no log yet)"

    def cancel(self, rest: Sequence[str]) -> str:
        if len(rest) != 1:
            return "Say `cancel BUILD`."
        view = self._found(rest[0], Action.CHANGE)
        return self._line(self._parts.builds.cancel(view.build.id, self._actor.name))

    def _all(self) -> str:
        busy = tuple(state for state in State if state not in TERMINAL)
        query = ListQuery(states=busy, visible=self._actor.visible, limit=MOST)
        page = self._parts.builds.list(query)
        lines = [self._line(view) for view in page.builds]
        if page.next_cursor is not None:
            lines.append("… and more")
        return "\n".join(lines) or "Nothing is being built, and nothing waits."

    def _found(self, build_id: str, action: Action) -> BuildView:
        """Raises NotFoundError, also when it is not to be seen."""
        if not is_build_id(build_id):
            raise NotFoundError(f"{build_id!r} is neither a build nor an app. {self._apps()}")
        view = self._parts.builds.get(build_id)
        subject = Subject(view.build.request.project, view.build.owner)
        verdict = decide(self._actor, action, subject)
        if verdict is Verdict.HIDDEN:
            raise no_build(build_id)
        if verdict is Verdict.FORBIDDEN:
            raise NotAllowedError(f"you may not do that with build {build_id}")
        return view

    def _apps(self) -> str:
        names = ", ".join(sorted(self._parts.hooks.apps))
        return f"Apps: {names}." if names else "No apps are set up."

    def _line(self, view: BuildView) -> str:
        shown = render.build(view)
        link = self._parts.link(view.build.id)
        build_id = f"[{shown['id']}]({link})" if link is not None else f"`{shown['id']}`"
        text = f"{build_id} {words.plain(', '.join(view.build.request.titles))} {_state(view)}"
        if view.build.reason is not None and view.build.state is not State.SUCCEEDED:
            text += f": {words.plain(shown['message'] or view.build.reason.value)}"
        return text


class NotAllowedError(BuilderError):
    """The user's role does not go so far."""

    code = "forbidden"


def _state(view: BuildView) -> str:
    build = view.build
    if build.state is State.QUEUED and view.waiting is not None:
        return f"is number {view.waiting.position} of the queue"
    if build.terminal:
        ended = build.ended_at or build.state_since
        return f"{words.ENDS[build.state]} after {words.duration(ended - build.created_at)}"
    if build.phase is not None:
        return f"is {build.phase.value.lower()}"
    return f"is {build.state.value.lower()}"
