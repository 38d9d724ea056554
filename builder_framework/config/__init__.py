"""Settings of the framework process: typed, frozen, from a TOML file and the environment.

Every setting NAME is `name` in the file and `BUILDER_NAME` in the environment, which wins.
All faults are reported together. The fields are in `framework`, `executors`, `builds` and
`marathon`, by theme; their descriptions are the reference in `docs/configuration.md`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError, model_validator

from builder_framework.config import sources
from builder_framework.config.marathon import MarathonSettings
from builder_framework.config.values import PREFIX, Storage
from builder_framework.errors import ConfigError, FieldProblem

__all__ = ["PREFIX", "Settings", "Storage", "load", "storage"]


class Settings(MarathonSettings):
    """What can be set, and what goes together."""

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together: set both or neither")
        if (self.username is None) == (self.users_file is None):
            raise ValueError("set either users_file, or username and password")
        if (self.mesos_principal is None) and self.mesos_secret is not None:
            raise ValueError("mesos_secret needs mesos_principal")
        if (self.webhooks or self.webhook_hosts) and self.webhook_secret is None:
            raise ValueError(
                "webhooks and webhook_hosts need webhook_secret: nobody could tell an unsigned "
                "message from a forged one"
            )
        if self.marathon_url is None and (self.marathon_apps or self.marathon_login):
            raise ValueError("marathon_apps and marathon_login need marathon_url")
        if self.secret_key is None and not self.database().startswith("sqlite:"):
            raise ValueError(
                f"secret_key must be set with PostgreSQL ({PREFIX}SECRET_KEY, the same for every "
                "process of this database): `builder db key` makes one"
            )
        if not (self.behind_tls_proxy or _is_loopback(self.http_host)):
            raise ValueError(
                f"http_host {self.http_host} would show passwords to the network: put a TLS "
                "proxy in front and set behind_tls_proxy, or listen on 127.0.0.1"
            )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Settings of this process. Raises ConfigError with every fault."""
    try:
        return Settings(**sources.values(environment, file, Settings.model_fields))
    except ValidationError as error:
        raise ConfigError([_problem(item) for item in error.errors()]) from None


def storage(environment: Mapping[str, str], file: Path | None = None) -> Storage:
    """Where the data is, for tools that need no other setting.

    Raises ConfigError when a file of settings cannot be read.
    """
    values = sources.values(environment, file, Settings.model_fields)
    url, key = values.get("database_url"), values.get("secret_key")
    settings = Settings.model_construct(
        data_dir=Path(values.get("data_dir", Settings.model_fields["data_dir"].default)),
        database_url=SecretStr(url) if url else None,
        secret_key=SecretStr(key) if key else None,
    )
    return settings.storage()


def _problem(item: Any) -> FieldProblem:
    name = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        message = f"must be set ({PREFIX}{name.upper()})"
    if item["type"] == "extra_forbidden":
        near = sources.near(name, Settings.model_fields)
        message = f"is no setting{f'; did you mean {near}?' if near else ''}"
    return FieldProblem(name or "settings", message)
