"""The tar inside of a compressed archive, in no more memory than is asked for.

`tarfile` takes whatever a piece of input decompresses to into memory at once: for a kilobyte of
bzip2 that may be gigabytes. It also reads headers of any length.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from typing import Protocol

MAX_DICTIONARY = 128 * 1024**2
"""Bytes of memory for xz: its highest preset needs 65 MiB (xz(1)), a header may ask for 4 GiB."""

_MAGIC = 6
_PIECE = 64 * 1024
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_LZMA = b"\x5d\x00\x00"


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` of them; none at the end."""


class Plain(io.RawIOBase):
    """What a stream holds, uncompressed: plain, gzip, bzip2 or xz, as its first bytes say.

    `count`: bytes that were read. `most`: of those, before it refuses to go on.
    """

    def __init__(self, stream: Readable, most: int) -> None:
        """Raises what `stream` raises."""
        head = stream.read(_MAGIC)
        self._content = _content(_Begun(head, stream), head)
        self.count = 0
        self.most = most

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, none at the end.

        Raises tarfile.ReadError, and what the stream raises.
        """
        if self.count > self.most:
            raise tarfile.ReadError("a header is too long")
        try:
            data = self._content.read(_PIECE if size < 0 else size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(f"it does not decompress: {error}") from error
        self.count += len(data)
        return data


def _content(stream: _Begun, head: bytes) -> Readable:
    if head.startswith(_GZIP):
        return _Gzip(stream)
    if head.startswith(_BZIP2):
        return _Blocks(stream, bz2.BZ2Decompressor)
    if head.startswith((_XZ, _LZMA)):
        return _Blocks(stream, lambda: lzma.LZMADecompressor(memlimit=MAX_DICTIONARY))
    return stream


class _Begun(io.RawIOBase):
    """A stream whose first bytes were looked at."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._stream.read(size)
        size = len(self._head) if size < 0 else size
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Gzip:
    def __init__(self, stream: io.RawIOBase) -> None:
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._file.read1(size)
        return data


class _Engine(Protocol):
    """bz2.BZ2Decompressor and lzma.LZMADecompressor."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Make(Protocol):
    def __call__(self) -> _Engine: ...


class _Blocks:
    """One stream after the other, as `cat a.xz b.xz` makes them."""

    def __init__(self, stream: Readable, make: _Make) -> None:
        self._stream = stream
        self._make = make
        self._engine = make()

    def read(self, size: int = -1, /) -> bytes:
        data = b""
        while not data:
            if self._engine.eof:
                rest = self._engine.unused_data or self._stream.read(_PIECE)
                if not rest.strip(b"\0"):  # padding, or nothing
                    return b""
                self._engine = self._make()
                data = self._engine.decompress(rest.lstrip(b"\0"), size)
            elif self._engine.needs_input:
                piece = self._stream.read(_PIECE)
                if not piece:
                    raise EOFError("it ends too early")
                data = self._engine.decompress(piece, size)
            else:
                data = self._engine.decompress(b"", size)
        return data
