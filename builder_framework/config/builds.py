"""Settings of builds: what requests may ask for, who is told, how long things take."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from builder_framework.config import hooks, notify
from builder_framework.config.executors import ExecutorSettings
from builder_framework.config.values import DAY, Amount, Names, Seconds, sentences
from builder_framework.domain import endpoints
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import signing_keys
from builder_framework.domain.hooks import Hooks
from builder_framework.domain.model import Resources
from builder_framework.domain.reach import Reach, parse_network
from builder_framework.domain.targets import Target
from builder_framework.logfields import LogFormat
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.redact import Secret
from builder_framework.validate import image_reference


class BuildSettings(ExecutorSettings):
    """The third part of `Settings`."""

    git_protocols: Names = Field(
        ("https", "ssh"), description="URL schemes allowed for sources: https, ssh, http, file."
    )

    default_timeout: Seconds = Field(3600.0, description="Seconds a build may run, if not asked.")
    max_timeout: Seconds = Field(6 * 3600.0, description="Seconds a request may ask for.")
    default_queue_ttl: Seconds = Field(DAY, description="Seconds a build may wait, if not asked.")
    max_queue_ttl: Seconds = Field(7 * DAY, description="Seconds a request may ask to wait.")
    default_cpus: Amount = Field(1.0, description="cpus of a build, if not asked.")
    default_mem: Amount = Field(2048.0, description="MiB of memory of a build, if not asked.")
    default_disk: Amount = Field(
        0.0,
        description="MiB of disk of a build, if not asked. Builds with any are held to it, and for "
        "that have executors of their own.",
    )
    max_cpus: Amount = Field(256.0, description="cpus a request may ask for.")
    max_mem: Amount = Field(1024.0 * 1024, description="MiB of memory a request may ask for.")
    max_disk: Amount = Field(16 * 1024.0 * 1024, description="MiB of disk a request may ask for.")

    repository_programs: Permission = Field(
        Permission.OFF,
        description="Whether builds run their repository's `hooks/` and tests with a service "
        "`sut`: `off`, `request` (where a request asks for it), `on` (all). They run as root in "
        "the executor's privileged container: whoever may build may then do anything on agents.",
    )

    webhooks: Names = Field(
        (),
        repr=False,
        description="URLs that are told of every build, see [webhooks](webhooks.md).",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs webhooks: `whsec_` and the base64 of 24 to 64 random bytes; while it is "
        "being changed several, with commas.",
    )
    webhook_hosts: Names = Field(
        (),
        description="Where builds may have webhooks of their own: `hooks.example.org`, "
        "`*.example.org`, `hooks.example.org:8443`; https unless it begins with `http://`.",
    )
    webhook_networks: Names = Field(
        (),
        description="Networks that are not public and where builds' own webhooks may go all the "
        "same, like `10.0.0.0/8`: their names have to be in `webhook_hosts`, too.",
    )
    notify_file: Path | None = Field(
        None,
        description="TOML file with chats, forges and further webhooks that are told of builds, "
        "see [notifications](notifications.md).",
    )

    hooks_file: Path | None = Field(
        None,
        description="TOML file with forges whose pushes make builds, and chats that ask for them, "
        "see [incoming](incoming.md).",
    )

    staging_timeout: Seconds = Field(
        600.0, description="Seconds from launch to start, the pull of the executor image included."
    )
    unreachable_timeout: Seconds = Field(
        900.0, description="Seconds to wait for an agent that the master lost sight of."
    )

    default_max_attempts: int = Field(
        3,
        ge=1,
        le=10,
        description="How often a build is started when agents, networks or registries fail it, "
        "if not asked.",
    )
    dedupe_window: Amount = Field(
        DAY,
        description="Seconds for which a build that has succeeded is given to requests for the "
        "same that say `dedupe: finished`.",
    )
    retry_backoff: Seconds = Field(
        2.0, description="Seconds before the second attempt; doubled for each further one."
    )
    launch_patience: Amount = Field(
        600.0,
        description="Seconds for which tasks that do not even start, one after the other, cost a "
        "build none of its attempts: engines and agents come back. 0: each costs one.",
    )
    staging_tag: str = Field(
        "builder-staging",
        description="Tag under which images are pushed before they get their own; `{build}` and "
        "`{attempt}` may stand in it, for registries whose tags cannot be moved.",
    )

    eremetic: bool = Field(
        False,
        description="Whether Eremetic's API is served, too, see [Eremetic](eremetic.md). "
        "`/api/v1/version` then answers as there, unless `application/json` is asked for.",
    )
    eremetic_builders: Names = Field(
        ("tutum/builder",),
        description="Images whose tasks become builds, whatever their tag.",
    )
    eremetic_tasks: bool = Field(
        False,
        description="Whether tasks of other images are taken, too, and run in an executor's engine "
        "as RUN instructions are, see [Eremetic](eremetic.md#other-tasks).",
    )
    retention_days: Amount = Field(
        0.0,
        description="Days after their end for which builds are kept, with their logs; 0: for ever. "
        "None goes within `dedupe_window`, or while its webhooks are still to be sent.",
    )
    retention_log_days: Amount = Field(
        0.0, description="Days after a build's end for which its log is kept; 0: as the build."
    )
    retention_audit_days: Amount = Field(
        365.0, description="Days for which the audit trail is kept; 0: for ever."
    )

    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: LogFormat = Field(
        LogFormat.AUTO,
        description="How standard error is written: `text`, `json` (an object a line) or `auto`: "
        "text at a terminal, JSON elsewhere.",
    )

    @field_validator("git_protocols")
    @classmethod
    def _known_protocols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - {"https", "ssh", "http", "file"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return value

    @field_validator("staging_tag")
    @classmethod
    def _is_a_tag(cls, value: str) -> str:
        example = value.replace("{build}", "b").replace("{attempt}", "1")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", example):
            raise ValueError("is no image tag: letters, digits and . _ - (and {build}, {attempt})")
        return value

    @field_validator("webhooks")
    @classmethod
    def _webhook_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with sentences():
            return tuple(endpoints.parse(url).url for url in value)

    @field_validator("webhook_hosts")
    @classmethod
    def _host_rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with sentences():
            for host in value:
                endpoints.parse_rule(host)
        return value

    @field_validator("webhook_networks")
    @classmethod
    def _are_reachable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with sentences():
            for network in value:
                parse_network(network)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            with sentences():
                signing_keys(value.get_secret_value())
        return value

    @field_validator("eremetic_builders")
    @classmethod
    def _are_images(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with sentences():
            for image in value:
                image_reference(image)
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("is one of DEBUG, INFO, WARNING, ERROR")
        return value.upper()

    def webhook_keys(self) -> tuple[Secret, ...]:
        """What webhooks are signed with; empty when there are none."""
        if self.webhook_secret is None:
            return ()
        return signing_keys(self.webhook_secret.get_secret_value())

    def announcer(self) -> Announcer:
        """Who is told of changes by webhooks."""
        return Announcer(tuple(map(Secret, self.webhooks)), self.webui_url, self.targets)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """What `notify_file` says, read once. Raises ConfigError."""
        return notify.load(self.notify_file) if self.notify_file is not None else ()

    def hooks(self) -> Hooks | None:
        """What `hooks_file` says. Raises ConfigError."""
        return hooks.load(self.hooks_file) if self.hooks_file is not None else None

    def reach(self) -> Reach:
        """The addresses that builds' own webhooks may have."""
        return Reach(tuple(map(parse_network, self.webhook_networks)))

    def request_policy(self) -> RequestPolicy:
        """What the API checks requests against."""
        return RequestPolicy(
            git_protocols=self.git_protocols,
            default_timeout=self.default_timeout,
            max_timeout=self.max_timeout,
            default_queue_ttl=self.default_queue_ttl,
            max_queue_ttl=self.max_queue_ttl,
            default_resources=Resources(self.default_cpus, self.default_mem, self.default_disk),
            max_resources=Resources(self.max_cpus, self.max_mem, self.max_disk),
            default_max_attempts=self.default_max_attempts,
            webhook_hosts=self.webhook_hosts,
            targets=self.targets,
            repository_programs=self.repository_programs,
            registry_cache=self.registry_cache,
            staging_tag=self.staging_tag,
            engines=tuple(dict.fromkeys((self.engine, *self.engines))),
            networks=tuple(dict.fromkeys((self.executor_network, *self.executor_networks))),
            uploads=self.reachable_url() is not None,
            upload_max_mb=self.upload_max_mb,
        )
