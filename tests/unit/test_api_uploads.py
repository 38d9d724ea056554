"""Sources that are not git, over the API: archives, Dockerfiles, and contexts that come along."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api import create_app
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.sql import SqlStore
from builder_framework.store.uploads import SqlUploads
from builder_framework.users import SingleUser
from tests.sealing import SEALER
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

BUILDS = "/api/v1/builds"
AUTH = (USER, PASSWORD)
IMAGE = "registry.example.org/app:1"


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy(uploads=True, upload_max_mb=1)


@pytest.fixture
def app(builds: MemoryBuilds, policy: RequestPolicy, tmp_path: Path) -> Iterator[Flask]:
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    store.lead("here", None)
    yield create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), policy, SqlUploads(store))
    store.close()


def archive(size: int = 2000, mode: Any = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return file.getvalue()


def upload(http: Any, content: bytes, request: Any = None, **parts: Any) -> Any:
    request = {"images": [IMAGE]} if request is None else request
    data = {
        "request": json.dumps(request),
        "context": (io.BytesIO(content), "context.tar.gz"),
        **parts,
    }
    kept = {name: part for name, part in data.items() if part is not None}
    return http.post(BUILDS, data=kept, auth=AUTH, content_type="multipart/form-data")


def problems(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400, answer.text
    return {item["field"]: item["problem"] for item in answer.json["errors"]}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_context_comes_with_the_request_and_goes_to_who_has_its_token(
    http: Any, builds: MemoryBuilds, mode: str
) -> None:
    content = archive(mode=mode)
    answer = upload(http, content)
    assert answer.status_code == 202, answer.text
    digest = hashlib.sha256(content).hexdigest()
    assert answer.json["source"] == {"upload": {"sha256": digest, "size": len(content)}}
    source = builds.get(answer.json["id"]).build.request.source.upload
    assert source is not None
    assert source.token.reveal() not in answer.text

    def fetch(token: str, name: str = source.id) -> Any:
        headers = {"Authorization": token}
        return http.get(f"/api/v1/uploads/{name}", headers=headers)

    found = fetch(f"Bearer {source.token.reveal()}")
    assert (found.status_code, found.data) == (200, content)
    for token, name in (
        ("Bearer nonsense", source.id),
        ("Bearer ", source.id),
        (f"Basic {source.token.reveal()}", source.id),
        (f"Bearer {source.token.reveal()}", "0" * 32),
        (f"Bearer {source.token.reveal()}", "../../etc"),
    ):
        assert fetch(token, name).status_code in (401, 404)


def test_several_pieces_are_one_archive_again(
    http: Any, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder_framework.store.uploads._PIECE", 1000)
    content = archive(10_000, "w")
    answer = upload(http, content)
    assert answer.status_code == 202, answer.text
    source = builds.get(answer.json["id"]).build.request.source.upload
    assert source is not None
    headers = {"Authorization": f"Bearer {source.token.reveal()}"}
    assert http.get(f"/api/v1/uploads/{source.id}", headers=headers).data == content


def test_too_large_a_context_is_told_with_the_limits_name(http: Any) -> None:
    answer = http.post(
        BUILDS,
        data=b"x",
        environ_overrides={"CONTENT_LENGTH": str(3 * 1024 * 1024)},
        content_type="multipart/form-data; boundary=x",
        auth=AUTH,
    )
    assert answer.status_code == 413
    assert "upload_max_mb" in answer.json["detail"]


def test_faults_in_the_parts_are_told_by_name(http: Any) -> None:
    assert "is missing" in problems(upload(http, archive(), request=None, context=None))["context"]
    answer = http.post(
        BUILDS,
        data={"context": (io.BytesIO(archive()), "c")},
        auth=AUTH,
        content_type="multipart/form-data",
    )
    assert "is missing" in problems(answer)["request"]
    assert "no tar archive" in problems(upload(http, b"PK\3\4 a zip"))["context"]
    assert "extra" in problems(upload(http, archive(), extra="x"))
    with_source = {"images": [IMAGE], "source": {"inline": {"dockerfile": "FROM x"}}}
    assert "left out" in problems(upload(http, archive(), with_source))["source"]
    assert "images" in problems(upload(http, archive(), {}))


def test_without_a_way_for_executors_there_are_no_uploads(builds: MemoryBuilds) -> None:
    app = create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), RequestPolicy())
    answer = upload(app.test_client(), archive())
    assert "BUILDER_UPLOAD_URL" in problems(answer)["context"]


def test_an_upload_needs_what_is_uploaded(http: Any) -> None:
    body = {"images": [IMAGE], "source": {"upload": {"sha256": "0" * 64, "size": 1}}}
    answer = http.post(BUILDS, json=body, auth=AUTH)
    assert "multipart" in problems(answer)["source.upload"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            {"tarball": {"url": "HTTPS://Host.example/a.tgz?signature=canary", "sha256": "A" * 64}},
            {
                "url": "https://host.example/a.tgz?***",
                "username": None,
                "password": None,
                "sha256": "a" * 64,
                "strip_components": 0,
            },
        ),
        ({"inline": {"dockerfile": "FROM x\n"}}, {"dockerfile": "FROM x\n"}),
    ],
)
def test_archives_and_dockerfiles_are_sources(
    http: Any, source: dict[str, Any], shown: dict[str, Any]
) -> None:
    answer = http.post(BUILDS, json={"images": [IMAGE], "source": source}, auth=AUTH)
    assert answer.status_code == 202, answer.text
    assert answer.json["source"] == dict.fromkeys(source, shown)
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({}, "source"),
        ({"inline": {"dockerfile": "FROM x"}, "git": {"url": "https://h.example/a"}}, "source"),
        ({"tarball": {"url": "http://host.example/a.tgz"}}, "source.tarball.url"),
        ({"tarball": {"url": "ftp://host.example/a.tgz"}}, "source.tarball.url"),
        ({"tarball": {"url": "https://me:canary@host.example/a"}}, "source.tarball.url"),
        ({"tarball": {"url": "https://host.example/a#x"}}, "source.tarball.url"),
        ({"tarball": {"url": "https://host.example:99999/a"}}, "source.tarball.url"),
        (
            {"tarball": {"url": "https://host.example/a", "sha256": "x"}},
            "source.tarball.sha256",
        ),
        (
            {"tarball": {"url": "https://host.example/a", "password": "canary"}},
            "source.tarball.password",
        ),
        ({"inline": {"dockerfile": " \n"}}, "source.inline.dockerfile"),
        ({"inline": {"dockerfile": "x" * 70_000}}, "source.inline.dockerfile"),
        ({"inline": {"dockerfile": "FROM a\0"}}, "source.inline.dockerfile"),
    ],
)
def test_faulty_sources_are_told_by_field(http: Any, source: dict[str, Any], field: str) -> None:
    answer = http.post(BUILDS, json={"images": [IMAGE], "source": source}, auth=AUTH)
    assert set(problems(answer)) == {field}
    assert "canary" not in answer.text
