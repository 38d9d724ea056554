"""`GET /api/v1/audit`, and what every request that changes something leaves there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from flask import Blueprint, Flask, Response, g, request

from api import auth, params
from api.described import Answer, Parameter, describes
from builder_framework import answers
from builder_framework.audit import LOGIN_FAILED, Audit, Entry, Query
from builder_framework.codec import timestamp
from builder_framework.domain.access import Action

# Endpoint -> what it is called in the trail. One that is not here is there as itself.
ACTIONS = {
    "v1.submit": "build.submit",
    "v1.cancel": "build.cancel",
    "v1.ask_again": "build.rebuild",
    "v1.redeliver": "webhook.redeliver",
    "people.create": "token.create",
    "people.revoke": "token.revoke",
    "scheduler.change": "scheduler.change",
    "hooks.receive": "hook.receive",
    "eremetic.v1_add": "build.submit",
    "eremetic.v0_add": "build.submit",
    "eremetic.v1_kill": "build.cancel",
    "eremetic.v0_kill": "build.cancel",
    "eremetic.v1_delete": "task.delete",
    "eremetic.v0_delete": "task.delete",
}

_PAGE = Answer(200, answers.AuditPage)
_PARAMETERS = (
    Parameter("user", {"type": "string"}, "what this user did"),
    Parameter("action", {"type": "string"}, "for example `build.cancel`"),
    Parameter("subject", {"type": "string"}, "what was about this build, project or token"),
    params.limit(params.DEFAULT_PAGE, params.MAX_PAGE),
    Parameter("before", {"type": "integer", "minimum": 1, "maximum": 2**62}, "`next` of a page"),
)

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_MINUTE = 60.0

MOST_OF_ADDRESS = 20
"""Failed logins of one address in a minute that are written down."""

MOST = 200
"""Of all addresses together."""

_LONGEST = 200
"""Characters of a subject; what stands in a path is the caller's."""


def about(subject: str) -> None:
    """What this request made, where its path does not say so."""
    g.builder_subject = subject


class _Few:
    """How many failed logins are written down: whoever has no password must not fill the disk.

    `builder_logins_failed_total` counts all of them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._since = clock()
        self._of: Counter[str] = Counter()

    def allows(self, address: str) -> bool:
        """Whether this one is; it counts then."""
        if self._clock() - self._since >= _MINUTE:
            self._since = self._clock()
            self._of.clear()
        if self._of[address] >= MOST_OF_ADDRESS or self._of.total() >= MOST:
            return False
        self._of[address] += 1
        return True


def install(app: Flask, audit: Audit, is_user: Callable[[str], bool]) -> None:
    """Write down each change, done or refused, and failed logins. `is_user`: by name."""
    few = _Few(time.monotonic)

    def note(response: Response) -> Response:
        action = _action(response)
        if action == LOGIN_FAILED and not few.allows(request.remote_addr or ""):
            return response
        if action is not None:
            audit.record(_entry(action, response, is_user))
        return response

    app.after_request(note)


def blueprint(audit: Audit) -> Blueprint:
    """`/api/v1/audit`."""
    made = Blueprint("audit", __name__, url_prefix="/api/v1/audit")

    @made.get("")
    @auth.needs(Action.OPERATE)
    @describes("listAudit", _PAGE, parameters=_PARAMETERS)
    def listing() -> Response:
        """Entries, the newest first."""
        query = params.Params(request.args, ("user", "action", "subject", "limit", "before"))
        before = query.number("before", 0, 1, 2**62)
        wanted = Query(
            user=query.text("user"),
            action=query.text("action"),
            subject=query.text("subject"),
            limit=query.number("limit", params.DEFAULT_PAGE, 1, params.MAX_PAGE),
            before=before or None,
        )
        query.done()
        entries, following = audit.page(wanted)
        return _PAGE.of({"entries": [_shown(entry) for entry in entries], "next": following})

    return made


def _action(response: Response) -> str | None:
    if response.status_code == 401:
        return LOGIN_FAILED if "Authorization" in request.headers else None
    if request.method not in _WRITES or request.endpoint is None or not hasattr(g, "builder_actor"):
        return None
    return ACTIONS.get(request.endpoint, request.endpoint)


def _entry(action: str, response: Response, is_user: Callable[[str], bool]) -> Entry:
    user, token = getattr(g, "builder_login", None), None
    if user is not None and not is_user(user):
        user = None
    if hasattr(g, "builder_actor"):
        user, token = auth.actor().name, auth.actor().token
    subject = getattr(g, "builder_subject", None)
    if subject is None and action != LOGIN_FAILED:
        subject = "/".join(map(str, (request.view_args or {}).values())) or None
    return Entry(
        at=time.time(),
        user=user,
        token=token,
        action=action,
        subject=None if subject is None else subject[:_LONGEST],
        status=response.status_code,
        address=request.remote_addr or "",
        request_id=g.builder_request_id,
    )


def _shown(entry: Entry) -> answers.AuditEntry:
    return {
        "at": timestamp(entry.at),
        "user": entry.user,
        "token": entry.token,
        "action": entry.action,
        "subject": entry.subject,
        "status": entry.status,
        "address": entry.address,
        "request_id": entry.request_id,
    }
