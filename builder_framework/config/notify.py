"""The file with the targets of notifications: TOML, a table for each."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from builder_framework.config.values import sentences
from builder_framework.domain import endpoints
from builder_framework.domain.targets import (
    CHATS,
    EVENTS,
    FORGES,
    OUTCOMES,
    USUAL,
    Filter,
    Kind,
    Target,
)
from builder_framework.errors import ConfigError, FieldProblem
from builder_framework.redact import Secret

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover (another Python)
    import tomli as tomllib

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_CHANNEL = re.compile(r"[#@]?[A-Za-z0-9_.-]{1,80}")

Event = Literal["queued", "started", "retried", "phase", "finished", "deployed"]
OutcomeName = Literal["succeeded", "failed", "cancelled"]
Channel = Annotated[str, Field(pattern=_CHANNEL.pattern)]


class _Body(BaseModel):
    """One table. What it lacks has the default that suits its kind."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    kind: Literal["webhook", "rocketchat", "slack", "gitlab", "github", "gitea"]
    url: str | None = None
    url_file: str | None = None
    token: str | None = None
    token_file: str | None = None
    events: list[Event] | None = None
    outcomes: list[OutcomeName] | None = None
    projects: list[str] = Field(default_factory=list)
    always: bool = True
    channel: Channel | None = None
    channels: list[Channel] = Field(default_factory=list)
    context: Annotated[str, Field(min_length=1, max_length=100)] = "builder"
    api: str | None = None

    @field_validator("api")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None:
            with sentences():
                return endpoints.parse(value).url.rstrip("/")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> _Body:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("set either url or url_file")
        kind = Kind(self.kind)
        if kind in FORGES and (self.token is None) == (self.token_file is None):
            raise ValueError(f"a {self.kind} needs either token or token_file")
        if kind not in FORGES and (self.token or self.token_file or self.api):
            raise ValueError("token and api are of gitlab, github and gitea")
        if kind not in CHATS and (self.channel or self.channels):
            raise ValueError("channel and channels are of rocketchat and slack")
        return self


def load(path: Path) -> tuple[Target, ...]:
    """The file's targets. Raises ConfigError with all faults; none of them shows a value."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([FieldProblem(str(path), f"cannot be read: {error}")]) from None
    problems: list[FieldProblem] = []
    found = []
    for name, table in tables.items():
        target, faults = _read_table(name, table)
        problems += faults
        found += [target] if target is not None else []
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _read_table(name: str, table: object) -> tuple[Target | None, list[FieldProblem]]:
    try:
        return _target(name, table), []
    except ValidationError as error:
        return None, [
            FieldProblem(".".join(map(str, (name, *one["loc"]))), one["msg"])
            for one in error.errors(include_url=False, include_input=False)
        ]
    except (OSError, ValueError) as error:
        return None, [FieldProblem(name, str(error))]


def _target(name: str, table: object) -> Target:
    if not NAME.fullmatch(name):
        raise ValueError("a target's name has lower-case letters, digits and -, 32 at most")
    body = _Body.model_validate(table)
    kind = Kind(body.kind)
    with sentences():
        url = endpoints.parse(body.url if body.url is not None else _read(body.url_file)).url
    token = body.token if body.token is not None else _read(body.token_file)
    return Target(
        name=name,
        kind=kind,
        url=Secret(url),
        filter=_filter(kind, body),
        token=Secret(token) if kind in FORGES else None,
        always=body.always,
        projects=frozenset(body.projects),
        channel=body.channel,
        channels=frozenset(body.channels),
        context=body.context,
        api=body.api,
    )


def _filter(kind: Kind, body: _Body) -> Filter:
    usual = {Kind.WEBHOOK: USUAL}
    if kind in CHATS:
        # Of a chat people want to hear how it ended, not all that happens.
        usual[kind] = frozenset({EVENTS["finished"], EVENTS["deployed"]})
    events = usual.get(kind, frozenset(EVENTS.values()))
    chosen = frozenset(EVENTS[name] for name in body.events or ()) or events
    outcomes = frozenset(OUTCOMES[name] for name in body.outcomes or OUTCOMES)
    return Filter(chosen, outcomes)


def _read(file: str | None) -> str:
    return Path(file).read_text(encoding="utf-8").strip() if file is not None else ""
