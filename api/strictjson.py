"""JSON of a request body, strictly: one meaning, bounded, and every fault with its path.

RFC 8259 leaves to the receiver what duplicate keys, huge numbers and lone surrogates mean; here
they mean an error. Pure.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from builder_framework.errors import FieldProblem

MAX_DEPTH = 8
"""A build request needs four levels."""

MAX_KEYS = 1000
"""Of all objects together."""

MAX_NODES = 5000
"""Values of any kind, all together."""

MAX_NUMBER_LENGTH = 32
"""Characters; a double needs at most 24."""


class JsonError(ValueError):
    """The text is not JSON at all, or beyond the limits."""


class _Object(dict[str, Any]):
    """An object that remembers which keys came more than once."""

    duplicates: tuple[str, ...] = ()


class _Fault:
    """Stands where a value was that JSON writers may write and we do not take."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


def parse(data: bytes) -> tuple[Any, list[FieldProblem]]:
    """The value and what is wrong in it. Raises JsonError with a sentence for people."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"the body is not UTF-8 (at byte {error.start})") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        raise JsonError(
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise JsonError(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    walk = _Walk()
    clean = walk.value(value, (), 1)
    return clean, walk.problems


def path_text(path: Iterable[str | int]) -> str:
    """A dotted path; parts that a hostile body made long are cut."""
    parts = [str(part) for part in path]
    return ".".join(part if len(part) <= 64 else f"{part[:61]}..." for part in parts)


def strings_at(value: Any, key: str) -> Iterator[str]:
    """Every string that stands under a key of this name, however deep (bounded by `parse`)."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key and isinstance(item, str):
                yield item
            yield from strings_at(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from strings_at(item, key)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.duplicates = tuple(key for key, count in counts.items() if count > 1)
    return found


def _constant(name: str) -> _Fault:
    return _Fault(f"{name} is not a number in JSON")


def _integer(text: str) -> int | _Fault:
    if len(text) > MAX_NUMBER_LENGTH:
        return _Fault(f"a number longer than {MAX_NUMBER_LENGTH} characters")
    return int(text)


def _float(text: str) -> float | _Fault:
    if len(text) > MAX_NUMBER_LENGTH:
        return _Fault(f"a number longer than {MAX_NUMBER_LENGTH} characters")
    value = float(text)
    return value if math.isfinite(value) else _Fault("the number is too large")


class _Walk:
    """Goes through a parsed value once: collects faults, enforces the limits, makes plain dicts."""

    def __init__(self) -> None:
        self.problems: list[FieldProblem] = []
        self._keys = 0
        self._nodes = 0

    def value(self, value: Any, path: tuple[str | int, ...], depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise JsonError(f"the body has more than {MAX_NODES} values")
        if isinstance(value, (dict, list)) and depth > MAX_DEPTH:
            raise JsonError(f"the body is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, _Fault):
            self._report(path, value.problem)
            return None
        if isinstance(value, str):
            self._check_text(value, path)
        elif isinstance(value, list):
            return [self.value(item, (*path, n), depth + 1) for n, item in enumerate(value)]
        elif isinstance(value, _Object):
            return self._fields(value, path, depth)
        return value

    def _fields(self, value: _Object, path: tuple[str | int, ...], depth: int) -> dict[str, Any]:
        self._keys += len(value)
        if self._keys > MAX_KEYS:
            raise JsonError(f"the body has more than {MAX_KEYS} keys")
        for key in value.duplicates:
            self._report((*path, key), "given more than once")
        fields = {}
        for key, item in value.items():
            self._check_text(key, (*path, key))
            fields[key] = self.value(item, (*path, key), depth + 1)
        return fields

    def _check_text(self, text: str, path: tuple[str | int, ...]) -> None:
        if "\0" in text:
            self._report(path, "has a NUL character")
        elif any("\ud800" <= char <= "\udfff" for char in text):
            self._report(path, "has half of a surrogate pair, which is no character")

    def _report(self, path: tuple[str | int, ...], problem: str) -> None:
        self.problems.append(FieldProblem(path_text(path), problem))
