"""Settings of the framework process: typed, frozen, from a TOML file and the environment.

Every setting NAME is `name` in the file and `BUILDER_NAME` in the environment, which wins.
All faults are reported together.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from builder_framework import addresses, seal, validate_archive
from builder_framework.domain import endpoints
from builder_framework.domain.delivery import signing_keys
from builder_framework.domain.model import Resources
from builder_framework.domain.notices import Announcer
from builder_framework.errors import ConfigError, FieldProblem, InvalidValueError
from builder_framework.ports import CacheSharing, Permission, RequestPolicy
from builder_framework.protocol import EngineMode, EngineSpec
from builder_framework.redact import Secret

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover (another Python)
    import tomli as tomllib

log = logging.getLogger(__name__)

PREFIX = "BUILDER_"
# Of the command line client and the tests; they may stand in the same environment.
_FOREIGN = frozenset(
    {
        "BUILDER_URL",
        "BUILDER_CONFIG",
        "BUILDER_GIT_USERNAME",
        "BUILDER_GIT_PASSWORD",
        "BUILDER_REGISTRY_USERNAME",
        "BUILDER_REGISTRY_PASSWORD",
        "BUILDER_CACHE_DIR",
        "BUILDER_TEST_KEEP",
        "BUILDER_TEST_INDEX",
        "BUILDER_FAILPOINT",
        "BUILDER_FAILPOINTS_ALLOWED",
    }
)
_DAY = 86400.0


def _comma_separated(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Storage:
    """`url` as SQLAlchemy reads it; `key`: the setting `secret_key`, not checked yet."""

    url: str = field(repr=False)
    data_dir: Path
    key: Secret | None


class Settings(BaseModel):
    """What can be set. Descriptions are the reference in `docs/configuration.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mesos_master: str = Field(
        repr=False,
        description="The Mesos master: `host:port`, several of them separated by commas, or "
        "`zk://user:password@host:port,host:port/path` where ZooKeeper knows the leader.",
    )
    mesos_tls: bool = Field(
        False,
        description="Speak TLS with the master. With agents it is spoken where their URL is https.",
    )
    mesos_ca_file: Path | None = Field(
        None,
        description="Authorities for the certificates of master and agents (PEM), instead of the "
        "system's.",
    )
    mesos_role: str = Field("*", description="Role to register with.")
    mesos_principal: str | None = Field(None, description="Principal to authenticate as.")
    mesos_secret: SecretStr | None = Field(None, description="Secret of the principal.")
    framework_name: str = Field("builder", description="Name shown by the master.")
    framework_user: str = Field("root", description="User that executors run as.")
    failover_timeout: Seconds = Field(
        28 * _DAY,
        description="Seconds the master keeps running builds while this process is away.",
    )
    forget_framework_id: bool = Field(
        False,
        description="Register anew when the master has removed the old framework id. For one "
        "start only.",
    )
    webui_url: str | None = Field(None, description="Link shown by the master.")

    http_host: str = Field("127.0.0.1", description="Address the API listens on.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port the API listens on.")
    behind_tls_proxy: bool = Field(
        False,
        description="A proxy in front speaks TLS. Without it the API listens on loopback only, "
        "because basic auth shows passwords to the network.",
    )
    username: str | None = Field(None, description="The only user, instead of a users file.")
    password: SecretStr | None = Field(None, description="Password of the only user.")
    users_file: Path | None = Field(None, description="Users, as `builder users add` writes them.")

    data_dir: Path = Field(Path("data"), description="Directory of database and build logs.")
    database_url: SecretStr | None = Field(
        None,
        description="`postgresql://USER:PASSWORD@HOST/NAME` or `sqlite:////PATH`; by default "
        "SQLite in data_dir.",
    )

    secret_key: SecretStr | None = Field(
        None,
        description="Seals passwords and the URLs of webhooks in the database: 32 random bytes as "
        "base64 or as 64 hex digits (`builder db key` makes one); while it is being changed "
        "both, `NEW,OLD` (see `builder db reseal`). Required with PostgreSQL; with SQLite, by "
        "default, the file `secret.key` in data_dir, made at the first start.",
    )

    executor_image: str = Field(description="Docker image of the executor.")
    executor_cpus: Amount = Field(0.1, description="cpus of the executor itself.")
    executor_mem: Amount = Field(128.0, description="MiB of memory of the executor itself.")
    executor_idle: Amount = Field(
        600.0,
        description="Seconds that an executor with its warm engine waits for another build that "
        "shares caches with its last one (`cache_sharing`). Builds that run on the agent at the "
        "same time share it, too. 0: every build has an executor of its own.",
    )
    executor_network: str = Field(
        "BRIDGE", description="Docker or CNI network of the executor: BRIDGE or a name."
    )
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
        description="`nested`: an engine of its own in the executor. `socket`: the agent's.",
    )
    docker_socket: str = Field(
        "/var/run/docker.sock", description="The agent's engine, for `engine = socket`."
    )
    volume_driver: str = Field(
        "local", description="Docker volume driver of the cache volumes, one per agent."
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
    git_protocols: Names = Field(
        ("https", "ssh"), description="URL schemes allowed for sources: https, ssh, http, file."
    )

    default_timeout: Seconds = Field(3600.0, description="Seconds a build may run, if not asked.")
    max_timeout: Seconds = Field(6 * 3600.0, description="Seconds a request may ask for.")
    default_queue_ttl: Seconds = Field(_DAY, description="Seconds a build may wait, if not asked.")
    max_queue_ttl: Seconds = Field(7 * _DAY, description="Seconds a request may ask to wait.")
    default_cpus: Amount = Field(1.0, description="cpus of a build, if not asked.")
    default_mem: Amount = Field(2048.0, description="MiB of memory of a build, if not asked.")
    default_disk: Amount = Field(0.0, description="MiB of disk of a build, if not asked.")
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
        _DAY,
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

    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("mesos_master")
    @classmethod
    def _is_a_master(cls, value: str) -> str:
        try:
            addresses.parse(value)
        except InvalidValueError as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("git_protocols")
    @classmethod
    def _known_protocols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - {"https", "ssh", "http", "file"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
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
            with _sentences():
                return validate_archive.archive_url(value.rstrip("/") + "/", ("https", "http"))
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
        with _sentences():
            return tuple(endpoints.parse(url).url for url in value)

    @field_validator("webhook_hosts")
    @classmethod
    def _host_rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        with _sentences():
            for host in value:
                endpoints.parse_rule(host)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            with _sentences():
                signing_keys(value.get_secret_value())
        return value

    @field_validator("secret_key")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            with _sentences():
                seal.parse(value.get_secret_value())
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("is one of DEBUG, INFO, WARNING, ERROR")
        return value.upper()

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

    def database(self) -> str:
        """The SQLAlchemy URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'builder.db'}"

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
        )

    def reachable_url(self) -> str | None:
        """Where agents reach the API, if it is known."""
        return self.upload_url or self.webui_url

    def storage(self) -> Storage:
        """Where the data is, and what opens it."""
        key = self.secret_key
        return Storage(
            self.database(), self.data_dir, Secret(key.get_secret_value()) if key else None
        )

    def webhook_keys(self) -> tuple[Secret, ...]:
        """What webhooks are signed with; empty when there are none."""
        if self.webhook_secret is None:
            return ()
        return signing_keys(self.webhook_secret.get_secret_value())

    def announcer(self) -> Announcer:
        """Who is told of changes by webhooks."""
        return Announcer(tuple(map(Secret, self.webhooks)), self.webui_url)

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
            repository_programs=self.repository_programs,
            registry_cache=self.registry_cache,
            staging_tag=self.staging_tag,
            uploads=self.reachable_url() is not None,
            upload_max_mb=self.upload_max_mb,
        )


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Lets pydantic tell what our own grammars say."""
    try:
        yield
    except InvalidValueError as error:
        raise ValueError(error.message) from None


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
        return Settings(**_values(environment, file))
    except ValidationError as error:
        raise ConfigError([_problem(item) for item in error.errors()]) from None


def storage(environment: Mapping[str, str], file: Path | None = None) -> Storage:
    """Where the data is, for tools that need no other setting.

    Raises ConfigError when a file of settings cannot be read.
    """
    values = _values(environment, file)
    url, key = values.get("database_url"), values.get("secret_key")
    settings = Settings.model_construct(
        data_dir=Path(values.get("data_dir", Settings.model_fields["data_dir"].default)),
        database_url=SecretStr(url) if url else None,
        secret_key=SecretStr(key) if key else None,
    )
    return settings.storage()


def _values(environment: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    path = file or (
        Path(environment["BUILDER_CONFIG"]) if "BUILDER_CONFIG" in environment else None
    )
    values = _from_file(path) if path else {}
    values.update(_from_environment(environment))
    return values


def _problem(item: Any) -> FieldProblem:
    name = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        message = f"must be set ({PREFIX}{name.upper()})"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        message = f"is no setting{f'; did you mean {near[0]}?' if near else ''}"
    return FieldProblem(name or "settings", message)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([FieldProblem(str(path), f"cannot be read: {error}")]) from None
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in _FOREIGN:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in Settings.model_fields:
            values[name] = value
        elif name.endswith("_file") and name.removesuffix("_file") in _SECRETS:
            values[name.removesuffix("_file")] = _secret_from(variable, Path(value))
        else:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
            log.warning("%s is no setting of this version%s", variable, hint)
    return values


_SECRETS = frozenset(
    {
        "password",
        "mesos_master",
        "mesos_secret",
        "database_url",
        "secret_key",
        "webhooks",
        "webhook_secret",
        "http_proxy",
        "https_proxy",
    }
)
"""Settings that may also be given as `BUILDER_NAME_FILE`, a file that holds the value."""


def _secret_from(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError([FieldProblem(variable, f"cannot be read: {error.strerror}")]) from None
