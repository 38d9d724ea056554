"""Uploads are there for as long as their build is not over, whichever the database."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain.model import Build
from builder_framework.errors import LeadershipLostError, NotFoundError
from builder_framework.recipe import Source, UploadSource
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from builder_framework.store.uploads import ABANDONED, SqlUploads
from tests.contract.builds import after, build
from tests.contract.conftest import Open

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def uploads(store: SqlStore) -> SqlUploads:
    return SqlUploads(store)


def of(upload: UploadSource, name: str = "b") -> Build:
    made = build(name)
    return replace(made, request=replace(made.request, source=Source(upload=upload)))


def content(uploads: SqlUploads, upload: UploadSource) -> bytes:
    return b"".join(uploads.read(upload.id, upload.token.reveal()))


def test_what_was_kept_comes_back_in_another_process(uploads: SqlUploads, opened: Open) -> None:
    kept = uploads.keep(io.BytesIO(CONTENT), "me")
    assert kept.size == len(CONTENT)
    assert content(SqlUploads(opened()), kept) == CONTENT


def test_the_token_survives_with_its_build_and_is_sealed(
    uploads: SqlUploads, store: SqlStore
) -> None:
    kept = uploads.keep(io.BytesIO(CONTENT), "me")
    one = of(kept)
    store.apply([Change(one)])
    assert store.get(one.id).request.source.upload == kept


def test_it_goes_when_its_build_is_over(uploads: SqlUploads, store: SqlStore) -> None:
    kept = uploads.keep(io.BytesIO(CONTENT), "me")
    one = of(kept)
    store.apply([Change(one)])
    assert uploads.sweep(time.time() + 10 * ABANDONED) == 0, "it waits"
    assert content(uploads, kept) == CONTENT
    store.apply([Change(after(one, ev.CancelRequested("me")), one)])
    assert uploads.sweep(time.time()) == 1
    with pytest.raises(NotFoundError):
        uploads.read(kept.id, kept.token.reveal())


def test_one_without_a_build_stays_for_a_while(uploads: SqlUploads) -> None:
    """Its build may be about to be accepted, by a process that is slow."""
    kept = uploads.keep(io.BytesIO(CONTENT), "me")
    assert uploads.sweep(time.time() + ABANDONED / 2) == 0
    assert content(uploads, kept) == CONTENT
    assert uploads.sweep(time.time() + ABANDONED * 2) == 1


def test_only_the_leader_removes(uploads: SqlUploads, opened: Open) -> None:
    uploads.keep(io.BytesIO(CONTENT), "me")
    with pytest.raises(LeadershipLostError):
        SqlUploads(opened()).sweep(time.time() + ABANDONED * 2)
