"""A working copy on its way to the server: packed as Docker would, and sent as it is read."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
import secrets
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

import click

from builder_framework.cli import dockerignore
from builder_framework.cli.dockerignore import DockerIgnore
from builder_framework.errors import InvalidValueError

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
def packed(folder: Path, dockerfile: str = "Dockerfile", context: str = ".") -> Iterator[Packed]:
    """What `folder` would be as Docker's build context; the file is gone with the block.

    `context`: the directory of it that is the build context. What the patterns there
    (`dockerignore.of`) leave out is left out; what is beside it is sent. The same files give the
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
            for name in _names(folder, PurePosixPath(context), dockerfile):
                files += _add(archive, folder / name, name)
        size = file.tell()
        file.seek(0)
        yield Packed(file, size, files)


def _names(folder: Path, context: PurePosixPath, dockerfile: str) -> Iterator[str]:
    """Sorted, each directory before what is in it."""
    try:
        patterns = dockerignore.of(folder / context, dockerfile)
        yield from _below(folder, "", _Choice(patterns, context, _always(context, dockerfile)))
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None
    except InvalidValueError as error:
        raise click.UsageError(error.message) from None


def _always(context: PurePosixPath, dockerfile: str) -> frozenset[str]:
    """What is sent whatever the patterns say: the server needs it. Maybe not all of it is there."""
    names = (dockerfile, f"{dockerfile}{IGNORE_FILE}", IGNORE_FILE)
    found = {posixpath.normpath(context / name) for name in names}
    return frozenset(found | {posixpath.normpath(dockerfile)})


@dataclass(frozen=True)
class _Choice:
    """What of a folder goes: all but what `patterns` of `context` say; `always` in any case."""

    patterns: DockerIgnore
    context: PurePosixPath
    always: frozenset[str]

    def leaves_out(self, path: str) -> bool:
        inside = self._inside(path)
        return inside is not None and path not in self.always and self.patterns.excludes(inside)

    def leaves_out_all_below(self, path: str) -> bool:
        inside = self._inside(path)
        if inside is None or not self.patterns.excludes_all_below(inside):
            return False
        return not any(each.startswith(f"{path}/") for each in self.always)

    def _inside(self, path: str) -> str | None:
        """The path in the context; None if it is not in it."""
        where = PurePosixPath(path)
        if where == self.context or not where.is_relative_to(self.context):
            return None
        return str(where.relative_to(self.context))


def _below(root: Path, folder: str, choice: _Choice) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if not entry.is_dir(follow_symlinks=False):
            if not choice.leaves_out(path):
                yield path
            continue
        inside = iter(()) if choice.leaves_out_all_below(path) else _below(root, path, choice)
        first = next(inside, None)
        # A directory goes with what is in it, even if it is left out by itself.
        if first is not None or not choice.leaves_out(path):
            yield path
        if first is not None:
            yield first
            yield from inside


def _add(archive: tarfile.TarFile, path: Path, name: str) -> int:
    """Add a file, directory or link; how many were added. Sockets and devices are no sources."""
    if stat.S_ISSOCK(path.lstat().st_mode):
        return 0  # tarfile has no name for those
    try:
        info = archive.gettarinfo(path, arcname=name)
        if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
            return 0
        if info.issym():
            _check_link(name, info.linkname)
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


def _check_link(name: str, target: str) -> None:
    """The executor unpacks no link that leads out of the archive."""
    leads = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if posixpath.isabs(target) or leads == ".." or leads.startswith("../"):
        raise click.UsageError(
            f"{name} is a link that leads out of the directory: leave it out in {IGNORE_FILE}"
        )


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
