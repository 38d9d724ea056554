"""A Git server over smart HTTP: ``python -m devcluster.gitd CONFIG.json``.

Serves the bare repositories below one directory, read-only, through ``git http-backend``.
Repositories with a file ``devcluster-private`` in them ask for a user and a password. A path
``/slow/SECONDS/NAME.git/...`` is the same repository with a pause before the pack is sent, so that
a test can act while a clone is under way. `info/lfs` beneath a repository has its Git LFS objects.
Paths are taken apart here and put together again from checked names: nothing of the request reaches
a file name unchecked.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from devcluster import lfs

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.git")
PRIVATE_MARK = "devcluster-private"
SERVICE = "git-upload-pack"
LONGEST_PAUSE = 600.0
#: A fetch's request lists what the client has; far more than a clone needs.
LARGEST_REQUEST = 32 << 20
CHUNK = 1 << 16


class Target(NamedTuple):
    """What a request path names."""

    repository: str
    endpoint: str
    pause: float


def parse_path(path: str) -> Target | None:
    """The target of a path, or None when it is not one that this server has."""
    parts = path.split("/")[1:]
    pause = 0.0
    if len(parts) > 2 and parts[0] == "slow" and re.fullmatch(r"\d{1,3}(\.\d{1,3})?", parts[1]):
        pause = min(float(parts[1]), LONGEST_PAUSE)
        parts = parts[2:]
    name, endpoint = (parts[0], "/".join(parts[1:])) if parts else ("", "")
    known = endpoint in ("info/refs", SERVICE, lfs.BATCH) or _object_id(endpoint)
    return Target(name, endpoint, pause) if NAME.fullmatch(name) and known else None


def _object_id(endpoint: str) -> str | None:
    """The id in `info/lfs/objects/ID`."""
    folder, _, oid = endpoint.rpartition("/")
    return oid if folder == lfs.OBJECTS and lfs.OID.fullmatch(oid) else None


class Handler(BaseHTTPRequestHandler):
    """One request: checked, then handed to ``git http-backend``."""

    protocol_version = "HTTP/1.1"
    server: GitServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        target = parse_path(url.path)
        if target is not None and (oid := _object_id(target.endpoint)):
            return self._send_object(target, oid)
        if target is None or target.endpoint != "info/refs":
            return self._refuse(404, "no such repository")
        # Without the service parameter this is the "dumb" protocol, which is not served.
        if parse_qs(url.query).get("service") != [SERVICE]:
            return self._refuse(403, "only git fetch over smart HTTP is served here")
        return self._serve(target, b"", f"service={SERVICE}")

    def do_POST(self) -> None:
        target = parse_path(urlsplit(self.path).path)
        try:
            body = b"".join(self._body())
        except ValueError as error:
            self.close_connection = True
            return self._refuse(400, str(error))
        if target is not None and target.endpoint == lfs.BATCH:
            return self._answer_batch(target, body)
        if target is None or target.endpoint != SERVICE:
            return self._refuse(404, "no such repository")
        return self._serve(target, body, "")

    def _open(self, target: Target) -> Path | None:
        """The repository's directory; None when the request has been refused."""
        repository = self.server.root / target.repository
        if not (repository / "HEAD").is_file():
            self._refuse(404, "no such repository")
            return None
        if (repository / PRIVATE_MARK).exists() and not self._is_authorized():
            self._refuse(401, "user and password, please")
            return None
        return repository

    def _answer_batch(self, target: Target, body: bytes) -> None:
        repository = self._open(target)
        if repository is None:
            return None
        place = urlsplit(self.path).path.removesuffix("/batch")
        base = f"http://{self.headers.get('Host', '')}{place}"
        answer = lfs.batch(repository, body, base, self.headers.get("Authorization"))
        if answer is None:
            return self._refuse(422, "only downloads with the basic transfer are served here")
        return self._send(lfs.MEDIA_TYPE, answer)

    def _send_object(self, target: Target, oid: str) -> None:
        repository = self._open(target)
        if repository is None:
            return None
        path = lfs.find(repository, oid)
        if path is None:
            return self._refuse(404, "no such object")
        return self._send("application/octet-stream", path.read_bytes())

    def _send(self, media_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, target: Target, body: bytes, query: str) -> None:
        if self._open(target) is None:
            return
        if target.pause and self._asks_for_pack(body):
            time.sleep(target.pause)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "HOME": "/nonexistent",
            "PATH_INFO": f"/{target.repository}/{target.endpoint}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        with subprocess.Popen(
            ["git", "http-backend"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as backend:
            assert backend.stdin is not None  # noqa: S101 - for the type checker
            assert backend.stdout is not None  # noqa: S101
            try:
                backend.stdin.write(body)
                backend.stdin.close()
                sent = self._relay(cast("BinaryIO", backend.stdout))
                self.note_sent(target, sent)
            except OSError:  # the client has gone (tests cancel clones); so does the backend
                backend.kill()
                self.close_connection = True

    def note_sent(self, target: Target, size: int) -> None:
        """In the log: what a clone or a fetch moved."""
        self.log_message("sent %d bytes of %s", size, target.repository)

    def _relay(self, output: BinaryIO) -> int:
        """A CGI answer (header lines, empty line, body) as an HTTP answer in chunks.

        Returns the bytes of its body.
        """
        status, headers = 200, []
        while line := output.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((name, value.strip()))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while piece := output.read1(CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += len(piece)
        self.wfile.write(b"0\r\n\r\n")
        return sent

    def _body(self) -> Iterator[bytes]:
        """The request's body, whichever way it was sent; decompressed."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            length = int(self.headers.get("Content-Length") or 0)
            if length > LARGEST_REQUEST:
                raise ValueError("the request is too large")
            body = self.rfile.read(length)
        yield gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _chunks(self) -> Iterator[bytes]:
        total = 0
        while size := int(self.rfile.readline(20).split(b";")[0], 16):
            total += size
            if total > LARGEST_REQUEST:
                raise ValueError("the request is too large")
            yield self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(CHUNK).strip():
            pass

    @staticmethod
    def _asks_for_pack(body: bytes) -> bool:
        """Protocol 2 also asks for the refs with a POST; that answer is not held back."""
        return b"command=fetch" in body or (b"want " in body and b"command=" not in body)

    def _is_authorized(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        try:
            pair = base64.b64decode(given, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(pair, self.server.user)

    def _refuse(self, status: int, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="devcluster"')
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class GitServer(ThreadingHTTPServer):
    """The server with its directory and its one user."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], root: Path, username: str, password: str) -> None:
        self.root = root
        self.user = f"{username}:{password}".encode()
        super().__init__(address, Handler)


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    address = (settings["host"], settings["port"])
    root = Path(settings["root"])
    with GitServer(address, root, settings["username"], settings["password"]) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
