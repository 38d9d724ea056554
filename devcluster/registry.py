"""An image registry with basic authentication, on the gateway address: Debian's docker-registry."""

from __future__ import annotations

import json
import subprocess

from devcluster import httpclient
from devcluster.config import ClusterConfig, Credentials, write_private
from devcluster.daemon import Daemon, Service
from devcluster.engine import find_program


class Registry(Service):
    """The registry's process, address and user. Its access log is kept (`log_path`)."""

    def __init__(self, config: ClusterConfig, credentials: Credentials) -> None:
        self._config = config
        self._credentials = credentials
        self._file = config.state_dir / "registry.json"
        self._users = config.state_dir / "registry.htpasswd"
        self.daemon = Daemon(
            name="registry",
            # A JSON document is a YAML document.
            argv=["docker-registry", "serve", str(self._file)],
            run_dir=config.run_dir,
            log_path=config.log_dir / "registry.log",
            # Tracing is on by default in some builds and would call out.
            env={"OTEL_TRACES_EXPORTER": "none"},
            is_ready=self._answers,
        )

    @property
    def address(self) -> str:
        """``host:port``, the prefix of image names."""
        return self._config.registry_address

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
        url = f"http://{self.address}/v2/{repository}/tags/list"
        if httpclient.status_of(url, self._credentials) != 200:
            return []
        return list(httpclient.get_json(url, self._credentials)["tags"] or [])

    def _answers(self) -> bool:
        return httpclient.status_of(f"http://{self.address}/v2/") == 401

    def _write_configuration(self) -> None:
        hashed = subprocess.run(
            [find_program("htpasswd"), "-niBC", "5", self.username],
            input=self.password,
            capture_output=True,
            text=True,
            check=True,
        )
        write_private(self._users, hashed.stdout)
        settings = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}, "level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._config.state_dir / "registry")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.address, "secret": self.password},
            "auth": {"htpasswd": {"realm": "devcluster", "path": str(self._users)}},
        }
        write_private(self._file, json.dumps(settings, indent=2) + "\n")
