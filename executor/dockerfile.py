"""What a Dockerfile's final stage is built upon. Pure; where it is not certain, it says nothing.

Only as much of the language as that takes
(https://docs.docker.com/reference/dockerfile/): parser directives, comments, continued lines,
heredocs, ARG before the first FROM, and FROM itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#[ \t]*(?P<name>[A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(?P<value>.+?)[ \t]*")
_HEREDOC = re.compile(
    r"\d*<<(?P<tabs>-?)(?P<quote>[\"']?)(?P<word>[A-Za-z_][A-Za-z0-9_]*)(?P=quote)"
)
_OTHER_HEREDOC = re.compile(r"[\[\d]*<<-?[^<]")
# A shell's word: quotes and escapes belong to it.
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
# Docker's own, of a version that knows named contexts.
_FRONTEND = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?::(?:latest|1|1\.(?:[4-9]|\d\d)(?:\.\d+)?)(?:-labs)?)?"
)
_TAKES_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_VARIABLE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-+])(?P<word>[^${}]*))?\})"
)

SCRATCH = "scratch"


@dataclass(frozen=True)
class Base:
    """`image`: as the FROM says it, with its variables filled in. `frontend`: there is one of its
    own (`# syntax=`), which may know less than the engine's. `stages`: the names of all of them.
    """

    image: str
    frontend: bool
    stages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Stage:
    image: str | None
    name: str | None


class _UncertainError(Exception):
    """Something that this does not read as BuildKit would, or that BuildKit would refuse."""


def base_of(text: str, target: str | None, arguments: Mapping[str, str]) -> Base | None:
    """The image under the stage `target` (None: the last one); None if it is `scratch`, or not
    known for certain. `arguments`: the build's.
    """
    directives, begin = _directives(text)
    known: dict[str, str] = {}
    stages: list[_Stage] = []
    try:
        for word, rest in _instructions(text[begin:], directives.get("escape", "\\")):
            if word == "ARG" and not stages:
                known.update(_arguments(rest, known, arguments))
            elif word == "FROM":
                stages.append(_stage(rest, known))
        image = _follow(stages, target)
    except _UncertainError:
        return None
    if image is None:
        return None
    frontend = arguments.get("BUILDKIT_SYNTAX") or directives.get("syntax")
    foreign = frontend is not None and not _FRONTEND.fullmatch(frontend)
    return Base(image, foreign, frozenset(stage.name for stage in stages if stage.name))


def _directives(text: str) -> tuple[dict[str, str], int]:
    """Those at the very beginning, and where they end."""
    found: dict[str, str] = {}
    at = 0
    for line in text.splitlines(keepends=True):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match["name"].lower() in found:
            break
        found[match["name"].lower()] = match["value"]
        at += len(line)
    return found, at


def _instructions(text: str, escape: str) -> Iterator[tuple[str, str]]:
    """Each instruction in upper case with what follows it, its continued lines joined."""
    lines = iter(text.splitlines())
    for first in lines:
        line = first.strip()
        if not line or line.startswith("#"):
            continue
        joined = ""
        while line.endswith(escape):
            joined += line[: -len(escape)]
            line = "#"
            while line.startswith("#") or not line:  # comments and empty lines do not end it
                following = next(lines, None)
                if following is None:
                    line = ""
                    break
                line = following.strip()
        word, rest = _split(joined + line)
        yield word, rest
        while word == "ONBUILD":
            word, rest = _split(rest)
        if word in _TAKES_HEREDOCS:
            _skip_heredocs(rest, lines)


def _split(instruction: str) -> tuple[str, str]:
    word, *rest = instruction.split(maxsplit=1) or [""]
    return word.upper(), rest[0].strip() if rest else ""


def _skip_heredocs(rest: str, lines: Iterator[str]) -> None:
    for each in _WORD.findall(rest):
        match = _HEREDOC.fullmatch(each)
        if match is None:
            if _OTHER_HEREDOC.match(each):
                raise _UncertainError
            continue
        for line in lines:
            text = line.lstrip("\t") if match["tabs"] else line
            if text == match["word"]:
                break


def _arguments(
    rest: str, known: Mapping[str, str], given: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    if '"' in rest or "'" in rest or "\\" in rest:
        rest = _unquoted(rest)
    for each in rest.split():
        name, equals, default = each.partition("=")
        if name in given:
            yield name, given[name]
        elif equals:
            yield name, _filled(default, known)


def _unquoted(text: str) -> str:
    """Quotes around a value that has no white space mean nothing."""
    plain = re.sub(r"=([\"'])([^\"'\s\\]*)\1(?=\s|$)", r"=\2", text)
    if '"' in plain or "'" in plain or "\\" in plain:
        raise _UncertainError
    return plain


def _stage(rest: str, known: Mapping[str, str]) -> _Stage:
    words = [word for word in rest.split() if not word.startswith("--")]
    if len(words) == 3 and words[1].lower() == "as" and _STAGE.fullmatch(words[2]):
        return _Stage(_filled_or_none(words[0], known), words[2].lower())
    if len(words) != 1:
        raise _UncertainError
    return _Stage(_filled_or_none(words[0], known), None)


def _filled_or_none(text: str, known: Mapping[str, str]) -> str | None:
    """None where that matters only if the stage is the one."""
    try:
        return _filled(text, known) or None
    except _UncertainError:
        return None


def _filled(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        found, how = known.get(name), match["how"]
        is_set = bool(found) if how and how.startswith(":") else found is not None
        if how is None:
            if found is None:
                # Such as TARGETARCH, which the engine knows.
                raise _UncertainError
            return found
        if how.endswith("-"):
            return found if is_set and found is not None else str(match["word"])
        return str(match["word"]) if is_set else ""

    filled = _VARIABLE.sub(value, text)
    if set(filled) & set("$\"'\\"):
        raise _UncertainError
    return filled


def _follow(stages: list[_Stage], target: str | None) -> str | None:
    """From a stage through those it is built upon, to an image."""
    number = _number_of(stages, target)
    while True:
        image = stages[number].image
        if image is None:
            raise _UncertainError
        if image == SCRATCH:
            return None
        earlier = [n for n in range(number) if stages[n].name == image.lower()]
        if not earlier:
            return image
        number = earlier[-1]


def _number_of(stages: list[_Stage], target: str | None) -> int:
    if not stages:
        raise _UncertainError
    if target is None:
        return len(stages) - 1
    named = [n for n, stage in enumerate(stages) if stage.name == target.lower()]
    if named:
        return named[-1]
    if target.isdecimal() and int(target) < len(stages):
        return int(target)
    raise _UncertainError
