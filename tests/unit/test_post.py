"""One request to a server of any manners: it ends in time, and says what came of it.

On threads, and on gevent, as in the framework's process.
"""

from __future__ import annotations

import json
import shlex
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from builder_framework.domain import endpoints
from builder_framework.service.post import Answer, Limits, Poster
from tests.unit import receivers
from tests.unit.receivers import Receiver, answers, receiving

BODY = b'{"type": "build.finished"}'
QUICK = Limits(connect=1.0, total=0.5, answer=64 * 1024)
PATIENT = Limits(connect=10.0, total=20.0, answer=64 * 1024)
Post = Callable[..., Answer]


def on_threads(url: str, limits: Limits, authority: Path | None, body: bytes) -> Answer:
    tls = ssl.create_default_context(cafile=authority)
    return Poster(limits, tls).post(endpoints.parse(url), body, {"webhook-id": "msg_1"})


def on_gevent(url: str, limits: Limits, authority: Path | None, body: bytes) -> Answer:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.gevent_post",
            url,
            json.dumps(asdict(limits)),
            str(authority or ""),
        ],
        input=body,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return Answer(**json.loads(done.stdout))


@pytest.fixture(params=[on_threads, on_gevent])
def post(request: pytest.FixtureRequest) -> Post:
    def call(
        url: str, limits: Limits = PATIENT, authority: Path | None = None, body: bytes = BODY
    ) -> Answer:
        answer: Answer = request.param(url, limits, authority, body)
        return answer

    return call


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key."""
    directory = tmp_path_factory.mktemp("tls")
    both = directory / "both.pem"
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
            f"-addext subjectAltName=IP:127.0.0.1 -keyout {both} -out {directory / 'only.pem'}"
        ),
        check=True,
        capture_output=True,
    )
    both.write_bytes(both.read_bytes() + (directory / "only.pem").read_bytes())
    return both


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_what_is_sent_arrives_as_it_is(post: Post) -> None:
    with receiving(answers("204 No Content")) as receiver:
        assert post(receiver.url) == Answer(204, None)
    (request,) = receiver.requests
    assert request.line == "POST /t0ken?x=1 HTTP/1.1"
    assert request.body == BODY
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == "msg_1"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "behave",
    [receivers.holds, receivers.never_reads, receivers.drips, receivers.continues],
)
def test_a_try_ends_however_slowly_the_other_side_goes_on(
    post: Post, behave: Callable[[Receiver, socket.socket], None]
) -> None:
    with receiving(behave) as receiver:
        assert post(receiver.url, QUICK, body=b"x" * 20_000) == Answer(
            None, "no answer within 0.5 s"
        )


def test_a_handshake_that_never_ends_ends_in_time(post: Post) -> None:
    def silent(receiver: Receiver, _connection: socket.socket) -> None:
        receiver.over.wait(60)

    with receiving(silent) as receiver:
        url = receiver.url.replace("http:", "https:")
        assert post(url, QUICK) == Answer(None, "no answer within 0.5 s")


def test_of_a_gigabyte_only_the_beginning_is_read(post: Post) -> None:
    sent = 0

    def floods(receiver: Receiver, connection: socket.socket) -> None:
        nonlocal sent
        receiver.take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while sent < 1 << 30:
            sent += connection.send(b"x" * 65536)

    with receiving(floods) as receiver:
        assert post(receiver.url) == Answer(200, None)
    # What the sockets' buffers hold on top was sent, but not read.
    assert sent < 32 << 20


def test_a_message_was_taken_even_when_the_answers_text_never_ends(post: Post) -> None:
    def never_ends(receiver: Receiver, connection: socket.socket) -> None:
        receiver.take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        receiver.over.wait(60)

    with receiving(never_ends) as receiver:
        assert post(receiver.url, QUICK) == Answer(200, None)


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (receivers.resets, "Connection reset by peer"),
        (receivers.hangs_up, "it closed the connection without an answer"),
        (receivers.babbles, "no HTTP answer: BadStatusLine"),
    ],
)
def test_what_is_no_answer_is_said_in_words(
    post: Post, behave: Callable[[Receiver, socket.socket], None], error: str
) -> None:
    with receiving(behave) as receiver:
        assert post(receiver.url) == Answer(None, error)


def test_nobody_there() -> None:
    with receiving(receivers.holds) as receiver:
        pass
    assert on_threads(receiver.url, PATIENT, None, BODY) == Answer(None, "Connection refused")


def test_no_such_name() -> None:
    answer = on_threads("http://nowhere.invalid/", PATIENT, None, BODY)
    assert answer.status is None
    assert "its name cannot be resolved" in str(answer.error)


def test_refusals_are_told_with_what_the_receiver_asks_for(post: Post) -> None:
    with receiving(answers("503 Busy", headers="Retry-After: 120\r\n")) as receiver:
        assert post(receiver.url) == Answer(503, "answered 503", "120")


def test_redirects_are_not_followed(post: Post) -> None:
    with receiving(answers("200 OK")) as target:
        headers = f"Location: {target.url}\r\n"
        with receiving(answers("307 Temporary Redirect", headers=headers)) as receiver:
            assert post(receiver.url) == Answer(307, "answered 307: redirects are not followed")
    assert target.connections == 0


def test_https_with_a_certificate_that_is_trusted(post: Post, certificate: Path) -> None:
    with receiving(answers("200 OK"), server_side(certificate)) as receiver:
        assert post(receiver.url, authority=certificate) == Answer(200, None)
    assert [request.body for request in receiver.requests] == [BODY]


def test_nothing_is_sent_to_a_server_that_cannot_prove_its_name(
    post: Post, certificate: Path
) -> None:
    with receiving(answers("200 OK"), server_side(certificate)) as receiver:
        answer = post(receiver.url)
        other_name = post(receiver.url.replace("127.0.0.1", "localhost"), authority=certificate)
    assert answer == Answer(None, "its certificate cannot be verified: self-signed certificate")
    assert "certificate cannot be verified" in str(other_name.error)
    assert receiver.requests == []


def test_https_to_a_server_that_does_not_speak_it(post: Post) -> None:
    with receiving(receivers.babbles) as receiver:
        answer = post(receiver.url.replace("http:", "https:"), QUICK)
    assert answer.status is None
    assert answer.error
