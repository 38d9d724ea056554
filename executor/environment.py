"""What a Mesos agent tells its executor in the environment: read once, checked, typed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

MAX_BACKOFF = 0.5
"""Seconds between attempts to subscribe. After a restart the agent waits 2 s by default
(--executor_reregistration_timeout) and then destroys the container."""

MIN_BACKOFF = 0.05
"""Seconds; an agent that is told to wait less must not be stormed."""

DEFAULT_BACKOFF = 2.0
"""Seconds; Mesos' own default of MESOS_SUBSCRIPTION_BACKOFF_MAX (slave/constants.hpp)."""

DEFAULT_RECOVERY = 900.0
"""Seconds; Mesos' own default of MESOS_RECOVERY_TIMEOUT (slave/constants.hpp)."""

DEFAULT_GRACE = 5.0
"""Seconds; Mesos' own default of --executor_shutdown_grace_period (slave/constants.hpp)."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "secs": 1.0, "mins": 60.0, "hrs": 3600.0}
_UNITS |= {"days": 86400.0, "weeks": 604800.0}


class BadEnvironmentError(ValueError):
    """A variable is missing or makes no sense. The message names it, and what it should be."""


def duration(text: str | None, default: float) -> float:
    """Seconds of a Mesos duration such as `15mins`; `default` where it is none."""
    for unit, factor in _UNITS.items():
        if text and text.endswith(unit):
            with contextlib.suppress(ValueError):
                seconds = float(text[: -len(unit)]) * factor
                if 0.0 <= seconds < float("inf"):
                    return seconds
    return default


@dataclass(frozen=True)
class TlsFiles:
    """How the agent is verified, in libprocess' own words (https://mesos.apache.org, "SSL").

    `ca_file`, `ca_directory`: whom to trust; without both, whom the image trusts. `certificate`,
    `key`: who we are, for agents that ask. `check_address`: the certificate must name the address.
    """

    ca_file: str | None = None
    ca_directory: str | None = None
    certificate: str | None = None
    key: str | None = None
    check_address: bool = True


@dataclass(frozen=True)
class AgentEnvironment:
    """The agent's address and wishes. Times in seconds.

    `path`: of the agent's own process: several agents may live behind one address.
    """

    host: str
    port: int
    path: str
    framework_id: str
    executor_id: str
    checkpoint: bool
    recovery_timeout: float
    max_backoff: float
    grace: float
    tls: TlsFiles | None

    @classmethod
    def read(cls, env: Mapping[str, str]) -> AgentEnvironment:
        """Raises BadEnvironmentError. A bad duration is logged, and Mesos' default taken."""
        host, port = _endpoint(_needed(env, "MESOS_AGENT_ENDPOINT"))
        process = env.get("MESOS_SLAVE_PID", "").partition("@")[0]
        backoff = _duration(env, "MESOS_SUBSCRIPTION_BACKOFF_MAX", DEFAULT_BACKOFF) / 4
        return cls(
            host=host,
            port=port,
            path=f"/{process}/api/v1/executor" if process else "/api/v1/executor",
            framework_id=_needed(env, "MESOS_FRAMEWORK_ID"),
            executor_id=_needed(env, "MESOS_EXECUTOR_ID"),
            # Always set, to "0" where there is no checkpointing.
            checkpoint=env.get("MESOS_CHECKPOINT") == "1",
            recovery_timeout=_duration(env, "MESOS_RECOVERY_TIMEOUT", DEFAULT_RECOVERY),
            max_backoff=min(MAX_BACKOFF, max(MIN_BACKOFF, backoff)),
            grace=_duration(env, "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", DEFAULT_GRACE),
            tls=_tls(env),
        )


def _needed(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise BadEnvironmentError(
            f"{name} is not set: a Mesos agent sets it for every executor that it starts"
        )
    return value


def _endpoint(text: str) -> tuple[str, int]:
    """`host:port`, also with an IPv6 address, with or without brackets."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise BadEnvironmentError(f"MESOS_AGENT_ENDPOINT is {text!r}: it should be host:port")
    return host, int(port)


def _duration(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    seconds = duration(text, -1.0)
    if seconds >= 0.0:
        return seconds
    if text:
        logger.warning(
            "%s is %r, not a duration such as 15mins: taken as %g s", name, text, default
        )
    return default


def _tls(env: Mapping[str, str]) -> TlsFiles | None:
    if not _switch(env, "LIBPROCESS_SSL_ENABLED", default=False):
        return None
    ca_file = env.get("LIBPROCESS_SSL_CA_FILE") or None
    ca_directory = env.get("LIBPROCESS_SSL_CA_DIR") or None
    check_address = _switch(env, "LIBPROCESS_SSL_VERIFY_IPADD", default=True)
    if not check_address and ca_file is None and ca_directory is None:
        raise BadEnvironmentError(
            "LIBPROCESS_SSL_VERIFY_IPADD=false needs LIBPROCESS_SSL_CA_FILE or "
            "LIBPROCESS_SSL_CA_DIR: otherwise anybody's certificate would do"
        )
    return TlsFiles(
        ca_file=ca_file,
        ca_directory=ca_directory,
        certificate=env.get("LIBPROCESS_SSL_CERT_FILE") or None,
        key=env.get("LIBPROCESS_SSL_KEY_FILE") or None,
        check_address=check_address,
    )


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = env.get(name, "").lower()
    if value not in ("", "0", "1", "false", "true"):
        raise BadEnvironmentError(f"{name} is {env[name]!r}: it should be true or false")
    return value in ("1", "true") if value else default
