"""Settings of the framework itself: the master, the API, the database."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from builder_framework import addresses, seal
from builder_framework.config.values import DAY, Seconds, Storage, sentences
from builder_framework.errors import InvalidValueError
from builder_framework.redact import Secret


class FrameworkSettings(BaseModel):
    """The first part of `Settings`."""

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
        28 * DAY,
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

    metrics_public: bool = Field(
        False,
        description="`/metrics` needs no login. Otherwise it takes a viewer of all builds, for "
        "example a token of one.",
    )

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

    @field_validator("mesos_master")
    @classmethod
    def _is_a_master(cls, value: str) -> str:
        try:
            addresses.parse(value)
        except InvalidValueError as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("secret_key")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            with sentences():
                seal.parse(value.get_secret_value())
        return value

    def database(self) -> str:
        """The SQLAlchemy URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'builder.db'}"

    def storage(self) -> Storage:
        """Where the data is, and what opens it."""
        key = self.secret_key
        return Storage(
            self.database(), self.data_dir, Secret(key.get_secret_value()) if key else None
        )
