"""`.builder.yml`: the rules that a repository brings itself.

YAML with the scalars of JSON (YAML 1.2, core schema without octal numbers and odd spellings): `no`
is a word, `1.10` has to be quoted. Aliases, by which a small file can mean a huge one, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from api.fields import fail
from builder_framework.domain import triggers
from builder_framework.domain.hooks import Forge
from builder_framework.domain.projects import begins
from builder_framework.domain.triggers import Rule
from builder_framework.errors import FieldProblem, InvalidInputError, InvalidValueError
from builder_framework.validate import image_reference

PATH = ".builder.yml"

MAX_BUILDS = 20

FIELDS = frozenset(
    {
        "annotations",
        "build_args",
        "context",
        "dedupe",
        "dockerfile",
        "git",
        "group",
        "hooks",
        "image_labels",
        "labels",
        "no_cache",
        "platforms",
        "project_secrets",
        "provenance",
        "pull",
        "registry_cache",
        "sbom",
        "shm_size",
        "standard_labels",
        "supersede",
        "target",
        "tests",
        "timeout",
        "timestamp",
    }
)
"""Of a request, what everybody who may push may say. The rest is the operator's, or secret."""

GIT_FIELDS = frozenset({"depth", "keep_git_dir", "lfs", "submodules"})
"""Of `git`: how it is cloned, not with whose logins."""


def _pattern(text: str) -> str:
    try:
        return triggers.pattern(text)
    except InvalidValueError as error:
        fail(error.message)


def _template(text: str) -> str:
    try:
        return triggers.template(text, triggers.OF_PUSHES)
    except InvalidValueError as error:
        fail(error.message)


Pattern = Annotated[str, AfterValidator(_pattern)]


class _Build(BaseModel):
    # Further fields are the request's, and looked at with it.
    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)

    images: Annotated[list[Annotated[str, AfterValidator(_template)]], Len(1, 20)]
    branches: list[Pattern] = Field(default_factory=list)
    tags: list[Pattern] = Field(default_factory=list)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    version: Literal[1]
    builds: Annotated[list[_Build], Len(1, MAX_BUILDS)]


def rules(text: str, forge: Forge) -> tuple[Rule, ...]:
    """What the file says. Raises InvalidInputError that lists every faulty field."""
    try:
        file = _File.model_validate(_parsed(text))
    except ValidationError as error:
        raise InvalidInputError(
            [
                _problem(one["loc"], _SENTENCES.get(one["type"], one["msg"]))
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None
    problems = []
    for number, build in enumerate(file.builds):
        where: tuple[str | int, ...] = ("builds", number)
        if not (build.branches or build.tags):
            problems.append(_problem(where, "set branches or tags, like branches: [main]"))
        problems += [
            _problem((*where, *path), "is no field that this file may have")
            for path in _beyond(build.model_extra or {}, FIELDS | forge.file_fields)
        ]
    if problems:
        raise InvalidInputError(problems)
    return tuple(
        Rule(
            images=tuple(build.images),
            branches=tuple(build.branches),
            tags=tuple(build.tags),
            build=dict(build.model_extra or {}),
        )
        for build in file.builds
    )


def _beyond(fields: Mapping[str, Any], allowed: frozenset[str]) -> Iterator[tuple[str, ...]]:
    for name in sorted(fields.keys() - allowed):
        yield (name,)
    git = fields.get("git", {})
    if not isinstance(git, dict):
        yield ("git",)
        return
    for name in sorted(git.keys() - GIT_FIELDS):
        yield ("git", name)


_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string: quote what looks like a number",
    "list_type": "must be a list",
    "model_type": "must be a mapping",
    "extra_forbidden": "is no field of this file",
}


def check_images(images: tuple[str, ...], forge: Forge, repository: str) -> None:
    """A repository pushes where the operator allows it to. Raises InvalidInputError."""
    own = triggers.names(forge.file_images, triggers.of_repository(repository))
    problems = []
    for number, image in enumerate(images):
        try:
            name = image_reference(image).name
        except InvalidValueError as error:
            problems.append(_problem(("images", number), error.message))
            continue
        if not any(begins(prefix, name) for prefix in map(_full, own)):
            words = f"may not be pushed to from here; what may is {', '.join(own) or 'nothing'}"
            problems.append(_problem(("images", number), words))
    if problems:
        raise InvalidInputError(problems)


def _full(prefix: str) -> str:
    """With its registry; what ends in a slash is a beginning of several names."""
    try:
        return image_reference(prefix.rstrip("/")).name + "/" * prefix.endswith("/")
    except InvalidValueError:
        return prefix


def _problem(location: tuple[str | int, ...], words: str) -> FieldProblem:
    path = ".".join(map(str, location))
    return FieldProblem(f"{PATH}: {path}" if path else PATH, words)


def _parsed(text: str) -> Any:
    try:
        # A loader without a constructor of objects; see the class.
        return yaml.load(text, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InvalidInputError([FieldProblem(PATH, f"{error.problem}{place}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InvalidInputError([FieldProblem(PATH, "is not YAML that can be read")]) from None


class _Loader(yaml.SafeLoader):
    """Mappings without repeated keys, no aliases, no tags, and JSON's scalars."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not taken here", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


# None of the base class's, which are YAML 1.1's.
_Loader.yaml_implicit_resolvers = {}
for _tag, _grammar, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~"),
    ("int", r"-?(?:0|[1-9][0-9]{0,17})", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", "-0123456789"),
):
    # By their first character; nothing at all has none.
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_grammar})\Z"), ["", *_first]
    )
