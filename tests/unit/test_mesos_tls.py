"""TLS with masters and agents: certificates and names are checked, against an authority of ours."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.domain.model import Attempt, Placement
from builder_framework.errors import ConfigError, NotSubscribedError
from builder_framework.mesos.agents import AgentWorkDirs
from builder_framework.mesos.sandbox import AgentSandboxes
from builder_framework.mesos.tls import client_context
from tests.unit.drivers import BOTH, Callbacks, MakeDriver, ours, running
from tests.unit.scripted_master import ScriptedMaster
from tests.unit.waiting import until


def _openssl(where: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=where, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority (ca.pem) and a certificate for 127.0.0.1 (both.pem)."""
    where = tmp_path_factory.mktemp("certificates")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key"]
    _openssl(where, "req", *new_key, *authority, "-out", "ca.pem")
    (where / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:master.example\n")
    request = ["-subj", "/CN=master", "-keyout", "key.pem", "-out", "request.pem"]
    _openssl(where, "req", *new_key, *request)
    by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    _openssl(
        where, "x509", "-req", "-in", "request.pem", *by, "-extfile", "names", "-out", "one.pem"
    )
    (where / "both.pem").write_text(
        (where / "key.pem").read_text() + (where / "one.pem").read_text()
    )
    return where


def _serving(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "both.pem")
    return context


@pytest.fixture
def master(certificates: Path) -> Iterator[ScriptedMaster]:
    made = ScriptedMaster(tls=_serving(certificates))
    yield made
    made.close()


@BOTH
def test_p33_a_master_may_speak_tls(
    make: MakeDriver, master: ScriptedMaster, certificates: Path
) -> None:
    """Stream and calls, with basic auth; stock shows the secret to the network."""
    tls = client_context(certificates / "ca.pem")
    credentials = {"principal": "p", "secret": "s3cret"}
    with running(make(Callbacks(), master, tls=tls, **credentials)) as driver:
        until(lambda: driver.connected, 2)
        driver.revive()
    assert [call["type"] for call in master.calls] == ["SUBSCRIBE", "REVIVE"]
    assert all(headers["Authorization"] == "Basic cDpzM2NyZXQ=" for headers in master.headers)


def test_a_stream_over_tls_ends_at_once_when_told(
    master: ScriptedMaster, certificates: Path
) -> None:
    driver = ours(Callbacks(), master, tls=client_context(certificates / "ca.pem"))
    with running(driver):
        until(lambda: driver.connected)
        driver.change_master(master.address)
        master.wait_for("SUBSCRIBE", 2)
        until(lambda: driver.connected)
    assert not driver._io_thread.is_alive()


@pytest.mark.parametrize("trusted", ["system", "other name"])
def test_a_certificate_that_does_not_fit_gets_no_secret(
    master: ScriptedMaster, certificates: Path, trusted: str, caplog: pytest.LogCaptureFixture
) -> None:
    ca = None if trusted == "system" else certificates / "ca.pem"
    address = master.address if trusted == "system" else f"localhost:{master.port}"
    with running(ours(Callbacks(), address, principal="p", secret="s", tls=client_context(ca))):
        until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
    assert master.calls == []


def test_calls_over_tls_expect_the_name_of_the_master(
    master: ScriptedMaster, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go to an address, and the certificate is for the name it was found under."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **others: resolve(
            "127.0.0.1" if host == "master.example" else host, *more, **others
        ),
    )
    tls = client_context(certificates / "ca.pem")
    with running(ours(Callbacks(), f"master.example:{master.port}", tls=tls)) as driver:
        until(lambda: driver.connected)
        driver.revive()
    assert len(master.of_type("REVIVE")) == 1
    with pytest.raises(NotSubscribedError):
        driver.revive()


def test_agents_speak_tls_where_their_url_says_so(
    master: ScriptedMaster, certificates: Path
) -> None:
    master.get = {"flags": {"work_dir": "/var/lib/mesos"}, "data": "ä", "offset": 0}
    url = f"https://{master.address}"
    trusting = client_context(certificates / "ca.pem")
    assert AgentWorkDirs(trusting).checkpoints("a", url) == "/var/lib/mesos/meta"
    assert AgentWorkDirs(client_context(None)).checkpoints("a", url) is None
    place = Placement("a", "node7", url, slot=0, executor_id="b.1", framework_id="f1")
    attempt = Attempt(1, "b.1", place, placed_at=0.0)
    assert AgentSandboxes(trusting).read(attempt, "b.1.log", 0) == "ä".encode()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_a_fault_of_the_settings(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        client_context(file)
    (problem,) = caught.value.problems
    assert problem.field == "mesos_ca_file"
    assert str(file) in problem.problem
