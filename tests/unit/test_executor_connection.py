"""Agents on IPv6, behind TLS, slower than a call may take, and their streams of events."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import driver as driver_module
from executor.connection import Agent, Refused, Subscription
from executor.environment import AgentEnvironment, BadEnvironmentError
from tests.unit.executor_agent import FakeAgent


def agent_of(running: FakeAgent, **more: str) -> Agent:
    return Agent(AgentEnvironment.read({**running.environment(), **more}), "token")


def message() -> dict[str, object]:
    return {"type": "MESSAGE", "message": {"data": ""}}


def first_event(agent: Agent) -> str:
    events = Subscription(agent, 5.0).events({"type": "SUBSCRIBE", "subscribe": {}})
    kind: str = next(events)["type"]
    events.close()
    return kind


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that is its own authority, in one file."""
    path = tmp_path_factory.mktemp("tls") / "agent.pem"
    key = path.with_name("key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-subj", "/CN=agent", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*argv, "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def tls_agent(certificate: Path) -> Iterator[FakeAgent]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeAgent(tls=context) as running:
        yield running
        running.close()


def test_an_agent_behind_tls(tls_agent: FakeAgent, certificate: Path) -> None:
    agent = agent_of(tls_agent, LIBPROCESS_SSL_ENABLED="1", LIBPROCESS_SSL_CA_FILE=str(certificate))
    assert first_event(agent) == "SUBSCRIBED"
    agent.call(message(), 5.0)
    assert len(tls_agent.messages) == 1


def test_an_agent_with_a_certificate_of_somebody_else_is_not_told_the_token(
    tls_agent: FakeAgent,
) -> None:
    agent = agent_of(tls_agent, LIBPROCESS_SSL_ENABLED="true")
    with pytest.raises(ssl.SSLCertVerificationError):
        agent.call(message(), 5.0)
    assert tls_agent.authorizations == set()


def test_a_certificate_for_another_address(tls_agent: FakeAgent, certificate: Path) -> None:
    """Refused, unless the operator says that the cluster's own authority is enough."""
    tls = {"LIBPROCESS_SSL_ENABLED": "1", "LIBPROCESS_SSL_CA_FILE": str(certificate)}
    tls["MESOS_AGENT_ENDPOINT"] = f"localhost:{tls_agent.server_address[1]}"
    with pytest.raises(ssl.SSLCertVerificationError):
        agent_of(tls_agent, **tls).call(message(), 5.0)
    agent_of(tls_agent, **tls, LIBPROCESS_SSL_VERIFY_IPADD="0").call(message(), 5.0)
    assert len(tls_agent.messages) == 1


def test_a_missing_ca_file_is_told(tls_agent: FakeAgent, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(BadEnvironmentError, match="SSL_CA_FILE"):
        agent_of(tls_agent, LIBPROCESS_SSL_ENABLED="1", LIBPROCESS_SSL_CA_FILE=missing)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
@pytest.mark.parametrize("endpoint", ["[::1]:{}", "::1:{}"])
def test_an_agent_on_ipv6(endpoint: str) -> None:
    with FakeAgent("::1") as running:
        try:
            where = endpoint.format(running.server_address[1])
            agent = agent_of(running, MESOS_AGENT_ENDPOINT=where)
            assert first_event(agent) == "SUBSCRIBED"
            agent.call(message(), 5.0)
        finally:
            running.close()


def test_a_call_that_is_refused_says_so() -> None:
    with FakeAgent() as running:
        running.message_status = lambda: 403
        try:
            with pytest.raises(Refused, match="403"):
                agent_of(running).call(message(), 5.0)
        finally:
            running.close()


def test_an_agent_that_answers_a_byte_at_a_time_is_given_up() -> None:
    """Every byte would begin the socket's own timeout anew."""
    enough = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for byte in b"HTTP/1.1 202 Accepted\r\nX: " + b"x" * 10000:
                if enough.wait(0.05):
                    return
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,))
        server.start()
        env = {"MESOS_AGENT_ENDPOINT": f"127.0.0.1:{listener.getsockname()[1]}"}
        env |= {"MESOS_FRAMEWORK_ID": "f", "MESOS_EXECUTOR_ID": "e"}
        began = time.monotonic()
        with pytest.raises((OSError, http.client.HTTPException)):
            Agent(AgentEnvironment.read(env)).call(message(), 0.5)
        # Far from the 500 s that it would have taken.
        assert time.monotonic() - began < driver_module.CALL_TIMEOUT
        enough.set()
        server.join()
