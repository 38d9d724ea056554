"""The types of the body's fields: pydantic around the grammars of `validate`.

No message repeats a value: a faulty one may be a credential.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, NoReturn

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError

from builder_framework import validate, validate_git, validate_options
from builder_framework.domain import offers
from builder_framework.errors import InvalidValueError
from builder_framework.ports import RequestPolicy

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
MAX_MOUNTS = 50
MAX_HOSTS = 50
MAX_CACHES = 10
MAX_PLATFORMS = 10
MAX_REGISTRIES = 20
MAX_LOGINS = 20
MIN_CPUS = 0.01
"""What Mesos itself calls the least (`MIN_CPUS`, src/slave/constants.hpp)."""
MIN_MEM = 32.0
"""MiB; `MIN_MEM` of the same file."""
MIN_SECONDS = 1.0

_ATTRIBUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)


def fail(problem: str) -> NoReturn:
    """Raise what pydantic shows as this sentence."""
    raise PydanticCustomError("invalid_value", "{problem}", {"problem": problem})


def checked(check: Callable[[str], object]) -> AfterValidator:
    """A validator from one of `validate`'s functions; the value becomes the canonical text."""

    def run(value: str) -> str:
        try:
            return str(check(value))
        except InvalidValueError as error:
            fail(error.message)

    return AfterValidator(run)


def _printable(value: str) -> str:
    # HTTP headers and git's credential protocol are lines of text.
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        fail("has control characters")
    return value


def _username(value: str) -> str:
    if ":" in value:
        fail("must not have a ':' (basic authentication ends the user's name there)")
    return _printable(value)


def _constraint(row: list[str]) -> list[str]:
    attribute, operator, value = row
    if not _ATTRIBUTE.fullmatch(attribute):
        fail("the attribute is not 1 to 128 of A-Za-z0-9._/- beginning with a letter or digit")
    if operator not in offers.Operator.__members__:
        fail(f"the operator is not one of {', '.join(offers.Operator.__members__)}")
    if len(value) > MAX_PATTERN_LENGTH or not value.isprintable():
        fail(f"the value is not up to {MAX_PATTERN_LENGTH} printable characters")
    if operator in (offers.Operator.LIKE.value, offers.Operator.UNLIKE.value):
        try:
            offers.compile_pattern(value)
        except InvalidValueError:
            fail("the value is not an RE2 pattern (https://github.com/google/re2/wiki/Syntax)")
    return row


def unique(values: list[str]) -> list[str]:
    """No value twice."""
    if len(set(values)) != len(values):
        fail("an entry is listed more than once")
    return values


Image = Annotated[str, checked(validate.image_reference)]
Username = Annotated[str, Len(1, MAX_USERNAME_LENGTH), AfterValidator(_username)]
Password = Annotated[str, Len(1, MAX_PASSWORD_LENGTH), AfterValidator(_printable)]
Text = Annotated[str, checked(validate.text_value)]
LabelKey = Annotated[str, checked(validate.label_key)]
MountId = Annotated[str, checked(validate_options.mount_id)]
SecretText = Annotated[str, checked(validate_options.secret_value)]
HostName = Annotated[str, checked(validate_options.host_name)]
Address = Annotated[str, checked(validate_options.ip_address)]
Platform = Annotated[str, checked(validate_options.platform)]
RegistryName = Annotated[str, checked(validate_options.registry)]
PrivateKey = Annotated[str, checked(validate_git.private_key)]
KnownHosts = Annotated[str, checked(validate_git.known_hosts)]
GitHost = Annotated[str, checked(validate_git.login_host)]
ConstraintRow = Annotated[list[str], Len(3, 3), AfterValidator(_constraint)]


class Body(BaseModel):
    """A part of the body: unknown fields, wrong types and faulty defaults are errors."""

    # Defaults are validated too: that is when a field that is missing beside another is told.
    # Inputs are hidden, because a faulty one may be a credential.
    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True, frozen=True
    )


def policy_of(info: ValidationInfo) -> RequestPolicy:
    """The operator's limits, which whoever validates hands in."""
    policy = (info.context or {}).get("policy")
    return policy if isinstance(policy, RequestPolicy) else RequestPolicy()


def within(value: float | None, least: float, most: float, unit: str) -> float | None:
    """`value` if it is between both."""
    if value is None:
        return None
    if value < least:
        fail(f"must be at least {least:g}{unit}")
    if value > most:
        fail(f"must be at most {most:g}{unit} (the operator's limit)")
    return value
