"""Which builds a push makes: patterns, names of images, versions, and whose rules count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import chat, triggers
from builder_framework.domain.hooks import Hooks
from builder_framework.domain.triggers import OF_APPS, OF_PUSHES, Push, RefKind, Rule
from builder_framework.errors import InvalidValueError
from builder_framework.validate import image_reference

pytestmark = pytest.mark.domain

COMMIT = "c0ffee" + "0" * 34
BRANCH = Push("Shop/Web_App", RefKind.BRANCH, "feature/x", COMMIT, "https://git.example.org/a.git")
TAG = replace(BRANCH, kind=RefKind.TAG, name="v1.2.3")


def images(template: str, push: Push, *, branches: str = "**", tags: str = "**") -> list[str]:
    rule = Rule((template,), (branches,), (tags,))
    return [image for _, names in triggers.orders((rule,), push) for image in names]


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("main", ["main"], ["Main", "main2", "a/main", ""]),
        ("release/*", ["release/1", "release/"], ["release/1/2", "release"]),
        ("release/**", ["release/1", "release/1/2"], ["release"]),
        ("v?.*", ["v1.2"], ["v12", "v/.1"]),
        ("a.b", ["a.b"], ["axb"]),
        ("/v[0-9]+/", ["v10"], ["v1x", "xv1"]),
        ("//", ["//"], ["", "/"]),
        ("**", ["", "x/y"], []),
    ],
)
def test_a_pattern_is_about_the_whole_name(
    pattern: str, fits: list[str], others: list[str]
) -> None:
    assert triggers.pattern(pattern) == pattern
    assert all(triggers.fits([pattern], text) for text in fits)
    assert not any(triggers.fits([pattern], text) for text in others)


@pytest.mark.parametrize("pattern", ["", "a\nb", "x" * 257, "/(/", r"/(a)\1/"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidValueError):
        triggers.pattern(pattern)


@pytest.mark.parametrize(
    ("template", "branch", "tag"),
    [
        ("r.io/{repository}:{branch}", ["r.io/shop/web_app:feature-x"], []),
        ("r.io/{name}:{tag}", [], ["r.io/web_app:v1.2.3"]),
        ("r.io/a:{ref}", ["r.io/a:feature-x"], ["r.io/a:v1.2.3"]),
        ("r.io/a:{sourceref}", ["r.io/a:feature-x"], ["r.io/a:v1.2.3"]),
        ("r.io/a:{short}-{commit}", [f"r.io/a:c0ffee00-{COMMIT}"], [f"r.io/a:c0ffee00-{COMMIT}"]),
        ("r.io/a:{version}", [], ["r.io/a:1.2.3"]),
        ("r.io/a:{minor}", [], ["r.io/a:1.2"]),
        ("r.io/a:{major}", [], ["r.io/a:1"]),
        ("r.io/a:latest", ["r.io/a:latest"], ["r.io/a:latest"]),
    ],
)
def test_names_of_images(template: str, branch: list[str], tag: list[str]) -> None:
    assert triggers.template(template, OF_PUSHES) == template
    assert images(template, BRANCH) == branch
    assert images(template, TAG) == tag


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("1.2.3", ["1.2.3", "1.2", "1"]),
        ("v0.2.3", ["0.2.3", "0.2"]),
        ("v1.2.3-rc.1", ["1.2.3-rc.1"]),
        ("v1.2.3+linux", ["1.2.3-linux", "1.2", "1"]),
        ("v1.2", []),
        ("release-1.2.3", []),
    ],
)
def test_a_release_is_the_newest_of_its_line_and_a_preview_is_not(
    tag: str, found: list[str]
) -> None:
    names = ("r.io/a:{version}", "r.io/a:{minor}", "r.io/a:{major}")
    ordered = triggers.orders((Rule(names, tags=("**",)),), replace(TAG, name=tag))
    assert [name for _, some in ordered for name in some] == [f"r.io/a:{one}" for one in found]


def test_groups_of_a_pattern_as_docker_hub_writes_them() -> None:
    rule = Rule((r"r.io/a:{\1}-{2}",), tags=("other", r"/v([0-9]+)\.([0-9]+).*/"))
    assert list(triggers.orders((rule,), TAG)) == [(rule, ("r.io/a:1-2",))]
    optional = Rule(("r.io/a:{1}",), tags=("/v1(x)?.*/",))
    assert list(triggers.orders((optional,), TAG)) == [], "the group has nothing"


def test_every_rule_that_fits_makes_a_build_and_no_image_is_there_twice() -> None:
    first = Rule(("r.io/a:{ref}", "r.io/a:{branch}", "r.io/a:{tag}"), branches=("feature/*",))
    second = Rule(("r.io/b:1",), branches=("**",))
    other = Rule(("r.io/c:1",), branches=("main",), tags=("**",))
    assert list(triggers.orders((first, second, other), BRANCH)) == [
        (first, ("r.io/a:feature-x",)),
        (second, ("r.io/b:1",)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("r.io/a:{nope}", "{nope} is no placeholder"),
        ("r.io/a:{tag", "a brace"),
        ("r.io/a:tag}", "a brace"),
        ("r.io/a:{Tag}", "a brace"),
        ("r.io/a:{0}", "{0} is no placeholder"),
    ],
)
def test_what_is_no_template(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError) as told:
        triggers.template(text, OF_PUSHES)
    assert words in told.value.message


def test_a_chat_has_placeholders_of_its_own() -> None:
    assert triggers.names(("r.io/a:{ref}",), triggers.of_app("feature/x")) == ("r.io/a:feature-x",)
    assert triggers.names(("r.io/a:{ref}",), triggers.of_app(None)) == ("r.io/a:latest",)
    for text in ("r.io/a:{commit}", "r.io/a:{1}"):
        with pytest.raises(InvalidValueError):
            triggers.template(text, OF_APPS)


@pytest.mark.parametrize("words", ["[skip ci]", "fix [CI skip]", "[no ci]", "[skip build] x"])
def test_an_author_may_want_no_build_of_a_branch(words: str) -> None:
    assert replace(BRANCH, message=words).skipped
    assert not replace(TAG, message=words).skipped
    assert not BRANCH.skipped


def test_rules_by_repository_and_forge() -> None:
    everywhere = Rule(("r.io/a:1",), ("main",), repositories=("shop/*",))
    here = Rule(("r.io/b:1",), ("main",), repositories=("shop/web",), forges=("gitlab",))
    hooks = Hooks(rules=(everywhere, here))
    assert hooks.rules_for("gitlab", "shop/web") == (everywhere, here)
    assert hooks.rules_for("github", "shop/web") == (everywhere,)
    assert hooks.rules_for("gitlab", "lab/web") == ()


@given(st.text(min_size=1, max_size=40))
def test_whatever_a_branch_is_called_its_image_is_an_image_or_none(name: str) -> None:
    for image in images("r.io/a:{branch}", replace(BRANCH, name=name), branches="/(?s).*/"):
        assert str(image_reference(image)) == image


@given(st.text(min_size=1, max_size=40))
def test_whatever_a_repository_is_called_its_image_is_an_image_or_none(path: str) -> None:
    for image in images("r.io/{repository}:1", replace(BRANCH, repository=path)):
        assert str(image_reference(image)) == image


def test_a_text_of_others_is_no_markup_in_a_chat() -> None:
    assert chat.plain("@all *now*\n`x`") == ("@\u2060all *\u2060now*\u2060 `\u2060x`\u2060"), (
        "no mention, no bold, no code, one line"
    )
    assert len(chat.plain("x" * 1000)) == chat.MAX_TEXT


def test_lines_of_a_log_stay_within_their_block() -> None:
    shown = chat.code("a\x1b[31mred\x1b[0m\n```\n@all\x07")
    assert shown == "```\nared\n`\u2060`\u2060`\u2060\n@all \n```"
    assert len(chat.code("y" * 10_000)) < chat.MAX_CODE + 10
