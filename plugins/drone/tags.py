"""Which tags an image gets by itself: the rules of drone-docker (its tags.go). Pure."""

from __future__ import annotations

import re

from builder_framework.errors import InvalidValueError

_TAGS = "refs/tags/"
_HEADS = "refs/heads/"

# go-semver: three numbers, a pre-release after the first `-`, metadata after the first `+`.
_VERSION = re.compile(
    r"(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\.(?P<patch>[0-9]+)"
    r"(-(?P<pre>[0-9A-Za-z.-]*))?(\+(?P<metadata>[0-9A-Za-z.-]*))?",
    re.ASCII,
)


def is_default(ref: str, branch: str) -> bool:
    """Whether a build of `ref` is tagged by itself: that of a tag or of the default branch."""
    return ref.startswith(_TAGS) or ref.removeprefix(_HEADS) == branch


def automatic(ref: str, suffix: str = "") -> tuple[str, ...]:
    """The tags: `latest`, or all that a version stands for. Raises InvalidValueError.

    `v1.2.3` is 1, 1.2 and 1.2.3; a major version of 0 promises nothing; a pre-release is only
    itself. With a suffix `latest` is the suffix, and others have it behind a `-`.
    """
    tags = _of(ref)
    if not suffix:
        return tags
    return tuple(suffix if tag == "latest" else f"{tag}-{suffix}" for tag in tags)


def _of(ref: str) -> tuple[str, ...]:
    if not ref.startswith(_TAGS):
        return ("latest",)
    name = ref.removeprefix(_TAGS)
    found = _VERSION.fullmatch(name.removeprefix("v"))
    if found is None:
        raise InvalidValueError(f"the tag {name!r} is no semantic version, such as v1.2.3")
    if found["metadata"]:
        raise InvalidValueError(
            f"the tag {name!r} has build metadata, and no image may have a + in its tag"
        )
    numbers = (found["major"], found["minor"], found["patch"])
    if found["pre"]:
        return (".".join(str(int(number)) for number in numbers) + f"-{found['pre']}",)
    # As they are written: 18.06 is no 18.6.
    versions = tuple(".".join(numbers[:count]) for count in (1, 2, 3))
    return versions[1:] if int(found["major"]) == 0 else versions
