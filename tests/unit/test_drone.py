"""The Drone plugin: the same settings as drone-docker's give the same tags and the same build."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from api import schemas
from builder_framework.errors import InvalidInputError, InvalidValueError
from builder_framework.ports import RequestPolicy
from plugins.drone import request, results, tags
from plugins.drone.settings import Settings, read

NEEDED = {
    "PLUGIN_REPO": "r.example.org/app",
    "PLUGIN_BUILDER_URL": "https://builder.example.org",
    "PLUGIN_BUILDER_TOKEN": "bft_x",
}
COMMIT = {
    "DRONE_COMMIT_REF": "refs/heads/main",
    "DRONE_REPO_BRANCH": "main",
    "DRONE_COMMIT_SHA": "c" * 40,
    "DRONE_REMOTE_URL": "https://git.example.org/app.git",
    "DRONE_REPO_LINK": "https://git.example.org/app",
    "DRONE_REPO": "team/app",
    "DRONE_BUILD_NUMBER": "7",
}
NOW = "2026-01-02T03:04:05+00:00"


def settings(folder: Path, **told: str) -> Settings:
    return read({**NEEDED, **COMMIT, **told}, folder)


def body(folder: Path, **told: str) -> dict[str, Any]:
    found = settings(folder, **told)
    chosen = request.tags_of(found)
    assert chosen is not None
    return request.body(found, chosen, NOW)


def wrong(folder: Path, **told: str) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        settings(folder, **told)
    return {each.field: each.problem for each in caught.value.problems}


@pytest.mark.parametrize(
    ("ref", "suffix", "expected"),
    [
        # The cases of drone-docker's own tests (tags_test.go).
        ("", "", ["latest"]),
        ("refs/heads/master", "", ["latest"]),
        ("refs/tags/0.9.0", "", ["0.9", "0.9.0"]),
        ("refs/tags/1.0.0", "", ["1", "1.0", "1.0.0"]),
        ("refs/tags/v1.0.0", "", ["1", "1.0", "1.0.0"]),
        ("refs/tags/v1.0.0-alpha.1", "", ["1.0.0-alpha.1"]),
        ("", "linux-amd64", ["linux-amd64"]),
        (
            "refs/tags/v1.0.0",
            "linux-amd64",
            ["1-linux-amd64", "1.0-linux-amd64", "1.0.0-linux-amd64"],
        ),
        ("refs/tags/v18.06.0", "nano", ["18-nano", "18.06-nano", "18.06.0-nano"]),
        # What follows from its code.
        ("refs/tags/v1.2.3-rc.1", "x", ["1.2.3-rc.1-x"]),
        ("refs/tags/v01.02.03-rc", "", ["1.2.3-rc"]),
        ("refs/tags/v00.1.2", "", ["00.1", "00.1.2"]),
        ("refs/pull/3/head", "", ["latest"]),
    ],
)
def test_tags_of_a_ref(ref: str, suffix: str, expected: list[str]) -> None:
    assert list(tags.automatic(ref, suffix)) == expected


@pytest.mark.parametrize("tag", ["x1.0.0", "20190203", "v1.2", "1.2.3.4", "v1.-2.3", "1.0.0+meta"])
def test_a_tag_that_is_no_version_is_an_error(tag: str) -> None:
    with pytest.raises(InvalidValueError, match=tag.replace("+", "\\+")):
        tags.automatic(f"refs/tags/{tag}")


@pytest.mark.parametrize(
    ("ref", "is_default"),
    [
        ("refs/heads/master", True),
        ("refs/tags/v1.0.0", True),
        ("refs/heads/develop", False),
        ("refs/pull/1/head", False),
        ("master", True),
    ],
)
def test_which_refs_are_built_with_auto_tag(ref: str, is_default: bool) -> None:
    assert tags.is_default(ref, "master") is is_default


def test_what_is_not_the_default_branch_is_not_built(tmp_path: Path) -> None:
    told = {"PLUGIN_AUTO_TAG": "true", "DRONE_COMMIT_REF": "refs/heads/topic"}
    assert request.tags_of(settings(tmp_path, **told)) is None
    told["DRONE_COMMIT_REF"] = "refs/tags/nonsense"
    with pytest.raises(InvalidInputError, match="auto_tag"):
        request.tags_of(settings(tmp_path, **told))


def test_tags_that_are_told(tmp_path: Path) -> None:
    """By the setting, by the file `.tags`, or `latest`."""
    assert body(tmp_path)["images"] == ["r.example.org/app:latest"]
    (tmp_path / ".tags").write_text("1, 1.2\n")
    assert body(tmp_path)["images"] == ["r.example.org/app:1", "r.example.org/app:1.2"]
    assert body(tmp_path, PLUGIN_TAGS="a,b")["images"][0] == "r.example.org/app:a"
    assert body(tmp_path, PLUGIN_TAG="c")["images"] == ["r.example.org/app:c"]


def test_everything_becomes_a_request_that_the_api_takes(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("from a file")
    found = body(
        tmp_path,
        PLUGIN_DOCKERFILE="docker/Dockerfile",
        PLUGIN_CONTEXT="docker",
        PLUGIN_TARGET="app",
        PLUGIN_BUILD_ARGS="A=1,B=x=y,FROM_HERE",
        FROM_HERE="here",
        PLUGIN_BUILD_ARGS_FROM_ENV="ALSO",
        ALSO="too",
        http_proxy="http://proxy:3128",
        PLUGIN_REGISTRY="r.example.org",
        PLUGIN_USERNAME="ci",
        PLUGIN_PASSWORD="push",
        PLUGIN_BASE_IMAGE_REGISTRY="https://index.docker.io/v1/",
        PLUGIN_BASE_IMAGE_USERNAME="hub",
        PLUGIN_BASE_IMAGE_PASSWORD="pull",
        PLUGIN_NO_CACHE="true",
        PLUGIN_PULL_IMAGE="false",
        PLUGIN_CACHE_FROM="r.example.org/app:cache",
        PLUGIN_PLATFORM="linux/amd64",
        PLUGIN_ADD_HOST="db:10.0.0.1",
        PLUGIN_SECRET="id=one,env=ONE",
        ONE="1st",
        PLUGIN_SECRETS_FROM_ENV="two=TWO",
        TWO="2nd",
        PLUGIN_SECRETS_FROM_FILE="three=secret.txt",
        PLUGIN_CUSTOM_LABELS="a=b,c=d=e",
        PLUGIN_LABEL_SCHEMA="title=App",
        PLUGIN_SOURCE="git",
        DRONE_NETRC_USERNAME="git",
        DRONE_NETRC_PASSWORD="clone",
        PLUGIN_REQUEST='{"supersede": "running"}',
    )
    proxies = {"http_proxy": "http://proxy:3128", "HTTP_PROXY": "http://proxy:3128"}
    assert found["build_args"] == {
        **proxies,
        "A": "1",
        "B": "x=y",
        "FROM_HERE": "here",
        "ALSO": "too",
    }
    assert found["registries"] == [
        {"registry": "r.example.org", "username": "ci", "password": "push", "use": "all"},
        {"registry": "docker.io", "username": "hub", "password": "pull", "use": "pull"},
    ]
    assert found["secrets"] == {"one": "1st", "two": "2nd", "three": "from a file"}
    prefix = "org.opencontainers.image"
    assert found["image_labels"] == {
        f"{prefix}.created": NOW,
        f"{prefix}.revision": "c" * 40,
        f"{prefix}.source": "https://git.example.org/app.git",
        f"{prefix}.url": "https://git.example.org/app",
        f"{prefix}.title": "App",
        "a": "b",
        "c": "d=e",
    }
    assert found["source"] == {
        "git": {
            "url": "https://git.example.org/app.git",
            "ref": "c" * 40,
            "username": "git",
            "password": "clone",
        }
    }
    assert found["labels"] == {"ci.repo": "team/app", "ci.number": "7"}
    assert found["supersede"] == "running"
    assert found["pull"] is False
    schemas.parse_build(found, RequestPolicy())


def test_a_workspace_is_sent_as_it_is(tmp_path: Path) -> None:
    """As drone-docker builds it, with what steps before left in it; so there is no source here."""
    found = body(tmp_path)
    assert "source" not in found
    upload = {"source": {"upload": {"sha256": "0" * 64, "size": 1}}}
    schemas.parse_build({**found, **upload}, RequestPolicy(uploads=True), uploaded=True)
    assert found["pull"] is True


def test_logins_of_a_docker_client(tmp_path: Path) -> None:
    entry = {"auth": base64.b64encode(b"me:se:cret").decode()}
    config = {"auths": {"r.example.org": entry, "x.org": {"username": "u", "password": "p"}}}
    found = body(tmp_path, PLUGIN_CONFIG=json.dumps(config))["registries"]
    assert [(each["registry"], each["username"], each["password"]) for each in found] == [
        ("r.example.org", "me", "se:cret"),
        ("x.org", "u", "p"),
    ]
    bad = json.dumps({"auths": {"r.example.org": {"auth": "???"}}})
    assert "r.example.org" in wrong(tmp_path, PLUGIN_CONFIG=bad)["config"]


def test_labels_are_ours_to_leave_out(tmp_path: Path) -> None:
    told = {"PLUGIN_CUSTOM_LABELS": "a=b", "PLUGIN_LABEL_SCHEMA": "title=App"}
    found = body(tmp_path, PLUGIN_AUTO_LABEL="false", **told)
    assert found["image_labels"] == {"a": "b"}
    assert found["standard_labels"] is False


def test_a_token_that_a_cloud_gave_is_a_password(tmp_path: Path) -> None:
    (login,) = body(tmp_path, PLUGIN_REGISTRY="gcr.io", ACCESS_TOKEN="t")["registries"]
    assert (login["username"], login["password"]) == ("oauth2accesstoken", "t")


def test_build_args_with_commas(tmp_path: Path) -> None:
    told = {"PLUGIN_MULTIPLE_BUILD_ARGS": "true", "PLUGIN_BUILD_ARGS_NEW": "A=1,2;B=3"}
    assert body(tmp_path, **told)["build_args"] == {"A": "1,2", "B": "3"}


def test_woodpecker_calls_it_otherwise(tmp_path: Path) -> None:
    told = {
        "CI_COMMIT_REF": "refs/tags/v1.2.3",
        "CI_COMMIT_SHA": "d" * 40,
        "CI_REPO_CLONE_URL": "https://git.example.org/w.git",
        "CI_REPO_DEFAULT_BRANCH": "main",
        "CI_REPO": "team/w",
        "CI_PIPELINE_NUMBER": "3",
        "PLUGIN_AUTO_TAG": "true",
        "PLUGIN_SOURCE": "git",
    }
    found = read({**NEEDED, **told}, tmp_path)
    chosen = request.tags_of(found)
    assert chosen == ("1", "1.2", "1.2.3")
    made = request.body(found, chosen, NOW)
    assert made["source"]["git"]["ref"] == "d" * 40
    assert made["labels"] == {"ci.repo": "team/w", "ci.number": "3"}


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"PLUGIN_REPO": ""}, "repo"),
        ({"PLUGIN_BUILDER_URL": ""}, "builder_url"),
        ({"PLUGIN_BUILDER_TOKEN": ""}, "builder_token"),
        ({"PLUGIN_NO_CACHE": "yes"}, "no_cache"),
        ({"PLUGIN_DRY_RUN": "true"}, "dry_run"),
        ({"PLUGIN_PUSH_ONLY": "true"}, "push_only"),
        ({"PLUGIN_COSIGN_PRIVATE_KEY": "x"}, "cosign_private_key"),
        ({"PLUGIN_SOURCE": "svn"}, "source"),
        ({"PLUGIN_ADD_HOST": "db"}, "add_host"),
        ({"PLUGIN_SECRET": "one"}, "secret"),
        ({"PLUGIN_SECRETS_FROM_ENV": "a=MISSING"}, "secrets_from_env"),
        ({"PLUGIN_SECRETS_FROM_FILE": "a=missing"}, "secrets_from_file"),
        ({"PLUGIN_REQUEST": "[]"}, "request"),
        ({"PLUGIN_CONFIG": "{"}, "config"),
        ({"PLUGIN_BUILD_ARGS": "MISSING"}, "build_args"),
    ],
)
def test_what_is_wrong_is_told_by_the_settings_name(
    tmp_path: Path, told: dict[str, str], field: str
) -> None:
    assert set(wrong(tmp_path, **told)) == {field}


def test_a_setting_that_is_off_is_no_error(tmp_path: Path) -> None:
    """Pipelines have `dry_run: false` in them."""
    settings(tmp_path, PLUGIN_DRY_RUN="false", PLUGIN_SQUASH="false")


BUILD: dict[str, Any] = {
    "id": "b" * 16,
    "ended_at": NOW,
    "result": {
        "digest": "sha256:" + "1" * 64,
        "size": 3 * 1024 * 1024,
        "images": [
            {"name": "r.example.org/app:1", "digest": "sha256:" + "1" * 64},
            {"name": "r.example.org/app:latest", "digest": "sha256:" + "1" * 64},
        ],
    },
}


def test_the_artifact_file_names_each_image_with_its_digest() -> None:
    found = results.artifact(BUILD)
    assert found["kind"] == "docker/v1"
    assert found["data"]["images"] == [
        {"image": each["name"], "digest": each["digest"]} for each in BUILD["result"]["images"]
    ]


def test_the_card_goes_where_drone_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = results.card(BUILD, "https://builder.example.org/x")
    assert card["data"]["SizeString"] == "3.00MB"
    results.write_card(str(tmp_path / "card"), card)
    assert json.loads((tmp_path / "card").read_text()) == card
    results.write_card("/dev/stdout", card)
    out = capsys.readouterr().out
    assert out.startswith("\x1b]1338;")
    encoded = out.removeprefix("\x1b]1338;").partition("\x1b]0m")[0]
    assert json.loads(base64.b64decode(encoded)) == card
