"""Compressed streams come out as they were, and in pieces."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable

import pytest

from executor.decompress import Plain

ENOUGH = 10**9
TEXT = bytes(range(256)) * 4000

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


def read(body: bytes, size: int = 1000) -> bytes:
    plain, pieces = Plain(io.BytesIO(body), ENOUGH), []
    while piece := plain.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    assert plain.count == sum(map(len, pieces))
    return b"".join(pieces)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("text", [b"", b"a", TEXT])
def test_it_comes_out_as_it_was(name: str, text: bytes) -> None:
    assert read(COMPRESSIONS[name](text)) == text


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_one_after_the_other_is_one(name: str) -> None:
    compress = COMPRESSIONS[name]
    assert read(compress(TEXT) + compress(TEXT) + bytes(512)) == 2 * TEXT


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("harm", [lambda b: b[:-20], lambda b: b[:200] + b"xyz" + b[203:]])
def test_a_broken_one_is_told(name: str, harm: Callable[[bytes], bytes]) -> None:
    with pytest.raises(tarfile.ReadError, match="does not decompress"):
        read(harm(COMPRESSIONS[name](TEXT)))


def test_a_dictionary_has_a_limit() -> None:
    body = bytearray(COMPRESSIONS["lzma"](TEXT))
    body[1:5] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(tarfile.ReadError, match="limit"):
        read(bytes(body))


def test_no_more_is_read_than_is_wanted() -> None:
    plain = Plain(io.BytesIO(gzip.compress(TEXT)), 2000)
    while plain.count <= 2000:
        assert plain.read(500)
    with pytest.raises(tarfile.ReadError, match="too long"):
        plain.read(500)
    assert plain.count <= 2500
