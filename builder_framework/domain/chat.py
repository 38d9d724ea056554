"""A message for people: what Rocket.Chat and Slack show of a build. Pure.

Both take `text` and `attachments` with `color`, `title`, `title_link`, `text` and `fields`
(`title`, `value`, `short`): https://docs.rocket.chat/docs/integrations,
https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments.
"""

from __future__ import annotations

import json
import re
from typing import Any

from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.model import Build
from builder_framework.domain.notices import Notice
from builder_framework.domain.states import State
from builder_framework.domain.targets import Kind
from builder_framework.recipe import GitSource, TarballSource, TaskSource, UploadSource
from builder_framework.redact import Redactor

MAX_TEXT = 300
"""Characters of anything that somebody else wrote."""

MAX_CODE = 3000
"""Characters of a log; with what is said around it less than a message may have."""

_COLORS = {State.SUCCEEDED: "#2e8540", State.FAILED: "#c62828", State.CANCELLED: "#757575"}
_RUNNING = "#1565c0"
_WORDS = {
    Notice.QUEUED: "is queued",
    Notice.STARTED: "has started",
    Notice.RETRIED: "is tried again",
    Notice.PHASE: "goes on",
    Notice.DEPLOYED: "is deployed",
}
_DEPLOYMENTS = {
    DeploymentState.WAITING: "is on its way to {}",
    DeploymentState.DEPLOYING: "is on its way to {}",
    DeploymentState.ROLLING_BACK: "is on its way back from {}",
    DeploymentState.SUCCEEDED: "runs in {}",
    DeploymentState.ROLLED_BACK: "did not come up in {}, which was rolled back",
    DeploymentState.FAILED: "was not deployed to {}",
    DeploymentState.SKIPPED: "was not deployed to {}: a later build is",
}
_IN_PLACE = frozenset({DeploymentState.SUCCEEDED, DeploymentState.SKIPPED})
ENDS = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELLED: "was cancelled"}
"""How a sentence about a build that is over goes on."""
# What Rocket.Chat's markdown, its mentions and Slack's mrkdwn could take for something else.
_MARKS = re.compile(r"([*~`\[\]<>\\@#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
# Control sequences of terminals (ECMA-48): CSI, OSC, and the short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


def message(
    build: Build,
    notice: Notice,
    kind: Kind,
    channel: str | None,
    link: str | None,
    deployment: Deployment | None = None,
) -> str:
    """The body, as JSON. Without secrets, and nothing in it that somebody else wrote is markup.

    `deployment`: what it is about, when it is DEPLOYED.
    """
    show = _Shown(build.request.redactor(), kind)
    first, *others = build.request.titles
    more = f" (+{len(others)})" if others else ""
    title = f"{show(first)}{more} {_what(build, notice)}"
    color = _COLORS.get(build.state, _RUNNING)
    fields = _fields(build, show)
    if deployment is not None:
        title = f"{show(first)} {_DEPLOYMENTS[deployment.state].format(show(deployment.app))}"
        color = _COLORS[State.SUCCEEDED if deployment.state in _IN_PLACE else State.FAILED]
        if deployment.message is not None:
            fields.append(("Reason", show(deployment.message)))
    attachment: dict[str, Any] = {
        "color": color,
        "title": title,
        "fallback": title,
        "fields": [
            {"title": name, "value": value, "short": name != "Reason"} for name, value in fields
        ],
    }
    if link is not None:
        attachment["title_link"] = link
    body: dict[str, Any] = {"attachments": [attachment]}
    if channel is not None:
        body["channel"] = channel
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def plain(text: str) -> str:
    """A text of somebody else's for Rocket.Chat: in one line, cut, and no markup, nobody's name."""
    # A word joiner after it: shown as it is, read as no markup.
    return _MARKS.sub("\\1\u2060", _clean(text))


def _clean(text: str) -> str:
    line = _HIDDEN.sub(" ", text)
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def code(text: str) -> str:
    """Lines of somebody else's as a block of code: the end of it, at most MAX_CODE characters."""
    lines = [_HIDDEN.sub(" ", _ESCAPES.sub("", line)) for line in text.splitlines()]
    inside = "\n".join(lines).replace("`", "`\u2060")[-MAX_CODE:]
    return f"```\n{inside}\n```"


class _Shown:
    """Texts of others: masked, cut, and with nothing that a chat would make something of."""

    def __init__(self, redactor: Redactor, kind: Kind) -> None:
        self.redactor = redactor
        self._kind = kind

    def __call__(self, text: str) -> str:
        masked = self.redactor.text(text)
        if self._kind is Kind.SLACK:
            # "How to escape characters"; mentions and links are written with these three.
            clean = _clean(masked)
            return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return plain(masked)


def _what(build: Build, notice: Notice) -> str:
    if notice is not Notice.FINISHED:
        return _WORDS[notice]
    seconds = (build.ended_at or build.state_since) - build.created_at
    return f"{ENDS[build.state]} after {duration(seconds)}"


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fields(build: Build, show: _Shown) -> list[tuple[str, str]]:
    found = [("Source", _source(build, show))]
    if build.result.commit is not None:
        found.append(("Commit", show(build.result.commit[:12])))
    found.append(("By", show(build.owner)))
    if build.request.project is not None:
        found.append(("Project", show(build.request.project)))
    if build.result.digest is not None:
        found.append(("Digest", show(build.result.digest)))
    if build.reason is not None:
        why = f"{build.reason.value}: {build.message}" if build.message else build.reason.value
        found.append(("Reason", show(why)))
    found.append(("Build", build.id))
    return found


def _source(build: Build, show: _Shown) -> str:
    match build.request.source.given:
        case GitSource(url=url, ref=ref):
            where = show(show.redactor.git_url(url))
            return where if ref is None else f"{where} {show(ref)}"
        case TarballSource() as tarball:
            return show(tarball.url)
        case UploadSource():
            return "an upload"
        case TaskSource():
            return "a task"
        case _:
            return "a Dockerfile of the request"
