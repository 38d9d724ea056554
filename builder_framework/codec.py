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
    result: T = _decode(kind, raw, kind.__name__, unseal)
    return result


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fail(path: str, wanted: str, raw: Any) -> ProtocolError:
    # The value itself is not shown: it may be a secret.
    return ProtocolError(f"{path}: expected {wanted}, got {type(raw).__name__}")


def _decode(kind: Any, raw: Any, path: str, unseal: Open) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_optional(kind, raw, path, unseal)
    if origin is tuple:
        if not isinstance(raw, list):
            raise _fail(path, "a list", raw)
        item = get_args(kind)[0]
        return tuple(_decode(item, value, f"{path}[{n}]", unseal) for n, value in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, dict):
            raise _fail(path, "an object", raw)
        item = get_args(kind)[1]
        return {key: _decode(item, value, f"{path}.{key}", unseal) for key, value in raw.items()}
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, raw, path, unseal)
    if kind is Secret:
        if not isinstance(raw, str):
            raise _fail(path, "a string", raw)
        return unseal(raw)
    return _decode_scalar(kind, raw, path)


def _decode_optional(kind: Any, raw: Any, path: str, unseal: Open) -> Any:
    if raw is None and type(None) in get_args(kind):
        return None
    (inner,) = (arg for arg in get_args(kind) if arg is not type(None))
    return _decode(inner, raw, path, unseal)


def _decode_dataclass(kind: Any, raw: Any, path: str, unseal: Open) -> Any:
    if not isinstance(raw, dict):
        raise _fail(path, "an object", raw)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(raw.keys() - fields.keys()):
        raise ProtocolError(f"{path}: unknown field {unknown[0]!r}")
    hints = _hints(kind)
    values = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = _decode(hints[name], raw[name], f"{path}.{name}", unseal)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ProtocolError(f"{path}: missing field {name!r}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ProtocolError(f"{path}: {error}") from None


def _decode_scalar(kind: Any, raw: Any, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(raw)
        except ValueError:
            raise ProtocolError(f"{path}: unknown {kind.__name__}") from None
    if kind is float and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    # bool is an int to Python, never to JSON.
    if type(raw) is not kind:
        raise _fail(path, kind.__name__, raw)
    return raw
