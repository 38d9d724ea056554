"""What a Dockerfile is based upon, or nothing where that is not certain."""

from __future__ import annotations

import pytest

from executor.base_image import BaseImage
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
        ("# escape=`\n# Syntax = docker/dockerfile:1\nFROM a", True),
        ("# a comment\n# syntax=docker/dockerfile:1\nFROM a", False),
    ],
)
def test_a_frontend_of_its_own_is_told(text: str, frontend: bool) -> None:
    found = base_of(text, None, {})
    assert found is not None
    assert found.frontend is frontend


def test_what_is_written_is_pinned_to_what_it_means() -> None:
    digest = "sha256:" + "0" * 64
    known = BaseImage("docker.io/library/a:1", digest, "a:1")
    assert known.pin == ("a:1", f"docker-image://docker.io/library/a:1@{digest}")
    assert BaseImage("docker.io/library/a:1", None, "a:1").pin is None
    assert BaseImage(f"docker.io/library/a@{digest}", digest, f"a@{digest}").pin is None
