"""The body of `POST /api/v1/builds`: its shape, its limits, and the domain value it becomes.

One pass reports every faulty field: shape (pydantic), grammar (`validate`), the operator's limits,
duplicate keys, and unknown fields with what may have been meant. No message repeats a value.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

from annotated_types import Len
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from api import strictjson
from builder_framework import validate
from builder_framework.domain import endpoints, offers
from builder_framework.domain.model import BuildRequest, Constraint, Resources
from builder_framework.errors import FieldProblem, InvalidInputError, InvalidValueError
from builder_framework.ports import RequestPolicy
from builder_framework.recipe import GitSource, Recipe, RegistryAuth, Source
from builder_framework.redact import Secret

MAX_IMAGES = 20
MAX_CONSTRAINTS = 20
MAX_PATTERN_LENGTH = 256
MAX_BUILD_ARGS = 200
MAX_LABELS = 100
MAX_USERNAME_LENGTH = 255
MAX_PASSWORD_LENGTH = 4096
"""Characters. Tokens of cloud registries are JWTs of one to three thousand."""
MAX_PRIORITY = 1000
MAX_WEBHOOKS = 5
MIN_CPUS = 0.01
"""What Mesos itself calls the least (`MIN_CPUS`, src/slave/constants.hpp)."""
MIN_MEM = 32.0
"""MiB; `MIN_MEM` of the same file."""
MIN_SECONDS = 1.0

_ATTRIBUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)


def _fail(problem: str) -> NoReturn:
    raise PydanticCustomError("invalid_value", "{problem}", {"problem": problem})


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """A validator from one of `validate`'s functions; the value becomes the canonical text."""

    def run(value: str) -> str:
        try:
            return str(check(value))
        except InvalidValueError as error:
            _fail(error.message)

    return AfterValidator(run)


def _printable(value: str) -> str:
    # HTTP headers and git's credential protocol are lines of text.
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        _fail("has control characters")
    return value


def _username(value: str) -> str:
    if ":" in value:
        _fail("must not have a ':' (basic authentication ends the user's name there)")
    return _printable(value)


def _constraint(row: list[str]) -> list[str]:
    attribute, operator, value = row
    if not _ATTRIBUTE.fullmatch(attribute):
        _fail("the attribute is not 1 to 128 of A-Za-z0-9._/- beginning with a letter or digit")
    if operator not in offers.Operator.__members__:
        _fail(f"the operator is not one of {', '.join(offers.Operator.__members__)}")
    if len(value) > MAX_PATTERN_LENGTH or not value.isprintable():
        _fail(f"the value is not up to {MAX_PATTERN_LENGTH} printable characters")
    if operator in (offers.Operator.LIKE.value, offers.Operator.UNLIKE.value):
        try:
            offers.compile_pattern(value)
        except InvalidValueError:
            _fail("the value is not an RE2 pattern (https://github.com/google/re2/wiki/Syntax)")
    return row


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        _fail("the same image is listed more than once")
    return values


Image = Annotated[str, _checked(validate.image_reference)]
Username = Annotated[str, Len(1, MAX_USERNAME_LENGTH), AfterValidator(_username)]
Password = Annotated[str, Len(1, MAX_PASSWORD_LENGTH), AfterValidator(_printable)]
Text = Annotated[str, _checked(validate.text_value)]
ConstraintRow = Annotated[list[str], Len(3, 3), AfterValidator(_constraint)]


class _Model(BaseModel):
    # Defaults are validated too: that is when a field that is missing beside another is told.
    # Inputs are hidden, because a faulty one may be a credential.
    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True, frozen=True
    )


def _policy(info: ValidationInfo) -> RequestPolicy:
    policy = (info.context or {}).get("policy")
    return policy if isinstance(policy, RequestPolicy) else RequestPolicy()


def _within(value: float | None, least: float, most: float, unit: str) -> float | None:
    if value is None:
        return None
    if value < least:
        _fail(f"must be at least {least:g}{unit}")
    if value > most:
        _fail(f"must be at most {most:g}{unit} (the operator's limit)")
    return value


class GitBody(_Model):
    """`source.git`."""

    url: str
    ref: Annotated[str, _checked(validate.git_ref)] | None = None
    username: Username | None = None
    password: Password | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        try:
            return validate.git_url(value, _policy(info).git_protocols)
        except InvalidValueError as error:
            _fail(error.message)

    @field_validator("password")
    @classmethod
    def _with_username(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "username" in info.data and (info.data["username"] is None) is not (value is None):
            missing = "username" if value is not None else "password"
            _fail(f"username and password go together: {missing} is missing")
        url = info.data.get("url")
        if value is not None and url is not None and not url.startswith(("https://", "http://")):
            _fail("a user and password are for git over https only")
        return value


class SourceBody(_Model):
    """`source`."""

    git: GitBody


class RegistryAuthBody(_Model):
    """`registry_auth`: one login, for the registry of every image."""

    username: Username
    password: Password


class ResourcesBody(_Model):
    """`resources`: cpus in cores, mem and disk in MiB; what is left out gets the default."""

    cpus: float | None = None
    mem: float | None = None
    disk: float | None = None

    @field_validator("cpus", "mem", "disk")
    @classmethod
    def _limits(cls, value: float | None, info: ValidationInfo) -> float | None:
        most = _policy(info).max_resources
        if info.field_name == "cpus":
            return _within(value, MIN_CPUS, most.cpus, "")
        if info.field_name == "mem":
            return _within(value, MIN_MEM, most.mem, " MiB")
        return _within(value, 0.0, most.disk, " MiB")


class BuildBody(_Model):
    """The whole body. Only `source` and `images` are required; times in seconds."""

    source: SourceBody
    images: Annotated[list[Image], Len(1, MAX_IMAGES), AfterValidator(_unique)]
    context: Annotated[
        str, _checked(lambda path: validate.relative_path(path, allow_root=True))
    ] = "."
    dockerfile: Annotated[str, _checked(validate.relative_path)] = "Dockerfile"
    target: Annotated[str, _checked(validate.target_stage)] | None = None
    build_args: Annotated[
        dict[Annotated[str, _checked(validate.build_arg_name)], Text], Len(0, MAX_BUILD_ARGS)
    ] = Field(default_factory=dict)
    registry_auth: RegistryAuthBody | None = None
    resources: ResourcesBody = Field(default_factory=ResourcesBody)
    constraints: Annotated[list[ConstraintRow], Len(0, MAX_CONSTRAINTS)] = Field(
        default_factory=list
    )
    timeout: float | None = None
    queue_ttl: float | None = None
    max_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    labels: Annotated[
        dict[Annotated[str, _checked(validate.label_key)], Text], Len(0, MAX_LABELS)
    ] = Field(default_factory=dict)

    webhooks: Annotated[list[str], Len(0, MAX_WEBHOOKS)] = Field(default_factory=list)

    @field_validator("images")
    @classmethod
    def _not_staged(cls, value: list[str], info: ValidationInfo) -> list[str]:
        staging = _policy(info).staging_tag
        for image in value:
            if image.rpartition(":")[2] == staging:
                _fail(f"the tag {staging} is where images wait for their own: choose another")
        return value

    @field_validator("webhooks")
    @classmethod
    def _webhooks(cls, value: list[str], info: ValidationInfo) -> list[str]:
        try:
            return [endpoints.allowed(url, _policy(info).webhook_hosts).url for url in value]
        except InvalidValueError as error:
            _fail(error.message)

    @field_validator("timeout", "queue_ttl")
    @classmethod
    def _durations(cls, value: float | None, info: ValidationInfo) -> float | None:
        policy = _policy(info)
        most = policy.max_timeout if info.field_name == "timeout" else policy.max_queue_ttl
        return _within(value, MIN_SECONDS, most, " s")

    def to_request(self, policy: RequestPolicy) -> BuildRequest:
        """The domain's request, with the operator's defaults where nothing was said."""
        git, auth, asked = self.source.git, self.registry_auth, self.resources
        default = policy.default_resources
        return BuildRequest(
            source=Source(
                GitSource(
                    git.url,
                    git.ref,
                    git.username,
                    None if git.password is None else Secret(git.password),
                )
            ),
            images=tuple(self.images),
            timeout=_or(self.timeout, policy.default_timeout),
            queue_ttl=_or(self.queue_ttl, policy.default_queue_ttl),
            resources=Resources(
                _or(asked.cpus, default.cpus),
                _or(asked.mem, default.mem),
                _or(asked.disk, default.disk),
            ),
            recipe=Recipe(
                context=self.context,
                dockerfile=self.dockerfile,
                target=self.target,
                build_args=dict(self.build_args),
            ),
            registry_auth=None
            if auth is None
            else RegistryAuth(auth.username, Secret(auth.password)),
            constraints=tuple(Constraint(*row) for row in self.constraints),
            priority=self.priority,
            max_attempts=self.max_attempts or policy.default_max_attempts,
            labels=dict(self.labels),
            webhooks=tuple(map(Secret, self.webhooks)),
        )

    def fingerprint(self, owner: str) -> str:
        """SHA-256 (hex) over the canonical body and its sender, to tell a replay from a mix-up.

        Canonical: after normalisation, keys sorted, defaults not filled in, so that neither key
        order nor a changed default of the operator makes the same request look different.
        """
        body = json.dumps(
            [owner, self.model_dump(exclude_unset=True)], sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(body.encode()).hexdigest()


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def parse_build(
    document: Any, policy: RequestPolicy, known: list[FieldProblem] | None = None
) -> BuildBody:
    """The body from parsed JSON. `known`: what `strictjson.parse` had found wrong in it.

    Raises InvalidInputError that lists every faulty field, `known` ones first.
    """
    problems = list(known or ())
    body: BuildBody | None = None
    try:
        body = BuildBody.model_validate(document, context={"policy": policy})
    except ValidationError as error:
        told = {item.field for item in problems}
        found = (_field_problem(item) for item in error.errors(include_url=False))
        # One sentence per field: a duplicate key or bad number is the cause of what follows.
        problems += [item for item in found if item.field not in told]
    if problems or body is None:
        raise InvalidInputError(problems)
    return body


_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "finite_number": "must be a finite number",
}


def _field_problem(error: ErrorDetails) -> FieldProblem:
    location = tuple(part for part in error["loc"] if part != "[key]")
    path = strictjson.path_text(location)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return FieldProblem(path, f"unknown field{_did_you_mean(location)}")
    if kind in _SENTENCES:
        return FieldProblem(path or "body", _SENTENCES[kind])
    if kind == "too_long":
        return FieldProblem(path, f"has more than {context['max_length']} entries")
    if kind == "too_short":
        return FieldProblem(path, f"has fewer than {context['min_length']} entries")
    if kind == "string_too_long":
        return FieldProblem(path, f"is longer than {context['max_length']} characters")
    if kind == "string_too_short":
        return FieldProblem(path, "is empty")
    return FieldProblem(path, error["msg"])


_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): BuildBody,
    ("source",): SourceBody,
    ("source", "git"): GitBody,
    ("registry_auth",): RegistryAuthBody,
    ("resources",): ResourcesBody,
}

# Names of other build services, near in meaning but not in spelling.
_SYNONYMS = {
    "image": "images",
    "tag": "images",
    "tags": "images",
    "branch": "ref",
    "commit": "ref",
    "token": "password",
    "user": "username",
    "buildargs": "build_args",
    "args": "build_args",
    "memory": "mem",
    "cpu": "cpus",
    "git": "source",
    "repository": "source",
    "repo": "source",
    "webhook": "webhooks",
    "callback": "webhooks",
    "callback_url": "webhooks",
}


def _did_you_mean(location: tuple[str | int, ...]) -> str:
    parent, name = tuple(str(part) for part in location[:-1]), str(location[-1])
    model = _MODELS.get(parent)
    if model is None:
        return ""
    return suggestion(name, list(model.model_fields))


def suggestion(name: str, known: list[str]) -> str:
    """`; did you mean '…'?` for a misspelt name, or all names when none is near."""
    synonym = _SYNONYMS.get(name.lower())
    if synonym in known:
        return f"; did you mean '{synonym}'?"
    near = difflib.get_close_matches(name[:64].lower(), known, 1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known are {', '.join(known)}"
