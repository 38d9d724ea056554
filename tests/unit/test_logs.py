"""The framework's copy of a log is exact, and followers are woken and forgotten."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.errors import SandboxError
from builder_framework.mesos.sandbox import _data
from builder_framework.service.logs import Bell, LogStore

ID = "0" * 16


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_pieces_of_the_agents_answer_add_up_to_the_file(text: bytes, cuts: list[int]) -> None:
    """The agent cuts where it likes, inside of characters too, and puts raw bytes into JSON."""
    whole = text.decode("utf-8", "replace").replace("\0", "").encode()
    borders = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(borders)]
    assert b"".join(_data(_answer(piece)) for piece in pieces) == whole


def _answer(piece: bytes) -> bytes:
    """As stout's JSON writer does it: control characters escaped, all else as it is."""
    body = bytearray()
    for byte in piece:
        if byte in b'"\\':
            body += b"\\" + bytes([byte])
        elif byte < 0x20 or byte == 0x7F:
            body += b"\\u%04x" % byte
        else:
            body.append(byte)
    return b'{"data":"' + bytes(body) + b'","offset":0}'


def test_an_answer_that_is_none_is_an_error_of_the_sandbox() -> None:
    for body in (b"", b"<html>", b'{"offset": 1}'):
        with pytest.raises(SandboxError):
            _data(body)


def test_what_was_appended_is_read_at_any_offset(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    assert (logs.size(ID), logs.read(ID, 0, 10)) == (0, b"")
    logs.append(ID, b"hello ")
    logs.append(ID, b"world")
    assert logs.size(ID) == 11
    assert logs.read(ID, 6, 100) == b"world"
    assert logs.read(ID, 2, 3) == b"llo"
    assert logs.read(ID, 99, 3) == b""
    assert LogStore(tmp_path).size(ID) == 11


@pytest.mark.parametrize("build_id", ["", "../../etc/passwd", "x", "0" * 15 + "/"])
def test_only_build_ids_become_file_names(tmp_path: Path, build_id: str) -> None:
    with pytest.raises(ValueError, match="not a build id"):
        LogStore(tmp_path).read(build_id, 0, 1)


def test_a_bell_wakes_those_who_watch_and_nobody_else() -> None:
    bell = Bell()
    with bell.watch(ID) as mine, bell.watch("1" * 16) as other:
        bell.ring(ID)
        assert mine.wait(1.0)
        assert not mine.wait(0.0)
        assert not other.wait(0.0)
    bell.ring(ID)
    assert not mine.wait(0.0)
    assert bell._watches == {}
