"""Which builds a push makes, and what their images are called: rules over branches and tags. Pure.

A pattern is a glob (`*` stays within a part of a name, `**` does not, `?` is one character), or
RE2 between slashes, which has to match as a whole, as Docker Hub's automated builds have it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2

from builder_framework.errors import InvalidValueError

MAX_PATTERN = 256
"""Characters."""

SHORT = 8
"""Digits of `{short}`, as of GitLab's `CI_COMMIT_SHORT_SHA`."""

_MAX_TAG = 128  # distribution/reference, regexp.go
_PLACEHOLDER = re.compile(r"\{(\\?[a-z0-9]+)\}")
_GROUP = re.compile(r"\\?([1-9])")
_NOT_OF_TAGS = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_OF_PATHS = re.compile(r"[^a-z0-9._-]+")
_SEPARATORS = re.compile(r"[._-]*[._-]")
# Semantic Versioning 2.0.0, with the `v` that tags have in front.
_VERSION = re.compile(
    r"v?(?P<whole>(?P<major>\d+)\.(?P<minor>\d+)\.\d+(?P<pre>-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)"
)
_SKIP = re.compile(r"\[(?:skip (?:ci|build)|ci skip|no ci)\]", re.IGNORECASE)


class RefKind(str, enum.Enum):
    """What was pushed to."""

    BRANCH = "branch"
    TAG = "tag"


@dataclass(frozen=True)
class Push:
    """Somebody pushed. `repository`: its path below the forge's root. `name`: of the branch or tag.

    `commit`: what it is at now, in hex; None when it was deleted. `url`, `ssh_url`: where it is
    cloned from, as the forge says. `by`: who pushed; `message`: of the newest commit.
    """

    repository: str
    kind: RefKind
    name: str
    commit: str | None
    url: str
    ssh_url: str = ""
    by: str = ""
    message: str = ""

    @property
    def skipped(self) -> bool:
        """Whether its author wants no build; a tag is always meant."""
        return self.kind is RefKind.BRANCH and _SKIP.search(self.message) is not None


@dataclass(frozen=True)
class Rule:
    """Pushes to one of these `branches` or `tags` (patterns) make a build.

    `images`: templates, see `names`. `build`: further fields of the build's request.
    `repositories`: patterns of their paths; of a repository's own file all.
    """

    images: tuple[str, ...]
    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    build: Mapping[str, Any] = field(default_factory=dict)
    repositories: tuple[str, ...] = ("**",)
    forges: tuple[str, ...] = ()


def pattern(text: str) -> str:
    """A pattern that can be used. Raises InvalidValueError."""
    if not text or len(text) > MAX_PATTERN or not text.isprintable():
        raise InvalidValueError(f"a pattern is 1 to {MAX_PATTERN} printable characters")
    try:
        _compiled(text)
    except re2.error:
        raise InvalidValueError(
            "is not an RE2 pattern between slashes (https://github.com/google/re2/wiki/Syntax)"
        ) from None
    return text


def fits(patterns: Sequence[str], text: str) -> bool:
    """Whether one of the patterns matches."""
    return _groups(patterns, text) is not None


def template(text: str, known: frozenset[str]) -> str:
    """An image's name with placeholders, all of them `known`. Raises InvalidValueError."""
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise InvalidValueError("has a brace that is none of a placeholder like {tag}")
    for found in _PLACEHOLDER.findall(text):
        if found not in known and not (_GROUP.fullmatch(found) and "1" in known):
            names = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise InvalidValueError(f"{{{found}}} is no placeholder; there are {names}")
    return text


OF_PUSHES = frozenset(
    {"repository", "name", "branch", "tag", "ref", "sourceref", "commit", "short"}
    | {"version", "minor", "major", "1"}
)
"""Placeholders of rules; `{1}` to `{9}` are groups of a pattern between slashes."""

OF_APPS = frozenset({"ref"})
"""Placeholders of what chats build."""

OF_FORGES = frozenset({"repository", "name"})
"""Placeholders of `Forge.file_images`."""


def orders(rules: Sequence[Rule], push: Push) -> Iterator[tuple[Rule, tuple[str, ...]]]:
    """The rules that the push fits, each with the names of its images."""
    for rule in rules:
        patterns = rule.branches if push.kind is RefKind.BRANCH else rule.tags
        groups = _groups(patterns, push.name)
        if groups is not None and (found := names(rule.images, of_push(push, groups))):
            yield rule, found


def names(templates: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Names of images. One whose placeholder has no value (`{tag}` of a branch) is left out."""
    found = []
    for text in templates:
        used = [name.lstrip("\\") for name in _PLACEHOLDER.findall(text)]
        if all(values.get(name) for name in used):
            found.append(_PLACEHOLDER.sub(lambda m: values[m[1].lstrip("\\")], text))
    return tuple(dict.fromkeys(found))


def of_app(ref: str | None) -> dict[str, str]:
    """Values of `OF_APPS`; without a ref it is the `latest`."""
    return {"ref": slug(ref) if ref is not None else "latest"}


def of_repository(repository: str) -> dict[str, str]:
    """Values of `OF_FORGES`."""
    path = "/".join(filter(None, map(_component, repository.split("/"))))
    return {"repository": path, "name": path.rpartition("/")[2]}


def slug(text: str) -> str:
    """As a tag of an image: `feature/x` becomes `feature-x`; nothing where nothing is left."""
    return _NOT_OF_TAGS.sub("-", text).lstrip(".-")[:_MAX_TAG].rstrip("-")


def of_push(push: Push, groups: Sequence[str]) -> dict[str, str]:
    """Values of `OF_PUSHES`; `groups`: of the pattern that matched."""
    commit = push.commit or ""
    shown = slug(push.name)
    values = {
        **of_repository(push.repository),
        "ref": shown,
        "sourceref": shown,
        push.kind.value: shown,
        "commit": commit,
        "short": commit[:SHORT],
        **{str(number): slug(group) for number, group in enumerate(groups, start=1)},
    }
    if push.kind is RefKind.TAG:
        values |= _versions(push.name)
    return values


def _versions(tag: str) -> dict[str, str]:
    """A release is the newest of its minor and, from 1 on, its major version, too.

    So `auto_tag` of drone-docker has it.
    """
    found = _VERSION.fullmatch(tag)
    if found is None:
        return {}
    values = {"version": slug(found["whole"])}
    if found["pre"] is None:
        values["minor"] = f"{found['major']}.{found['minor']}"
        if int(found["major"]) > 0:
            values["major"] = found["major"]
    return values


def _component(text: str) -> str:
    """As a part of a repository's name (distribution/reference)."""
    clean = _NOT_OF_PATHS.sub("-", text.lower()).strip("._-")
    # Dots and underscores may not stand beside others; a row of dashes may.
    return _SEPARATORS.sub(lambda m: m[0] if m[0] in ("_", "__", ".") else "-", clean)


def _groups(patterns: Sequence[str], text: str) -> tuple[str, ...] | None:
    for each in patterns:
        found = _compiled(each).fullmatch(text)
        if found is not None:
            return tuple(group or "" for group in found.groups())
    return None


def _compiled(text: str) -> Any:
    """Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        return re2.compile(text[1:-1], options)
    parts = re.split(r"(\*\*|\*|\?)", text)
    means = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re2.compile("".join(means.get(part) or re2.escape(part) for part in parts), options)
