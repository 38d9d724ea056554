"""An archive becomes a directory, and a hostile one becomes a reason."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import TarballSource
from builder_framework.redact import Secret
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.tarball import Archive, Limits, fetch


def at(url: str, *login: Any, **options: Any) -> Archive:
    return Archive.at(TarballSource(url, *login, **options))


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
