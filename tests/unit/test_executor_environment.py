"""What the agent says in the environment is taken as it is meant, or refused in a sentence."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from executor.environment import AgentEnvironment, BadEnvironmentError, duration

ENV = {
    "MESOS_AGENT_ENDPOINT": "10.0.0.1:5051",
    "MESOS_SLAVE_PID": "slave(1)@10.0.0.1:5051",
    "MESOS_FRAMEWORK_ID": "f",
    "MESOS_EXECUTOR_ID": "e",
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15mins", 900.0), ("5secs", 5.0), ("0ns", 0.0), ("1.5hrs", 5400.0), ("250ms", 0.25),
     ("1weeks", 604800.0), ("", 42.0), (None, 42.0), ("soon", 42.0), ("xsecs", 42.0), ("7", 42.0),
     ("-5secs", 42.0), ("nansecs", 42.0), ("infdays", 42.0)],
)  # fmt: skip
def test_durations(text: str | None, seconds: float) -> None:
    """X15: pymesos asserts on what it does not know."""
    assert duration(text, 42.0) == pytest.approx(seconds)


def test_what_is_not_said_is_mesos_own_default() -> None:
    env = AgentEnvironment.read(ENV)
    assert (env.recovery_timeout, env.max_backoff, env.grace) == (900.0, 0.5, 5.0)
    assert not env.checkpoint
    assert env.tls is None
    assert env.path == "/slave(1)/api/v1/executor"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("agent.example:5051", "agent.example", 5051),
        ("[::1]:5051", "::1", 5051),
        # As libprocess writes it.
        ("fd00::1:2:5051", "fd00::1:2", 5051),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    env = AgentEnvironment.read({**ENV, "MESOS_AGENT_ENDPOINT": text})
    assert (env.host, env.port) == (host, port)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESOS_AGENT_ENDPOINT", ""),
        ("MESOS_AGENT_ENDPOINT", "host"),
        ("MESOS_AGENT_ENDPOINT", ":5051"),
        ("MESOS_AGENT_ENDPOINT", "host:0"),
        ("MESOS_AGENT_ENDPOINT", "host:65536"),
        ("MESOS_AGENT_ENDPOINT", "host:²"),
        ("MESOS_FRAMEWORK_ID", ""),
        ("MESOS_EXECUTOR_ID", ""),
        ("LIBPROCESS_SSL_ENABLED", "maybe"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadEnvironmentError, match=name):
        AgentEnvironment.read({**ENV, name: value})


@pytest.mark.parametrize(
    ("text", "seconds"),
    # A quarter of the agent's own limit, so that several attempts fit in.
    [("2secs", 0.5), ("1secs", 0.25), ("1mins", 0.5), ("0ns", 0.05), ("1ms", 0.05)],
)
def test_the_backoff_is_neither_too_long_for_the_agent_nor_a_storm(
    text: str, seconds: float
) -> None:
    env = AgentEnvironment.read({**ENV, "MESOS_SUBSCRIPTION_BACKOFF_MAX": text})
    assert env.max_backoff == seconds


def test_an_odd_duration_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        env = AgentEnvironment.read({**ENV, "MESOS_RECOVERY_TIMEOUT": "soon"})
    assert env.recovery_timeout == 900.0
    assert "MESOS_RECOVERY_TIMEOUT is 'soon'" in caplog.text


def test_a_certificate_without_the_address_needs_a_ca_of_ones_own() -> None:
    """Otherwise any certificate of a public authority would do."""
    lax = {"LIBPROCESS_SSL_ENABLED": "true", "LIBPROCESS_SSL_VERIFY_IPADD": "false"}
    with pytest.raises(BadEnvironmentError, match="LIBPROCESS_SSL_CA_FILE"):
        AgentEnvironment.read({**ENV, **lax})
    env = AgentEnvironment.read({**ENV, **lax, "LIBPROCESS_SSL_CA_FILE": "/ca.pem"})
    assert env.tls is not None
    assert not env.tls.check_address


def test_an_executor_that_no_agent_started_says_so_in_one_line() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESOS_")}
    env = {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "MESOS_AGENT_ENDPOINT": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "executor"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert "MESOS_AGENT_ENDPOINT is 'nonsense': it should be host:port" in line
