"""An archive becomes a directory, and a hostile one becomes a reason."""

from __future__ import annotations

import base64
import bz2
import errno
import gzip
import hashlib
import http.server
import io
import lzma
import tarfile
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from builder_framework.protocol import Reason
from builder_framework.recipe import TarballSource
from builder_framework.redact import Secret
from executor import tarball
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.tarball import Archive, Limits, fetch


def at(url: str, *login: Any, **options: Any) -> Archive:
    return Archive.at(TarballSource(url, *login, **options))


def test_the_query_is_part_of_what_is_asked_for() -> None:
    address = "https://h.example/a.tgz?signature=a?b"
    source = TarballSource.at(address)
    assert (source.url, source.address) == ("https://h.example/a.tgz", address)
    assert Archive.at(source).url == address
    assert "signature" not in repr(source)


Change = Callable[[tarfile.TarInfo], None]


Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", change: Change = lambda _: None) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = 1_700_000_000
    change(info)
    return info, content


def link(kind: bytes, target: str) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


def pax(**fields: str) -> Change:
    return lambda info: setattr(info, "pax_headers", fields)


def archive(*entries: Entry, mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


GOOD = (entry("app-1/Dockerfile", b"FROM scratch\n"), entry("app-1/src/a", b"a"))


class Server(http.server.ThreadingHTTPServer):
    """Answers with `body`; `status` and `headers` may be others."""

    body = b""
    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    asked: list[tuple[str, str | None]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/app.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status if "moved" not in self.path else 200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkout"
    made.mkdir()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_compression(server: Server, folder: Path, mode: str) -> None:
    server.body = archive(*GOOD, mode=mode)
    found = fetch(at(server.url), folder, CancelToken())
    assert contents(folder) == {"app-1/Dockerfile": b"FROM scratch\n", "app-1/src/a": b"a"}
    assert found.digest == f"sha256:{hashlib.sha256(server.body).hexdigest()}"
    assert found.newest == 1_700_000_000


def test_leading_parts_are_cut_off(server: Server, folder: Path) -> None:
    server.body = archive(
        entry("app-1", change=lambda info: setattr(info, "type", tarfile.DIRTYPE)),
        *GOOD,
        entry("app-1/b", change=link(tarfile.LNKTYPE, "app-1/src/a")),
    )
    fetch(at(server.url, strip_components=1), folder, CancelToken())
    assert contents(folder) == {"Dockerfile": b"FROM scratch\n", "src/a": b"a", "b": b"a"}


def test_the_login_and_the_checksum(server: Server, folder: Path) -> None:
    server.body = archive(*GOOD)
    checksum = hashlib.sha256(server.body).hexdigest()
    source = at(server.url, "me", Secret("canary"), checksum)
    fetch(source, folder, CancelToken())
    login = base64.b64encode(b"me:canary").decode()
    assert server.asked == [("/app.tar.gz", f"Basic {login}")]


def test_a_login_is_not_handed_on(server: Server, folder: Path) -> None:
    server.body = archive(*GOOD)
    server.status = 302
    server.headers = {"Location": server.url.replace("127.0.0.1", "localhost") + "/moved"}
    fetch(at(server.url, "me", Secret("canary")), folder, CancelToken())
    assert [authorization is not None for _, authorization in server.asked] == [True, False]


def test_a_login_stays_with_its_origin() -> None:
    """Also where requests takes another scheme of the same host for the same."""
    strip = tarball._Session().should_strip_auth
    assert not strip("https://host/a", "https://host:443/b")
    for other in ("http://host/a", "https://host:8443/a", "https://host.example/a"):
        assert strip("https://host/a", other)
    assert strip("http://host/a", "https://host/a")


def test_no_part_of_the_way_from_https_is_over_http(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where it leads back to https."""
    way, last = requests.Response(), requests.Response()
    way.url = "http://host/a"
    last.url, last.history, last.status_code = "https://host/b", [way], 200
    last.raw = io.BytesIO()
    monkeypatch.setattr(requests.Session, "get", lambda *_, **__: last)
    with pytest.raises(BuildFailure, match="away from https"):
        fetch(at("https://host/a"), folder, CancelToken())


HOSTILE = {
    "a way out": entry("a/../../canary", b"x"),
    "a link out": entry("a", change=link(tarfile.SYMTYPE, "../../canary")),
    "an absolute link": entry("a", change=link(tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link out": entry("a", change=link(tarfile.LNKTYPE, "../../etc/passwd")),
    "a device": entry("a", change=lambda info: setattr(info, "type", tarfile.CHRTYPE)),
    "a pipe": entry("a", change=lambda info: setattr(info, "type", tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_gets_out_of_its_directory(server: Server, folder: Path, name: str) -> None:
    server.body = archive(HOSTILE[name])
    with pytest.raises(BuildFailure) as caught:
        fetch(at(server.url), folder, CancelToken())
    assert caught.value.reason is Reason.TARBALL_INVALID
    assert [path.name for path in folder.parent.iterdir()] == ["checkout"]


def test_an_absolute_name_is_one_beneath(server: Server, folder: Path) -> None:
    """As tar itself takes it."""
    server.body = archive(entry("/etc/a", b"x"))
    fetch(at(server.url), folder, CancelToken())
    assert contents(folder) == {"etc/a": b"x"}


def test_owners_and_special_bits_do_not_come_along(server: Server, folder: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.mode, info.uid = 0o6777, 4711

    server.body = archive(entry("a", b"x", change))
    fetch(at(server.url), folder, CancelToken())
    found = (folder / "a").stat()
    assert found.st_mode & 0o7022 == 0
    assert found.st_uid != 4711


BOMB = entry("zeros", b"\0" * 120 * 1024 * 1024)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(size=100), "over 100 bytes"),
        (Limits(content=1000), "files have over 1000 bytes"),
        (Limits(entries=1), "over 1 entries"),
        (Limits(), "200 times its size"),
    ],
)
def test_an_archive_has_limits(server: Server, folder: Path, limits: Limits, words: str) -> None:
    server.body = archive(entry("first"), BOMB)
    with pytest.raises(BuildFailure, match=words) as caught:
        fetch(at(server.url), folder, CancelToken(), limits)
    assert caught.value.reason is Reason.TARBALL_INVALID
    assert sum(map(len, contents(folder).values())) <= 120 * 1024 * 1024


def header(kind: bytes, size: int = 0) -> bytes:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def holes(count: int) -> bytes:
    """A file (old GNU format) whose map of holes goes on for so many blocks."""
    first = bytearray(header(tarfile.GNUTYPE_SPARSE))
    first[482] = 1  # isextended
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    return bytes(first) + (b"00000000001\0" * 42 + b"\1" + bytes(7)) * count


ZEROS = 128 * 1024 * 1024
HEAVY = {
    "bzip2": lambda: bz2.compress(header(tarfile.REGTYPE, ZEROS) + bytes(ZEROS)),
    "a long attribute": lambda: gzip.compress(header(tarfile.XHDTYPE, ZEROS) + bytes(ZEROS)),
    "a long name": lambda: gzip.compress(header(tarfile.GNUTYPE_LONGNAME, ZEROS) + bytes(ZEROS)),
    "many holes": lambda: gzip.compress(holes(50_000)),
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_grows_when_it_is_unpacked_is_not_taken_into_memory(
    server: Server, folder: Path, name: str
) -> None:
    """Other builds share it."""
    server.body = HEAVY[name]()
    tracemalloc.start()
    try:
        with pytest.raises(BuildFailure) as caught:
            fetch(at(server.url), folder, CancelToken())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.TARBALL_INVALID
    assert peak < 16 * 1024 * 1024


def test_entries_are_forgotten_one_by_one(server: Server, folder: Path) -> None:
    one = archive(entry("a", change=pax(comment="x" * 2000)), mode="w")[:3072]
    server.body = gzip.compress(one * 20_000 + bytes(1024))
    tracemalloc.start()
    try:
        fetch(at(server.url, strip_components=1), folder, CancelToken())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_headers_for_all_that_follows_are_few(server: Server, folder: Path) -> None:
    file = io.BytesIO()
    many = {f"field{number}": "x" for number in range(tarball.MAX_GLOBAL_FIELDS + 1)}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers=many) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    server.body = file.getvalue()
    with pytest.raises(BuildFailure, match="global header fields"):
        fetch(at(server.url), folder, CancelToken())


ODD = {
    "a long name": (entry("a" * 300, b"x"), "name"),
    "a deep name": (entry("/".join(["a" * 200] * 25), b"x"), "name"),
    "a late time": (entry("a", change=lambda info: setattr(info, "mtime", 2**40)), "time"),
    "no time": (entry("a", change=pax(mtime="nan")), "time"),
    "a zero in a name": (entry("a", change=pax(path="a\0b")), "null byte"),
    "a map of nothing": (entry("a", change=pax(**{"GNU.sparse.map": "1,x"})), "broken"),
    "a link to nothing": (entry("a", change=link(tarfile.LNKTYPE, "none")), "before it"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_entry_is_the_archives_fault(server: Server, folder: Path, name: str) -> None:
    """It would be no better another time, on another agent."""
    odd, words = ODD[name]
    server.body = archive(odd)
    with pytest.raises(BuildFailure, match=words) as caught:
        fetch(at(server.url), folder, CancelToken())
    assert (caught.value.reason, caught.value.transient) == (Reason.TARBALL_INVALID, False)


def test_many_headers_of_one_entry(server: Server, folder: Path) -> None:
    """Each is read by the one before."""
    server.body = header(tarfile.XHDTYPE) * 400 + archive(*GOOD, mode="w")
    with pytest.raises(BuildFailure) as caught:
        fetch(at(server.url), folder, CancelToken())
    assert caught.value.reason is Reason.TARBALL_INVALID


def test_a_full_disk_is_not_the_archives_fault(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.body = archive(*GOOD)
    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(OSError, match="No space"):
        fetch(at(server.url), folder, CancelToken())


def test_where_it_led_to_is_told_without_its_signature(server: Server, folder: Path) -> None:
    server.status = 302
    server.headers = {"Location": "http://127.0.0.1:1/moved?X-Amz-Signature=canary"}
    with pytest.raises(BuildFailure) as caught:
        fetch(at(server.url), folder, CancelToken())
    assert "/moved?***" in caught.value.message
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>sign in</html>" * 100,
        archive(*GOOD)[:100],
        archive(*GOOD, mode="w")[:700],
        lzma.compress(b"x" * 2000),
        archive(entry("a", b"x"), entry("a/b", b"x")),
    ],
    ids=["nothing", "a page", "cut gzip", "cut tar", "xz of no tar", "a file as a directory"],
)
def test_what_is_no_archive(server: Server, folder: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(BuildFailure) as caught:
        fetch(at(server.url), folder, CancelToken())
    assert (caught.value.reason, caught.value.transient) == (Reason.TARBALL_INVALID, False)


def test_another_archive_than_the_checksum_says(server: Server, folder: Path) -> None:
    server.body = archive(*GOOD)
    with pytest.raises(BuildFailure, match="not sha256:0000"):
        fetch(at(server.url, sha256="0" * 64), folder, CancelToken())


@pytest.mark.parametrize(
    ("status", "transient", "wait"),
    [(404, False, 0.0), (401, False, 0.0), (503, True, 0.0), (429, True, 7.0)],
)
def test_what_the_server_answers(
    server: Server, folder: Path, status: int, transient: bool, wait: float
) -> None:
    server.status = status
    server.headers = {"Retry-After": "7"} if wait else {}
    with pytest.raises(BuildFailure, match=f"HTTP {status}") as caught:
        fetch(at(server.url), folder, CancelToken())
    assert caught.value.reason is Reason.TARBALL_FAILED
    assert (caught.value.transient, caught.value.retry_after) == (transient, wait)


def test_a_server_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BuildFailure) as caught:
        fetch(at("http://127.0.0.1:1/x"), folder, CancelToken())
    assert (caught.value.reason, caught.value.transient) == (Reason.TARBALL_FAILED, True)


def test_a_stop_ends_the_download(server: Server, folder: Path) -> None:
    server.body = archive(*GOOD)
    token = CancelToken()
    token.cancel(Stop.KILL)
    with pytest.raises(Stopped):
        fetch(at(server.url), folder, token)
