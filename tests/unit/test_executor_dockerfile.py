"""What a Dockerfile is based upon, or nothing where that is not certain."""

from __future__ import annotations

from typing import Any

import pytest

from builder_framework.protocol import EngineSpec
from builder_framework.validate import image_reference
from executor import base_image
from executor.base_image import BaseImage, context_name
from executor.cancel import CancelToken
from executor.dockerfile import base_of

STAGES = """
FROM golang:1.22 AS build
RUN make
FROM alpine:3 as Run
FROM run
COPY --from=build a b
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM busybox", "busybox"),
        ("# a comment\n\nfrom --platform=$BUILDPLATFORM busybox:1 as x\n", "busybox:1"),
        ("FROM a\nFROM scratch\n", None),
        (STAGES, "alpine:3"),
        ("FROM a AS b\nFROM b AS b\n", "a"),
        ("ARG TAG=3\nFROM alpine:$TAG", "alpine:3"),
        ("ARG TAG=3\nARG NAME=alpine:${TAG}\nFROM ${NAME}", "alpine:3"),
        ('ARG A="x" B=y\nFROM ${A}-${B}', "x-y"),
        ("ARG TAG\nFROM alpine:${TAG:-edge}", "alpine:edge"),
        ("ARG TAG=\nFROM alpine:${TAG-edge}3", "alpine:3"),
        ("ARG SLIM=1\nFROM alpine${SLIM:+-slim}", "alpine-slim"),
        ("ARG SLIM=\nFROM alpine${SLIM:+-slim}", "alpine"),
        ("FROM \\\n  # why not\n\n  busybox \\\n  AS x", "busybox"),
        ("# escape=`\nFROM `\n busybox", "busybox"),
        ("FROM a\nRUN <<EOF\nFROM no\nEOF\n", "a"),
        ("FROM a\nCOPY <<-'X' <<Y /d/\n\tFROM no\n\tX\nFROM no\nY\nRUN echo\n", "a"),
        ("FROM a\nRUN cat <<< FROM\n", "a"),
        ("FROM a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
        ("FROM a\nARG X=1\nRUN echo FROM b\n", "a"),
        ("FROM a AS x\nFROM\tb", "b"),
        ('FROM a\nRUN echo "x <<EOF y"\nFROM b', "b"),
        ("FROM a\nRUN echo 'x <<EOF y'\nFROM b", "b"),
        ("FROM a\nONBUILD RUN <<EOF\nFROM no\nEOF\n", "a"),
        ("FROM a\nRUN\t<<EOF\nFROM no\nEOF\n", "a"),
        ("FROM a\nRUN echo $((1<<2)) x<<y\n", "a"),
        ('FROM a\nRUN ["cat", "<<EOF"]\nFROM b', "b"),
        # Not certain.
        ("", None),
        ("RUN no\n", None),
        ("FROM a b c d", None),
        ("FROM", None),
        ("FROM alpine:$TAG", None),
        ("FROM alpine:$TARGETARCH", None),
        ("ARG TAG=3\nFROM alpine:${TAG%.*}", None),
        ("ARG TAG='a b'\nFROM alpine:$TAG", None),
        ("FROM a\nRUN cat <<E$X\nFROM no\nE\nFROM b", None),
        ("FROM $UNKNOWN AS x\nFROM x", None),
    ],
)
def test_the_last_stage(text: str, expected: str | None) -> None:
    found = base_of(text, None, {})
    assert (found.image if found else None) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [("build", "golang:1.22"), ("RUN", "alpine:3"), ("0", "golang:1.22"), ("nowhere", None)],
)
def test_a_stage_that_was_asked_for(target: str, expected: str | None) -> None:
    found = base_of(STAGES, target, {})
    assert (found.image if found else None) == expected


def test_a_frontend_may_be_chosen_by_an_argument() -> None:
    found = base_of("FROM a", None, {"BUILDKIT_SYNTAX": "example.org/mine:1"})
    assert found is not None
    assert found.frontend


def test_an_uncertain_stage_that_is_not_used_does_no_harm() -> None:
    found = base_of("FROM $UNKNOWN AS x\nFROM busybox", None, {})
    assert found is not None
    assert found.image == "busybox"


def test_arguments_of_the_build_count_where_they_are_declared() -> None:
    given = {"TAG": "9", "NAME": "other"}
    found = base_of("ARG TAG=3\nFROM alpine:$TAG", None, given)
    assert found is not None
    assert found.image == "alpine:9"
    assert base_of("FROM $NAME", None, given) is None, "it is not declared"


@pytest.mark.parametrize(
    ("text", "frontend"),
    [
        ("# syntax=docker/dockerfile:1.2\nFROM a", True),
        ("# syntax=docker/dockerfile:1.3-labs\nFROM a", True),
        ("# syntax=example.org/docker/dockerfile:1\nFROM a", True),
        ("# escape=`\n# Syntax = example.org/mine\nFROM a", True),
        ("# syntax=docker/dockerfile:1\nFROM a", False),
        ("# syntax=docker/dockerfile\nFROM a", False),
        ("# syntax=docker.io/docker/dockerfile:1.10.0-labs\nFROM a", False),
        ("# a comment\n# syntax=docker/dockerfile:1.2\nFROM a", False),
    ],
)
def test_a_frontend_of_its_own_is_told(text: str, frontend: bool) -> None:
    found = base_of(text, None, {})
    assert found is not None
    assert found.frontend is frontend


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("alpine", "alpine"),
        ("alpine:latest", "alpine"),
        ("library/alpine:3", "alpine:3"),
        ("docker.io/library/alpine:3", "alpine:3"),
        ("index.docker.io/me/app:1", "me/app:1"),
        ("r.example/base:latest", "r.example/base"),
        ("r.example:5000/library/base:1", "r.example:5000/library/base:1"),
    ],
)
def test_a_base_is_pinned_by_the_name_that_buildkit_looks_for(written: str, name: str) -> None:
    assert context_name(image_reference(written)) == name


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every registry knows every image."""
    monkeypatch.setattr(base_image, "_digest", lambda *_: DIGEST)


def looked_up(text: str, **engine: Any) -> BaseImage | None:
    base = base_of(text, None, {})
    assert base is not None
    return base_image.look_up(base, {}, EngineSpec(**engine), CancelToken())


@pytest.mark.usefixtures("known")
def test_a_base_is_pinned_to_what_its_registry_says() -> None:
    name = "docker.io/library/a"
    pin = ("a:1", f"docker-image://{name}@{DIGEST}")
    assert looked_up("FROM docker.io/library/a:1") == BaseImage(f"{name}:1", DIGEST, pin)
    assert looked_up(f"FROM a@{DIGEST}") == BaseImage(f"{name}@{DIGEST}", DIGEST)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "text",
    [
        "FROM node AS node\nRUN echo my step",
        "FROM node:latest AS build\nFROM build AS Node\nRUN echo my step",
        "FROM other:1 AS node\nRUN echo my step\nFROM library/node:latest AS x\nFROM x",
    ],
)
def test_a_stage_of_the_bases_name_is_not_replaced_by_it(text: str) -> None:
    """BuildKit would leave the stage's steps out."""
    assert looked_up(text) == BaseImage("docker.io/library/node:latest")


@pytest.mark.usefixtures("known")
def test_what_may_come_from_elsewhere_has_no_digest() -> None:
    named = BaseImage("docker.io/library/a:1")
    assert looked_up("# syntax=example.org/mine:1\nFROM a:1") == named
    assert looked_up("FROM a:1", registry_mirrors=("https://m.example",)) == named
