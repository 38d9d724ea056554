"""The file of what may come in: TOML with forges, rules over their pushes, chats and their apps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from builder_framework import validate_git
from builder_framework.config.notify import NAME
from builder_framework.config.values import sentences
from builder_framework.domain import endpoints, triggers
from builder_framework.domain.hooks import App, Cloning, Forge, Hooks, Room
from builder_framework.domain.targets import Kind
from builder_framework.domain.triggers import Rule
from builder_framework.errors import ConfigError, FieldProblem
from builder_framework.redact import Secret

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover (another Python)
    import tomli as tomllib

MIN_SECRET = 16
"""Characters. Whoever knows one has builds made; there is no brake on guessing."""


def _checked(check: Callable[[str], str]) -> AfterValidator:
    def run(value: str) -> str:
        with sentences():
            return check(value)

    return AfterValidator(run)


def _templates(known: frozenset[str]) -> AfterValidator:
    return _checked(lambda text: triggers.template(text, known))


def _root(url: str) -> str:
    return endpoints.parse(url).url.rstrip("/")


Pattern = Annotated[str, _checked(triggers.pattern)]
Url = Annotated[str, _checked(_root)]
OfPushes = Annotated[str, _templates(triggers.OF_PUSHES)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ForgeTable(_Table):
    """`[forges.NAME]`."""

    kind: Literal["gitlab", "github", "gitea"]
    url: Url
    secret: str | None = None
    secret_file: str | None = None
    user: Name
    token: str | None = None
    token_file: str | None = None
    api: Url | None = None
    repositories: Annotated[list[Pattern], Len(1)] = Field(default_factory=lambda: ["**"])
    clone: Literal["https", "ssh"] = "https"
    username: str | None = None
    password: str | None = None
    password_file: str | None = None
    ssh_key_file: str | None = None
    known_hosts_file: str | None = None
    files: bool = False
    file_images: list[Annotated[str, _templates(triggers.OF_FORGES)]] = Field(default_factory=list)
    file_fields: list[str] = Field(default_factory=list)
    build: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> ForgeTable:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("set either secret or secret_file")
        if self.token is not None and self.token_file is not None:
            raise ValueError("set either token or token_file")
        if self.password is not None and self.password_file is not None:
            raise ValueError("set either password or password_file")
        if self.files and not self.file_images:
            raise ValueError(
                "files needs file_images: what repositories may push to by their own files, "
                'like ["registry.example.org/{repository}"]'
            )
        if self.clone == "https" and (self.ssh_key_file or self.known_hosts_file):
            raise ValueError('ssh_key_file and known_hosts_file need clone = "ssh"')
        if self.clone == "ssh" and (self.username or self.password or self.password_file):
            raise ValueError('username and password are of clone = "https"')
        return self


class RuleTable(_Table):
    """One of `[[rules]]`."""

    repositories: Annotated[list[Pattern], Len(1)]
    images: Annotated[list[OfPushes], Len(1)]
    branches: list[Pattern] = Field(default_factory=list)
    tags: list[Pattern] = Field(default_factory=list)
    forges: list[str] = Field(default_factory=list)
    build: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> RuleTable:
        if not (self.branches or self.tags):
            raise ValueError('set branches or tags, like branches = ["main"]')
        return self


class AppTable(_Table):
    """`[apps.NAME]`."""

    repository: str
    ref: str | None = None
    images: Annotated[list[Annotated[str, _templates(triggers.OF_APPS)]], Len(1)]
    build: dict[str, Any] = Field(default_factory=dict)


class ChatTable(_Table):
    """`[chats.NAME]`."""

    kind: Literal["rocketchat"]
    token: str | None = None
    token_file: str | None = None
    users: dict[str, Name] = Field(default_factory=dict)
    user: Name | None = None
    channels: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_together(self) -> ChatTable:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("set either token or token_file")
        if not self.users and self.user is None:
            raise ValueError("set users or user: whose builds are those that the chat asks for?")
        return self


class _File(_Table):
    forges: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rules: list[dict[str, Any]] = Field(default_factory=list)
    apps: dict[str, dict[str, Any]] = Field(default_factory=dict)
    chats: dict[str, dict[str, Any]] = Field(default_factory=dict)


Made = TypeVar("Made")


class _Reader:
    """Makes values of tables, and remembers what is wrong."""

    def __init__(self) -> None:
        self.problems: list[FieldProblem] = []

    def make(self, where: tuple[str | int, ...], make: Callable[[], Made]) -> Made | None:
        """None when it cannot be made."""
        try:
            return make()
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                path = ".".join(map(str, (*where, *one["loc"])))
                self.problems.append(FieldProblem(path, one["msg"].removeprefix("Value error, ")))
        except OSError as error:
            words = f"{error.filename}: {error.strerror}"
            self.problems.append(FieldProblem(".".join(map(str, where)), words))
        except ValueError as error:
            self.problems.append(FieldProblem(".".join(map(str, where)), str(error)))
        return None

    def named(
        self, part: str, tables: Mapping[str, Any], make: Callable[[str, Any], Made]
    ) -> dict[str, Made]:
        """By name, which is part of a path or is typed."""
        found = {}
        for name, table in tables.items():
            if not NAME.fullmatch(name):
                words = "a name has lower-case letters, digits and -, 32 at most"
                self.problems.append(FieldProblem(f"{part}.{name}", words))
                continue
            one = self.make((part, name), lambda name=name, table=table: make(name, table))  # type: ignore[misc]
            if one is not None:
                found[name] = one
        return found


def load(path: Path) -> Hooks:
    """What the file says. Raises ConfigError with all faults; none of them shows a value."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([FieldProblem(str(path), f"cannot be read: {error}")]) from None
    reader = _Reader()
    file = reader.make((), lambda: _File.model_validate(document))
    if file is None:
        raise ConfigError(reader.problems)
    forges = reader.named("forges", file.forges, _forge)
    rooms = reader.named("chats", file.chats, _room)
    apps = reader.named("apps", file.apps, lambda _, table: _app(table))
    made = [
        reader.make(("rules", number), lambda table=table: _rule(table))  # type: ignore[misc]
        for number, table in enumerate(file.rules)
    ]
    rules = tuple(rule for rule in made if rule is not None)
    if twice := sorted(set(file.forges) & set(file.chats)):
        reader.problems.append(FieldProblem(f"chats.{twice[0]}", "is the name of a forge, too"))
    for number, rule in enumerate(made):
        if rule is not None and (unknown := sorted(set(rule.forges) - set(file.forges))):
            words = f"there is no forge {unknown[0]!r}"
            reader.problems.append(FieldProblem(f"rules.{number}.forges", words))
    if reader.problems:
        raise ConfigError(reader.problems)
    return Hooks(forges, rooms, rules, apps)


def _forge(name: str, table: Any) -> Forge:
    body = ForgeTable.model_validate(table)
    return Forge(
        name=name,
        kind=Kind(body.kind),
        url=body.url,
        secrets=_secrets(body.secret, body.secret_file),
        user=body.user,
        token=_secret(body.token, body.token_file),
        api=body.api,
        repositories=tuple(body.repositories),
        cloning=_cloning(body),
        files=body.files,
        file_images=tuple(body.file_images),
        file_fields=frozenset(body.file_fields),
        build=body.build,
    )


def _cloning(body: ForgeTable) -> Cloning:
    key = hosts = None
    with sentences():
        if body.ssh_key_file is not None:
            key = Secret(validate_git.private_key(_read(body.ssh_key_file)))
        if body.known_hosts_file is not None:
            hosts = validate_git.known_hosts(_read(body.known_hosts_file))
    password = _secret(body.password, body.password_file)
    return Cloning(body.clone == "ssh", body.username, password, key, hosts)


def _room(name: str, table: Any) -> Room:
    body = ChatTable.model_validate(table)
    tokens = _secrets(body.token, body.token_file)
    return Room(name, tokens, dict(body.users), body.user, frozenset(body.channels))


def _rule(table: Any) -> Rule:
    body = RuleTable.model_validate(table)
    return Rule(
        images=tuple(body.images),
        branches=tuple(body.branches),
        tags=tuple(body.tags),
        build=body.build,
        repositories=tuple(body.repositories),
        forges=tuple(body.forges),
    )


def _app(table: Any) -> App:
    body = AppTable.model_validate(table)
    return App(body.repository, tuple(body.images), body.ref, body.build)


def _secrets(text: str | None, file: str | None) -> tuple[Secret, ...]:
    """One on each line: while it is being changed there are two."""
    lines = (text if text is not None else _read(file)).splitlines()
    found = [line.strip() for line in lines if line.strip()]
    if not found or any(len(one) < MIN_SECRET for one in found):
        raise ValueError(f"a secret has {MIN_SECRET} characters or more: `openssl rand -hex 32`")
    return tuple(map(Secret, found))


def _secret(text: str | None, file: str | None) -> Secret | None:
    if text is None and file is None:
        return None
    return Secret(text if text is not None else _read(file).strip())


def _read(file: str | None) -> str:
    return Path(file).read_text(encoding="utf-8") if file is not None else ""
