"""The executor's own registry client, against a small registry that can be as rude as real ones."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import image_reference
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.manifests import Manifest, Repository
from executor.registry_auth import Authorization
from executor.registry_host import is_insecure
from executor.registry_http import LeaseOver

AUTH = RegistryAuth("pusher", Secret("s3cret"))
BASIC = "Basic " + base64.b64encode(b"pusher:s3cret").decode()
CONTENT = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MANIFEST = Manifest(DIGEST, "application/vnd.oci.image.manifest.v1+json", CONTENT)

Reply = tuple[int, dict[str, str], bytes]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, content = self.server.reply(self, body)
        if len(body) < int(self.headers.get("Content-Length") or 0):
            status = 0  # half a request is none
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Basic or Bearer authentication; `rude` may answer a request in its own way."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tags = {"1": CONTENT}
        self.types = {"1": MANIFEST.media_type}
        self.challenge = 'Basic realm="x"'
        self.wanted = BASIC
        self.token_answer = json.dumps({"token": "t0ken"}).encode()
        self.seen: list[tuple[str, str, str | None]] = []
        self.scopes: list[str] = []
        self.rude: Callable[[str, str], Reply | None] = lambda _method, _path: None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def reply(self, request: BaseHTTPRequestHandler, body: bytes) -> Reply:
        who = request.headers.get("Authorization")
        url = urlsplit(request.path)
        self.seen.append((request.command, url.path, who))
        if (rude := self.rude(request.command, url.path)) is not None:
            return rude
        if url.path == "/token":
            self.scopes += parse_qs(url.query)["scope"]
            return (200, {}, self.token_answer) if who == BASIC else (401, {}, b"")
        if who != self.wanted:
            return 401, {"WWW-Authenticate": self.challenge}, b""
        tag = url.path.rpartition("/")[2]
        if request.command == "POST":
            return 202, {"Location": "/upload"}, b""
        if request.command == "PUT" and body:
            self.tags[tag] = body
            self.types[tag] = request.headers["Content-Type"]
            return 201, {}, b""
        if request.command == "DELETE":
            return (202, {}, b"") if self.tags.pop(tag, None) else (404, {}, b"")
        content = CONTENT if tag == DIGEST else self.tags.get(tag)
        if content is None:
            return 404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        headers = {"Docker-Content-Digest": digest, "Content-Type": MANIFEST.media_type}
        return 200, headers, content

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        running.shutdown()


def repository(server: Server, auth: RegistryAuth | None = AUTH, **options: Any) -> Repository:
    image = image_reference(f"{server.address}/team/app:1")
    token = options.pop("token", CancelToken())
    return Repository(image, auth, (), token, timeout=options.pop("timeout", 5.0))


def for_ever() -> float:
    return float("inf")


def test_manifests_and_tags(server: Server) -> None:
    client = repository(server)
    assert client.manifest(DIGEST) == MANIFEST
    assert client.digest_of("1") == DIGEST
    assert client.manifest("2") is None
    assert client.digest_of("2") is None
    client.put("2", MANIFEST, for_ever)
    assert server.tags["2"] == CONTENT
    assert server.types["2"] == MANIFEST.media_type
    assert client.digest_of("2") == DIGEST
    client.check_push()


def test_the_password_is_sent_when_it_is_asked_for(server: Server) -> None:
    repository(server).digest_of("1")
    sent = [who for method, path, who in server.seen if "manifests" in path]
    assert sent == [None, BASIC]


def test_a_token_for_this_repository(server: Server) -> None:
    server.challenge = f'Bearer realm="http://{server.address}/token",service="reg",scope="x,y"'
    server.wanted = "Bearer t0ken"
    client = repository(server)
    assert client.digest_of("1") == DIGEST
    client.put("2", MANIFEST, for_ever)
    assert server.scopes == ["repository:team/app:pull,push"]
    server.wanted = "Bearer n3w"  # the old one has expired
    server.token_answer = b'{"access_token": "n3w"}'
    assert client.digest_of("2") == DIGEST
    assert len(server.scopes) == 2


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"token": 1}', b"\xff"])
def test_a_token_server_without_a_token(server: Server, answer: bytes) -> None:
    server.challenge = f'Bearer realm="http://{server.address}/token"'
    server.wanted = "Bearer t0ken"
    server.token_answer = answer
    with pytest.raises(BuildFailure, match="no token") as caught:
        repository(server).digest_of("1")
    assert caught.value.transient


@pytest.mark.parametrize("auth", [None, RegistryAuth("pusher", Secret("wrong-one"))])
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_who_may_not_is_told_at_once(
    server: Server, auth: RegistryAuth | None, scheme: str
) -> None:
    server.challenge = f'{scheme} realm="http://{server.address}/token"'
    calls: list[Callable[[Repository], object]] = [
        lambda client: client.check_push(),
        lambda client: client.manifest("1"),
    ]
    for call in calls:
        with pytest.raises(BuildFailure) as caught:
            call(repository(server, auth))
        assert (caught.value.reason, caught.value.transient) == (Reason.PUSH_DENIED, False)
        assert "wrong-one" not in caught.value.message


@pytest.mark.parametrize("header", ["", "Negotiate", 'Bearer realm="http://evil.example/token"'])
def test_a_password_is_not_given_to_anybody(header: str) -> None:
    """A registry with TLS cannot have it sent without."""
    with pytest.raises(BuildFailure) as caught:
        Authorization("app", AUTH, secure=True).challenged(header, "pull")
    assert caught.value.reason is Reason.PUSH_DENIED


def test_credentials_of_whoever_runs_it_are_not_used(
    server: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    repository(server).digest_of("1")
    assert {who for _, _, who in server.seen} == {None, BASIC}


@pytest.mark.parametrize(
    ("status", "transient"),
    [(500, True), (502, True), (503, True), (429, True), (408, True), (400, False), (413, False)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_answers_that_are_none(server: Server, method: str, status: int, transient: bool) -> None:
    body = b'{"errors": [{"code": "C", "message": "why"}]}'
    refusal = (status, {"Retry-After": "7"}, body)
    server.rude = lambda m, p: refusal if m == method and "manifests" in p else None
    client = repository(server)
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: client.manifest("1"),
        "HEAD": lambda: client.digest_of("1"),
        "PUT": lambda: client.put("1", MANIFEST, for_ever),
    }
    with pytest.raises(BuildFailure) as caught:
        calls[method]()
    assert (caught.value.reason, caught.value.transient) == (Reason.PUSH_FAILED, transient)
    assert caught.value.retry_after == 7
    assert str(status) in caught.value.message


def test_a_date_to_come_back_at(server: Server) -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    server.rude = lambda _m, p: (503, {"Retry-After": later}, b"") if "manifests" in p else None
    with pytest.raises(BuildFailure) as caught:
        repository(server).manifest("1")
    assert 90 < caught.value.retry_after <= 100


def test_a_flipped_byte_is_no_manifest(server: Server) -> None:
    wrong = b"X" + CONTENT[1:]
    headers = {"Docker-Content-Digest": DIGEST}
    server.rude = lambda _, p: (200, headers, wrong) if p.endswith(DIGEST) else None
    with pytest.raises(BuildFailure, match="the registry sent sha256:") as caught:
        repository(server).manifest(DIGEST)
    assert caught.value.transient


@pytest.mark.parametrize("digest", [None, DIGEST[:-4]])
def test_a_registry_that_does_not_tell_digests(server: Server, digest: str | None) -> None:
    headers = {"Content-Length": str(len(CONTENT))}
    headers |= {"Docker-Content-Digest": digest} if digest else {}
    server.rude = lambda m, _: (200, headers, b"") if m == "HEAD" else None
    assert repository(server).digest_of("1") == DIGEST


def test_a_redirected_put_puts_nothing(server: Server) -> None:
    server.rude = lambda m, _: (307, {"Location": "/elsewhere"}, b"") if m == "PUT" else None
    with pytest.raises(BuildFailure, match="307") as caught:
        repository(server).put("2", MANIFEST, for_ever)
    assert not caught.value.transient
    assert "/elsewhere" not in [path for _, path, _ in server.seen]


def test_a_put_that_comes_too_late_does_not_leave(server: Server) -> None:
    """The connection stands and the headers are sent; without its body it is no request."""
    client = repository(server)
    client.digest_of("1")
    answers = iter([5.0, 0.0])
    with pytest.raises(LeaseOver):
        client.put("2", MANIFEST, lambda: next(answers))
    client.put("3", MANIFEST, for_ever)
    assert set(server.tags) == {"1", "3"}


def test_a_silent_registry_costs_a_bounded_time(server: Server) -> None:
    release = threading.Event()

    def silent(_method: str, path: str) -> Reply | None:
        if "manifests" in path:
            release.wait(20)
        return None

    server.rude = silent
    client = repository(server, timeout=2.0)
    with pytest.raises(BuildFailure, match="did not answer") as caught:
        client.manifest("1")
    assert caught.value.transient
    server.rude = lambda _m, _p: None
    assert client.manifest("1") == MANIFEST
    release.set()


def test_a_stop_does_not_wait_for_a_silent_registry(server: Server) -> None:
    release = threading.Event()
    token = CancelToken()

    def silent(_method: str, _path: str) -> Reply | None:
        token.cancel(Stop.KILL)
        release.wait(20)
        return None

    server.rude = silent
    with pytest.raises(Stopped):
        repository(server, token=token, timeout=20.0).manifest("1")
    release.set()


def test_a_hung_up_connection_is_no_answer(server: Server) -> None:
    server.rude = lambda _m, p: (0, {}, b"") if "manifests" in p else None
    with pytest.raises(BuildFailure, match="did not answer") as caught:
        repository(server).manifest("1")
    assert caught.value.transient


def test_half_an_answer_is_none(server: Server) -> None:
    def half(_method: str, path: str) -> Reply | None:
        long = {"Content-Length": "999", "Connection": "close"}
        return (200, long, CONTENT) if path.endswith("/1") else None

    server.rude = half
    with pytest.raises(BuildFailure) as caught:
        repository(server, timeout=2.0).manifest("1")
    assert caught.value.transient


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    client = Repository(image_reference(f"{address}/app:1"), AUTH, (), CancelToken())
    with pytest.raises(BuildFailure) as caught:
        client.manifest("1")
    assert caught.value.transient
    assert caught.value.patience == float("inf")


def test_a_misspelt_registry_is_given_up_soon() -> None:
    image = image_reference("registry.invalid/app:1")
    with pytest.raises(BuildFailure) as caught:
        Repository(image, AUTH, (), CancelToken()).manifest("1")
    assert caught.value.transient
    assert caught.value.patience == 60


@pytest.mark.parametrize("status", [202, 400, 404, 405, 401, 500])
def test_deleting_a_tag_never_fails(server: Server, status: int) -> None:
    if status != 202:
        server.rude = lambda m, _: (status, {}, b"") if m == "DELETE" else None
    assert repository(server).delete_tag("1") is (status == 202)
    deleted = {path for method, path, _ in server.seen if method == "DELETE"}
    assert deleted == {"/v2/team/app/manifests/1"}


def test_whose_image_a_manifest_is() -> None:
    content = json.dumps({"config": {"digest": "sha256:c"}}).encode()
    assert Manifest("sha256:m", "x", content).describes("sha256:c")
    assert Manifest("sha256:m", "x", content).describes("sha256:m")
    assert not Manifest("sha256:m", "x", content).describes("sha256:d")
    assert not Manifest("sha256:m", "x", b"\xff").describes("sha256:c")
    assert not Manifest("sha256:m", "x", b"[]").describes("sha256:c")


@pytest.mark.parametrize(
    ("registry", "insecure", "expected"),
    [
        ("registry.example", (), False),
        ("registry.example:5000", ("registry.example:5000",), True),
        ("registry.example:5001", ("registry.example:5000",), False),
        ("10.1.2.3:5000", ("10.0.0.0/8",), True),
        ("11.1.2.3:5000", ("10.0.0.0/8", "bad/8"), False),
        ("127.0.0.1:5000", (), True),
        ("localhost:5000", (), True),
        ("[::1]:5000", (), True),
    ],
)
def test_who_is_spoken_to_without_tls(
    registry: str, insecure: tuple[str, ...], expected: bool
) -> None:
    assert is_insecure(registry, insecure) is expected


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that nobody has signed."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=registry", "-addext"),
            *("subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", f"{file}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def with_tls(server: Server, certificate: Path) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_an_insecure_registry_may_have_any_certificate(with_tls: Server) -> None:
    assert repository(with_tls).digest_of("1") == DIGEST


@pytest.mark.parametrize("known", [False, True])
def test_any_other_registry_needs_a_known_one(
    with_tls: Server,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    """Known is what Docker's directory for this registry says."""
    monkeypatch.setattr("executor.manifests.is_insecure", lambda *_: False)
    monkeypatch.setattr("executor.registry_http.CERTIFICATES", tmp_path)
    if known:
        (tmp_path / with_tls.address).mkdir()
        shutil.copy(f"{certificate}.crt", tmp_path / with_tls.address / "ca.crt")
        assert repository(with_tls).digest_of("1") == DIGEST
        return
    with pytest.raises(BuildFailure, match="certificate") as caught:
        repository(with_tls).digest_of("1")
    assert (caught.value.reason, caught.value.transient) == (Reason.PUSH_FAILED, False)
    assert not with_tls.seen
