"""Settings of what becomes of images after their builds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from builder_framework.config.builds import BuildSettings
from builder_framework.config.values import Names, Seconds, sentences
from builder_framework.domain import apps
from builder_framework.marathon import Marathon
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret

_URL = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", re.ASCII)


class MarathonSettings(BuildSettings):
    """The fourth part of `Settings`."""

    marathon_url: str | None = Field(
        None,
        description="The Marathon whose apps builds may give their image to, see "
        "[deploy after build](deploy-after-build.md): what stands before `/v2`.",
    )
    marathon_login: SecretStr | None = Field(
        None, description="`USER:PASSWORD` for that Marathon (basic authentication)."
    )
    marathon_ca_file: Path | None = Field(
        None, description="Authorities for its certificate (PEM), instead of the usual ones."
    )
    marathon_apps: Names = Field(
        (),
        description="Beginnings of the ids of apps that every build may deploy to: `/shop` is the "
        "app `/shop` and all below it, `/` all. Apps of a project are its builds' alone.",
    )
    marathon_max_timeout: Seconds = Field(
        3600.0, description="Seconds that a request may give a deployment."
    )

    @field_validator("marathon_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _URL.fullmatch(value):
            raise ValueError(
                "is no http:// or https:// URL without login, query and fragment; the login is "
                "marathon_login"
            )
        return value

    @field_validator("marathon_login")
    @classmethod
    def _is_a_login(cls, value: SecretStr | None) -> SecretStr | None:
        user, colon, password = value.get_secret_value().partition(":") if value else ("", "", "")
        if value is not None and not (user and colon and password and "\n" not in password):
            raise ValueError("is not USER:PASSWORD in one line")
        return value

    @field_validator("marathon_apps")
    @classmethod
    def _are_beginnings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with sentences():
            return tuple(map(apps.prefix, value))

    def marathon(self) -> Marathon | None:
        """Who is told of new images; None: nobody."""
        if self.marathon_url is None:
            return None
        login = None
        if self.marathon_login is not None:
            user, _, password = self.marathon_login.get_secret_value().partition(":")
            login = (user, Secret(password))
        return Marathon(self.marathon_url, login, self.marathon_ca_file)

    def request_policy(self) -> RequestPolicy:
        """What the API checks requests against."""
        return replace(
            super().request_policy(),
            marathon=self.marathon_url is not None,
            marathon_apps=self.marathon_apps,
            marathon_max_timeout=self.marathon_max_timeout,
        )
