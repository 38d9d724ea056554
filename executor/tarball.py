"""From the URL of a tar archive to a directory: bounded in bytes, entries and time.

An archive is made by a stranger: it must not fill the disk, write outside of its directory, or
leave devices behind (tarfile's `data` filter, PEP 706).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from builder_framework.protocol import Reason
from builder_framework.recipe import TarballSource, UploadSource
from builder_framework.redact import Secret
from executor.cancel import CancelToken
from executor.decompress import Plain
from executor.failure import BuildFailure
from executor.registry_http import certificates, retry_after

MAX_BYTES = 2 * 1024**3
"""Of the archive as it comes."""

MAX_CONTENT = 10 * 1024**3
"""Bytes of all its files together."""

MAX_RATIO = 200
"""Content for each byte that came, once there is some content: deflate reaches 1000, text 10."""

MAX_ENTRIES = 500_000

MAX_HEADER = 256 * 1024
"""Bytes before a file's content: tarfile takes names, attributes and maps of holes into memory."""

MAX_GLOBAL_FIELDS = 100
"""Of pax headers that hold for all that follows; git writes one."""

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds without a byte."""

_CHUNK = 1024 * 1024
_RATIO_FROM = 100 * 1024**2
_TIMES = (-(2**31), 253_402_300_799)
"""What ISO 8601 can say, up to the year 9999, and file systems keep."""

_TOO_LONG = {errno.ENAMETOOLONG, errno.ELOOP}
_QUERY = re.compile(r"\?[^\s'\"<>)]+")
_NOT_NOW = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True)
class Unpacked:
    """What came. `digest`: `sha256:…` of the archive; `newest`: its youngest file's time."""

    digest: str
    newest: float


@dataclass(frozen=True)
class Limits:
    """What an archive may be."""

    size: int = MAX_BYTES
    content: int = MAX_CONTENT
    ratio: int = MAX_RATIO
    entries: int = MAX_ENTRIES


@dataclass(frozen=True)
class Archive:
    """Where an archive is, and who we are there. `bearer`: a token (RFC 6750)."""

    url: str
    auth: tuple[str, str] | None = None
    bearer: Secret | None = None
    sha256: str | None = None
    strip_components: int = 0

    @classmethod
    def at(cls, source: TarballSource) -> Archive:
        """Somewhere on the network."""
        auth = None
        if source.password is not None:
            auth = (source.username or "", source.password.reveal())
        return cls(source.address, auth, None, source.sha256, source.strip_components)

    @classmethod
    def uploaded(cls, source: UploadSource) -> Archive:
        """At the framework."""
        return cls(source.url, bearer=source.token, sha256=source.sha256)


class _Session(requests.Session):
    """Credentials are for their own origin only; requests takes https of the same host for it."""

    def should_strip_auth(self, old_url: str, new_url: str) -> bool:
        return _origin(old_url) != _origin(new_url)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    found = urlsplit(url)
    return found.scheme, found.hostname, found.port or {"http": 80, "https": 443}.get(found.scheme)


def fetch(source: Archive, folder: Path, token: CancelToken, limits: Limits = Limits()) -> Unpacked:
    """Download the archive and unpack it into the empty `folder` as it comes.

    Raises BuildFailure(tarball_failed, tarball_invalid), Stopped.
    """
    with _response(source) as response:
        stream = _Counted(response, token, limits.size)
        found = unpack(stream, folder, source.strip_components, limits)
    if source.sha256 is not None and found.digest != f"sha256:{source.sha256}":
        raise _invalid(f"the archive is {found.digest}, not sha256:{source.sha256}")
    return found


@contextlib.contextmanager
def _response(source: Archive) -> Iterator[requests.Response]:
    with _Session() as session:
        # Its environment holds passwords of others, too (netrc); proxies are given in each call.
        session.trust_env = False
        session.verify = certificates()
        session.headers.update({"User-Agent": "builder-executor", "Accept-Encoding": "identity"})
        headers = {}
        if source.bearer is not None:
            headers["Authorization"] = f"Bearer {source.bearer.reveal()}"
        try:
            with session.get(
                source.url,
                auth=source.auth,
                headers=headers,
                stream=True,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                proxies=get_environ_proxies(source.url),
            ) as response:
                _check(response, source.url)
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # Where it led to may be signed in its query, which no request named.
            why = _QUERY.sub("?***", str(error))
            raise _failed(f"the archive did not come: {why}", transient=True) from None


def _check(response: requests.Response, asked: str) -> None:
    way = [each.url for each in (*response.history, response)]
    if asked.startswith("https://") and not all(url.startswith("https://") for url in way):
        raise _failed("the server leads away from https", transient=False)
    if response.status_code == HTTPStatus.OK:
        return
    status = response.status_code
    transient = status in _NOT_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise _failed(
        f"the server answered HTTP {status} {response.reason}",
        transient=transient,
        wait=retry_after(response.headers),
    )


class _Counted(io.RawIOBase):
    """The response's bytes, counted and hashed."""

    def __init__(self, response: requests.Response, token: CancelToken, most: int) -> None:
        self._raw = response.raw
        self._token = token
        self._most = most
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """See io.RawIOBase. Raises BuildFailure, Stopped."""
        self._token.check()
        data: bytes = self._raw.read(_CHUNK if size < 0 else size)
        self.count += len(data)
        if self.count > self._most:
            raise _invalid(f"the archive has over {self._most} bytes")
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        """Of what was read so far."""
        return f"sha256:{self._hash.hexdigest()}"


def unpack(stream: _Counted, folder: Path, strip: int, limits: Limits) -> Unpacked:
    """Unpack a tar stream (plain, gzip, bzip2, xz) into `folder`, names without `strip` parts.

    Raises BuildFailure(tarball_invalid), and what `stream` raises.
    """
    newest, content = 0.0, 0
    with _broken():
        plain = Plain(stream, MAX_HEADER)
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for entries, member in enumerate(archive, start=1):
                # What follows this one's content is the next one's header.
                plain.most = archive.offset + MAX_HEADER
                archive.members.clear()  # type: ignore[attr-defined]  # or each is kept
                content += member.size
                _check_limits(entries, content, limits)
                _check_ratio(max(content, plain.count), stream.count, limits)
                _check_header(archive, member)
                if not _strip(member, strip):
                    continue
                _check_hard_link(member, folder)
                newest = max(newest, float(member.mtime))
                # Whoever owns it there is nobody here.
                archive.extract(member, folder, set_attrs=True, filter="data")
    while stream.read():  # what follows the end still counts for the digest
        pass
    return Unpacked(stream.digest, newest)


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    """What tarfile raises for an archive's faults; a full disk, for one, is none of them."""
    try:
        yield
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _invalid(f"two of its entries contradict each other: {error.strerror}") from error
    except OSError as error:
        if error.errno not in _TOO_LONG:
            raise
        raise _invalid(f"one of its names: {error.strerror}") from error
    except (tarfile.TarError, ArithmeticError, LookupError, ValueError, RecursionError) as error:
        raise _invalid(f"it is no tar archive, or a broken one: {error}") from error


def _check_header(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if len(archive.pax_headers) > MAX_GLOBAL_FIELDS:
        raise _invalid(f"the archive has over {MAX_GLOBAL_FIELDS} global header fields")
    if not _TIMES[0] <= member.mtime <= _TIMES[1]:  # nor is NaN
        raise _invalid("one of its entries has a time that is out of range")


def _check_hard_link(member: tarfile.TarInfo, folder: Path) -> None:
    if member.islnk() and not os.path.lexists(folder / member.linkname):
        raise _invalid(f"{member.name!r} is a link to what does not come before it")


def _check_limits(entries: int, content: int, limits: Limits) -> None:
    if entries > limits.entries:
        raise _invalid(f"the archive has over {limits.entries} entries")
    if content > limits.content:
        raise _invalid(f"the archive's files have over {limits.content} bytes")


def _check_ratio(unpacked: int, came: int, limits: Limits) -> None:
    """`unpacked`: headers, too."""
    if unpacked > _RATIO_FROM and unpacked > came * limits.ratio:
        raise _invalid(f"the archive unpacks to over {limits.ratio} times its size")


def _strip(member: tarfile.TarInfo, count: int) -> bool:
    """Cut the first parts off its name, and off a hard link's; whether anything is left."""
    if not count:
        return True
    member.name = _without(member.name, count)
    if member.islnk():
        member.linkname = _without(member.linkname, count)
    return bool(member.name)


def _without(name: str, count: int) -> str:
    return "/".join(PurePosixPath(name).parts[count:])


def _invalid(why: str) -> BuildFailure:
    return BuildFailure(Reason.TARBALL_INVALID, why, transient=False)


def _failed(why: str, *, transient: bool, wait: float = 0.0) -> BuildFailure:
    return BuildFailure(Reason.TARBALL_FAILED, why, transient=transient, retry_after=wait)
