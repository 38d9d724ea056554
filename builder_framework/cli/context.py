"""A working copy on its way to the server: packed as Docker would, and sent as it is read."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import click
from docker.utils.build import exclude_paths

IGNORE_FILE = ".dockerignore"

_COMPRESSION = 6
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Packed:
    """A tar.gz, at its beginning. `size` in bytes, `files`: entries in it."""

    file: IO[bytes]
    size: int
    files: int


@contextmanager
def packed(folder: Path, dockerfile: str = "Dockerfile") -> Iterator[Packed]:
    """What `folder` would be as Docker's build context; the file is gone with the block.

    Patterns come from `DOCKERFILE.dockerignore` if there is one, or else from `.dockerignore`
    (https://docs.docker.com/build/concepts/context/#dockerignore-files). The same files give the
    same archive. Raises click.UsageError.
    """
    with TemporaryFile() as file:
        files = 0
        with (
            gzip.GzipFile(
                filename="", mode="wb", fileobj=file, compresslevel=_COMPRESSION, mtime=0
            ) as compressed,
            tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in _names(folder, dockerfile):
                files += _add(archive, folder / name, name)
        size = file.tell()
        file.seek(0)
        yield Packed(file, size, files)


def _names(folder: Path, dockerfile: str) -> list[str]:
    try:
        patterns = _patterns(folder, dockerfile)
        return sorted(exclude_paths(str(folder), patterns, dockerfile))
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None


def _patterns(folder: Path, dockerfile: str) -> list[str]:
    for name in (f"{dockerfile}{IGNORE_FILE}", IGNORE_FILE):
        path = folder / name
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
            return [line for line in lines if line and not line.startswith("#")]
    return []


def _add(archive: tarfile.TarFile, path: Path, name: str) -> int:
    """Add a file, directory or link; how many were added. Sockets and devices are no sources."""
    if stat.S_ISSOCK(path.lstat().st_mode):
        return 0  # tarfile has no name for those
    try:
        info = archive.gettarinfo(path, arcname=name)
        if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
            return 0
        # Whose it is here means nothing there.
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        if not info.isfile():
            archive.addfile(info)
            return 1
        with path.open("rb") as content:
            # It may grow while it is read; the header has been written by then.
            info.size = os.fstat(content.fileno()).st_size
            archive.addfile(info, content)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror or error}") from None
    return 1


class Multipart:
    """The body of a submission with a context, read piece by piece. As requests needs it: it can be
    read, iterated over, and asked for its length.
    """

    def __init__(
        self, request: dict[str, Any], content: Packed, sent: Callable[[int], None]
    ) -> None:
        """`sent` hears how many bytes of the archive went with each piece."""
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="request"\r\n'
            "Content-Type: application/json\r\n\r\n"
            f"{json.dumps(request)}\r\n--{boundary}\r\n"
            'Content-Disposition: form-data; name="context"; filename="context.tar.gz"\r\n'
            "Content-Type: application/gzip\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._length = len(self._head) + content.size + len(self._tail)
        self._file = content.file
        self._file.seek(0)
        self._sent = sent

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(_PIECE):
            yield piece

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        size = size if size >= 0 else self._length
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        if piece := self._file.read(size):
            self._sent(len(piece))
            return piece
        piece, self._tail = self._tail[:size], self._tail[size:]
        return piece


def is_folder(text: str) -> bool:
    """Whether a source is a working copy, and not a URL."""
    return "://" not in text and Path(text).is_dir()
