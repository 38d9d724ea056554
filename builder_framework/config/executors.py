"""Settings of executors: their containers, engines, caches, and the network around them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from builder_framework import validate_archive
from builder_framework.config.framework import FrameworkSettings
from builder_framework.config.values import Amount, Names, Seconds, comma_separated, sentences
from builder_framework.ports import CacheSharing
from builder_framework.protocol import Dns, EngineMode, EngineSpec
from builder_framework.redact import Secret

_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""As Docker restricts names (daemon/names/names.go)."""


class ExecutorSettings(FrameworkSettings):
    """The second part of `Settings`."""

    executor_image: str = Field(description="Docker image of the executor.")
    executor_cpus: Amount = Field(0.1, description="cpus of the executor itself.")
    executor_mem: Amount = Field(128.0, description="MiB of memory of the executor itself.")
    executor_idle: Amount = Field(
        600.0,
        description="Seconds that an executor with its warm engine waits for another build that "
        "shares caches with its last one (`cache_sharing`). Builds that run on the agent at the "
        "same time share it, too. 0: every build has an executor of its own.",
    )
    executor_dns: Names = Field(
        (), description="Name servers of executors and of RUN, instead of their network's."
    )
    executor_dns_search: Names = Field(
        (), description="Domains in which executors and RUN look for short names."
    )
    executor_dns_options: Names = Field((), description="As in resolv.conf(5): `ndots:2`.")
    executor_force_pull: bool = Field(False, description="Pull the executor image every time.")
    kill_grace_period: Seconds = Field(
        10.0, description="Seconds a build has to stop before it is killed hard."
    )
    survive_agent_restarts: bool = Field(
        True,
        description="Mount the agent's checkpoints into executors, so that a restarted agent "
        "takes running builds over. Without it they end with `executor_lost`.",
    )
    slots_per_agent: int = Field(8, ge=1, le=1000, description="Builds per agent at most.")
    engine: EngineMode = Field(
        EngineMode.NESTED,
        description="`nested`: an engine of its own in the executor. `rootless`: the same without "
        "privilege. `socket`: the agent's ([what they protect](security.md#engines)).",
    )
    engines: Annotated[tuple[EngineMode, ...], BeforeValidator(comma_separated)] = Field(
        (),
        description="Which other engines requests may ask for (`engine`): `nested`, `rootless`, "
        "`socket`.",
    )
    executor_network: str = Field(
        "BRIDGE",
        description="Network of the executor: `BRIDGE`, the name of a network that the agents' "
        "Docker engines have, or `HOST`, not for `nested` ([more](operations.md#networks)).",
    )
    executor_networks: Names = Field(
        (), description="Which other networks requests may ask for (`executor_network`)."
    )
    docker_socket: str = Field(
        "/var/run/docker.sock", description="The agent's engine, for `engine = socket`."
    )
    volume_driver: str = Field(
        "local", description="Docker volume driver of the cache volumes, one per agent."
    )
    volume_options: Names = Field(
        (),
        description="`NAME=VALUE`s for the volume driver, when it makes a volume (`size=50`).",
    )
    volume_prefix: str = Field("builder-cache", description="Names of cache volumes begin so.")
    cache_path: str | None = Field(
        None, description="Directory of the agents' hosts for caches, instead of Docker volumes."
    )
    cache_patience: Amount = Field(
        5.0,
        description="Seconds that a build waits for the agent that built its source last; then it "
        "goes where there is room.",
    )
    registry_cache: bool = Field(
        False,
        description="Whether builds that do not say keep their cache in the registry, too: as tag "
        "`builder-cache` beside their first image, for agents that have none.",
    )
    cache_sharing: CacheSharing = Field(
        CacheSharing.OWNER,
        description="Which builds share caches on an agent: those of one `owner` (the user who "
        "submits), of one owner and `repository`, or `all`. Cache mounts are part of them.",
    )
    cache_keep_mb: int = Field(
        20480,
        ge=0,
        description="MiB of build cache that an engine keeps after a build; there is one for each "
        "build at a time. Without effect on the agent's engine (`engine = socket`), whose cache is "
        "its own.",
    )
    disk_floor_mb: int = Field(
        1024,
        ge=0,
        description="MiB that builds leave free on the disk of the agent's caches, or 5 % of it if "
        "that is less. Below it, the youngest build of the engine that wrote most ends with "
        "`disk_full`, and the others go on. 0: no build ends before the disk is full.",
    )
    pids_limit: int = Field(
        8192,
        ge=1024,
        description="Processes and threads of an executor with its build. With `engine = socket` "
        "builds run beside the executor, and only the agent's engine limits them.",
    )
    upload_url: str | None = Field(
        None,
        description="Where executors fetch uploaded build contexts: this API, as agents reach it "
        "(`http://builder.marathon.mesos:8080`). By default webui_url; without both there are no "
        "uploads.",
    )
    upload_max_mb: int = Field(
        256, ge=1, le=10240, description="MiB of an uploaded build context at most."
    )
    insecure_registries: Names = Field((), description="Registries spoken to without TLS.")
    registry_mirrors: Names = Field((), description="Mirrors of Docker Hub, as URLs.")
    ca_file: Path | None = Field(
        None,
        description="Certificate authorities (PEM) that executors trust beside the system's: those "
        "of registries, mirrors and git servers.",
    )
    http_proxy: SecretStr | None = Field(
        None,
        description="Proxy of executors and, as Docker's predefined build argument, of builds.",
    )
    https_proxy: SecretStr | None = Field(None, description="The same for https.")
    no_proxy: str | None = Field(
        None,
        description="Hosts that are not asked through the proxies: with them, list the registry "
        "and git server here if they are inside.",
    )
    sbom_generator: str | None = Field(
        None,
        description="Image that lists a build's packages for `sbom`; BuildKit's own choice is "
        "docker/buildkit-syft-scanner of Docker Hub.",
    )

    @field_validator("executor_network")
    @classmethod
    def _is_a_network(cls, value: str, info: ValidationInfo) -> str:
        return _network(value, (info.data.get("engine"), *info.data.get("engines", ())))

    @field_validator("executor_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(cls._is_a_network(each, info) for each in value)

    @field_validator("executor_dns")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ipaddress.ip_address(each)
        return value

    @field_validator("volume_options")
    @classmethod
    def _are_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not each.partition("=")[0] or "=" not in each:
                raise ValueError("each is NAME=VALUE")
        return value

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                text = value.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"cannot be read: {error}") from None
            if "-----BEGIN CERTIFICATE-----" not in text:
                raise ValueError("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
        return value

    @field_validator("http_proxy", "https_proxy")
    @classmethod
    def _is_a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            found = urlsplit(value.get_secret_value())
            if found.scheme not in ("http", "https") or not found.hostname:
                raise ValueError("is no URL of a proxy, such as http://proxy.example.org:3128")
        return value

    @field_validator("upload_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            with sentences():
                return validate_archive.archive_url(value.rstrip("/") + "/", ("https", "http"))
        return value

    def engine_spec(self) -> EngineSpec:
        """What every executor is told of its engine and the network around it."""
        told = {"http_proxy": self.http_proxy, "https_proxy": self.https_proxy}
        proxies = {name: Secret(url.get_secret_value()) for name, url in told.items() if url}
        if self.no_proxy is not None:
            proxies["no_proxy"] = Secret(self.no_proxy)
        return EngineSpec(
            self.engine,
            self.insecure_registries,
            self.registry_mirrors,
            self.cache_keep_mb,
            None if self.ca_file is None else self.ca_file.read_text(encoding="utf-8"),
            proxies,
            self.sbom_generator,
            Dns(self.executor_dns, self.executor_dns_search, self.executor_dns_options),
            self.disk_floor_mb,
        )

    def volume_driver_options(self) -> tuple[tuple[str, str], ...]:
        """Names and values."""
        pairs = (option.partition("=") for option in self.volume_options)
        return tuple((name, value) for name, _, value in pairs)

    def reachable_url(self) -> str | None:
        """Where agents reach the API, if it is known."""
        return self.upload_url or self.webui_url


def _network(value: str, engines: tuple[EngineMode | None, ...]) -> str:
    """The name as Mesos has it (ContainerInfo.DockerInfo.Network). Raises ValueError."""
    name = value.upper() if value.upper() in ("BRIDGE", "HOST", "NONE") else value
    if name == "NONE":
        raise ValueError("without a network executors cannot talk to their agent")
    if name == "HOST" and EngineMode.NESTED in engines:
        raise ValueError(
            "HOST would let the nested engine set up the agent's own bridge and iptables anew: "
            "choose another network or another engine (BUILDER_ENGINE, BUILDER_ENGINES)"
        )
    if not _NETWORK.fullmatch(name):
        raise ValueError("is no name of a Docker network: letters, digits and _.-")
    return name
