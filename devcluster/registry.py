"""Image registries with basic authentication, on the gateway address: Debian's docker-registry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from devcluster import httpclient
from devcluster.authority import Authority
from devcluster.config import ClusterConfig, Credentials, write_private
from devcluster.daemon import Daemon, Service
from devcluster.engine import find_program


class Registry(Service):
    """A registry's process, address and user. Its access log is kept (`log_path`).

    `name`: of its process and files. With an `authority` it speaks TLS, else plain HTTP.
    """

    def __init__(
        self,
        config: ClusterConfig,
        credentials: Credentials,
        *,
        name: str = "registry",
        port: int | None = None,
        authority: Authority | None = None,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._authority = authority
        self._port = config.ports.registry if port is None else port
        self._file = config.state_dir / f"{name}.json"
        self._users = config.state_dir / f"{name}.htpasswd"
        self._storage = config.state_dir / name
        self.daemon = Daemon(
            name=name,
            # A JSON document is a YAML document.
            argv=["docker-registry", "serve", str(self._file)],
            run_dir=config.run_dir,
            log_path=config.log_dir / f"{name}.log",
            # Tracing is on by default in some builds and would call out.
            env={"OTEL_TRACES_EXPORTER": "none"},
            is_ready=self._answers,
        )

    @property
    def address(self) -> str:
        """``host:port``, the prefix of image names."""
        return f"{self._config.address}:{self._port}"

    @property
    def url(self) -> str:
        """The base of its API, without a slash at its end."""
        return f"{'http' if self._authority is None else 'https'}://{self.address}"

    @property
    def ca_file(self) -> Path | None:
        """The certificate that its clients have to trust (PEM); None without TLS."""
        return None if self._authority is None else self._authority.certificate

    @property
    def username(self) -> str:
        return self._credentials.username

    @property
    def password(self) -> str:
        return self._credentials.password

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self._write_configuration()
        self.daemon.spawn()

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none when there is no such repository."""
        url = f"{self.url}/v2/{repository}/tags/list"
        user, ca_file = self._credentials, self.ca_file
        if httpclient.status_of(url, user, ca_file=ca_file) != 200:
            return []
        return list(httpclient.get_json(url, user, ca_file=ca_file)["tags"] or [])

    def _answers(self) -> bool:
        return httpclient.status_of(f"{self.url}/v2/", ca_file=self.ca_file) == 401

    def _write_configuration(self) -> None:
        hashed = subprocess.run(
            [find_program("htpasswd"), "-niBC", "5", self.username],
            input=self.password,
            capture_output=True,
            text=True,
            check=True,
        )
        write_private(self._users, hashed.stdout)
        http: dict[str, object] = {"addr": self.address, "secret": self.password}
        if self._authority is not None:
            certificate, key = self._authority.issue(self._config.address)
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
        settings = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}, "level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._storage)},
                "delete": {"enabled": True},
            },
            "http": http,
            "auth": {"htpasswd": {"realm": "devcluster", "path": str(self._users)}},
        }
        write_private(self._file, json.dumps(settings, indent=2) + "\n")
