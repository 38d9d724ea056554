"""Strict JSON for frozen dataclasses: what was encoded decodes to an equal value, or not at all.

Handles str, int, float, bool, None, `X | None`, `tuple[X, ...]`, `Mapping[str, X]`, enums,
`Secret` (in clear, unless the caller brings functions that seal and open it) and nested
dataclasses.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from builder_framework.errors import ProtocolError
from builder_framework.redact import Secret

T = TypeVar("T")

Seal = Callable[[Secret], str]
"""What is written for a secret."""
Open = Callable[[str], Secret]
"""The secret that something written stands for; may raise errors of its own."""


def to_jsonable(value: Any, seal: Seal = Secret.reveal) -> Any:
    """`value` as plain dicts, lists and scalars; what `seal` makes of them for secrets."""
    if isinstance(value, Secret):
        return seal(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_jsonable(getattr(value, field.name), seal)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item, seal) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_jsonable(item, seal) for item in value]
    return value


def timestamp(seconds: float | None) -> str | None:
    """See `time_of`; of nothing, nothing."""
    return None if seconds is None else time_of(seconds)


def time_of(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(value: Any) -> bytes:
    """`value` (a dataclass) as compact UTF-8 JSON."""
    return json.dumps(to_jsonable(value), separators=(",", ":"), ensure_ascii=False).encode()


def decode(kind: type[T], data: bytes | str, unseal: Open = Secret) -> T:
    """The inverse of `encode`; of `to_jsonable` with the inverse of its `seal`.

    Raises ProtocolError naming the path of the first thing that does not fit, and what `unseal`
    raises.
    """
    try:
        raw = json.loads(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not JSON: {error}") from error
    return from_jsonable(kind, raw, unseal)


def from_jsonable(kind: type[T], raw: Any, unseal: Open = Secret) -> T:
    """A `kind` from plain dicts, lists and scalars; unknown and missing fields are errors."""
    wanted: Any = kind
    try:
        result: T = _decoder(wanted)(raw, unseal)
    except _FaultError as fault:
        # Paths are put together only when there is something to tell.
        path = "".join(reversed(fault.path))
        raise ProtocolError(f"{kind.__name__}{path}: {fault.words}") from None
    return result


_Decode = Callable[[Any, Open], Any]
"""(plain value, what opens secrets) -> the value. Raises _FaultError."""


class _FaultError(Exception):
    """Something does not fit. `path`: its parts from the innermost on."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.path: list[str] = []


def _unlike(wanted: str, raw: Any) -> _FaultError:
    # The value itself is not shown: it may be a secret.
    return _FaultError(f"expected {wanted}, got {type(raw).__name__}")


@functools.cache
def _decoder(kind: Any) -> _Decode:
    """What a type asks for is found out once: pages of builds have thousands of values."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _of_optional(kind)
    if origin is tuple:
        return _of_list(_decoder(get_args(kind)[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _of_object(_decoder(get_args(kind)[1]))
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    if kind is Secret:
        return _secret
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _of_enum(kind)
    return _float if kind is float else _of_scalar(kind)


def _of_optional(kind: Any) -> _Decode:
    (inner,) = (arg for arg in get_args(kind) if arg is not type(None))
    decode_inner = _decoder(inner)
    if type(None) not in get_args(kind):
        return decode_inner

    def decode_optional(raw: Any, unseal: Open) -> Any:
        return None if raw is None else decode_inner(raw, unseal)

    return decode_optional


def _of_list(item: _Decode) -> _Decode:
    def decode_list(raw: Any, unseal: Open) -> Any:
        if not isinstance(raw, list):
            raise _unlike("a list", raw)
        found: list[Any] = []
        try:
            for value in raw:
                found.append(item(value, unseal))  # noqa: PERF401 (its length tells the place)
        except _FaultError as fault:
            fault.path.append(f"[{len(found)}]")
            raise
        return tuple(found)

    return decode_list


def _of_object(item: _Decode) -> _Decode:
    def decode_object(raw: Any, unseal: Open) -> Any:
        if not isinstance(raw, dict):
            raise _unlike("an object", raw)
        key = ""
        try:
            found = {}
            for key, value in raw.items():
                found[key] = item(value, unseal)
        except _FaultError as fault:
            fault.path.append(f".{key}")
            raise
        return found

    return decode_object


def _of_dataclass(kind: Any) -> _Decode:
    hints = get_type_hints(kind)
    fields = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(kind)}
    required = frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )

    def decode_dataclass(raw: Any, unseal: Open) -> Any:
        if not isinstance(raw, dict):
            raise _unlike("an object", raw)
        if unknown := raw.keys() - fields.keys():
            raise _FaultError(f"unknown field {min(unknown)!r}")
        if missing := required - raw.keys():
            raise _FaultError(f"missing field {min(missing)!r}")
        name = ""
        values = {}
        try:
            for name, value in raw.items():
                values[name] = fields[name](value, unseal)
        except _FaultError as fault:
            fault.path.append(f".{name}")
            raise
        try:
            return kind(**values)
        except ValueError as error:
            raise _FaultError(str(error)) from None

    return decode_dataclass


def _of_enum(kind: type[enum.Enum]) -> _Decode:
    def decode_enum(raw: Any, unseal: Open) -> Any:
        del unseal
        try:
            return kind(raw)
        except ValueError:
            raise _FaultError(f"unknown {kind.__name__}") from None

    return decode_enum


def _secret(raw: Any, unseal: Open) -> Secret:
    if not isinstance(raw, str):
        raise _unlike("a string", raw)
    return unseal(raw)


def _float(raw: Any, unseal: Open) -> float:
    del unseal
    # bool is an int to Python, never to JSON.
    if type(raw) is float or type(raw) is int:
        return float(raw)
    raise _unlike("float", raw)


def _of_scalar(kind: type) -> _Decode:
    def decode_scalar(raw: Any, unseal: Open) -> Any:
        del unseal
        if type(raw) is not kind:
            raise _unlike(kind.__name__, raw)
        return raw

    return decode_scalar
