"""The body's fields about the Dockerfile, the image and the registries."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from api.fields import (
    MAX_BUILD_ARGS,
    MAX_CACHES,
    MAX_HOSTS,
    MAX_LABELS,
    MAX_MOUNTS,
    MAX_PLATFORMS,
    MAX_REGISTRIES,
    Address,
    Body,
    HostName,
    Image,
    LabelKey,
    MountId,
    Password,
    Platform,
    PrivateKey,
    RegistryName,
    SecretText,
    Text,
    Username,
    checked,
    fail,
    policy_of,
    unique,
)
from builder_framework import validate, validate_options
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.recipe import (
    LoginUse,
    Output,
    Provenance,
    Recipe,
    RegistryAuth,
    RegistryLogin,
    RunNetwork,
)
from builder_framework.redact import Secret

Labels = Annotated[dict[LabelKey, Text], Len(0, MAX_LABELS)]


class RecipeFields(Body):
    """How the image is built. `shm_size` in MiB."""

    context: Annotated[str, checked(lambda path: validate.relative_path(path, allow_root=True))] = (
        "."
    )
    dockerfile: Annotated[str, checked(validate.relative_path)] = "Dockerfile"
    target: Annotated[str, checked(validate.target_stage)] | None = None
    build_args: Annotated[
        dict[Annotated[str, checked(validate.build_arg_name)], Text], Len(0, MAX_BUILD_ARGS)
    ] = Field(default_factory=dict)
    secrets: Annotated[dict[MountId, SecretText], Len(0, MAX_MOUNTS)] = Field(default_factory=dict)
    ssh: Annotated[dict[MountId, PrivateKey], Len(0, MAX_MOUNTS)] = Field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    add_hosts: Annotated[dict[HostName, Address], Len(0, MAX_HOSTS)] = Field(default_factory=dict)
    shm_size: Annotated[int, Field(ge=1, le=validate_options.MAX_SHM_MIB)] | None = None
    network: Literal["default", "none", "host"] = "default"
    platforms: Annotated[list[Platform], Len(0, MAX_PLATFORMS), AfterValidator(unique)] = Field(
        default_factory=list
    )
    cache_from: Annotated[list[Image], Len(0, MAX_CACHES), AfterValidator(unique)] = Field(
        default_factory=list
    )
    cache_to: Image | None = None
    registry_cache: bool | None = None
    hooks: bool | None = None
    tests: bool | None = None

    @field_validator("hooks", "tests")
    @classmethod
    def _allowed(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and policy_of(info).repository_programs is Permission.OFF:
            fail("is not allowed by the operator here (BUILDER_REPOSITORY_PROGRAMS)")
        return value

    def to_recipe(self, policy: RequestPolicy, *, cached: bool = True) -> Recipe:
        """As the domain has it. `cached`: whether the operator's own choice of caches holds."""
        programs = policy.repository_programs is Permission.ON
        return Recipe(
            context=self.context,
            dockerfile=self.dockerfile,
            target=self.target,
            build_args=dict(self.build_args),
            secrets={name: Secret(value) for name, value in self.secrets.items()},
            ssh={name: Secret(value) for name, value in self.ssh.items()},
            no_cache=self.no_cache,
            pull=self.pull,
            add_hosts=dict(self.add_hosts),
            shm_size=self.shm_size,
            network=RunNetwork(self.network),
            platforms=tuple(self.platforms),
            hooks=_or(self.hooks, default=programs),
            tests=_or(self.tests, default=programs),
            cache_from=tuple(self.cache_from),
            cache_to=self.cache_to,
            registry_cache=_or(self.registry_cache, default=cached and policy.registry_cache),
        )


def _or(said: bool | None, *, default: bool) -> bool:
    return default if said is None else said


class OutputFields(Body):
    """What the image says of itself. `timestamp`: `source`, `zero` or seconds since 1970."""

    image_labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    standard_labels: bool = True
    timestamp: Annotated[str, checked(validate_options.timestamp)] | None = None
    sbom: bool = False
    provenance: Literal["none", "min", "max"] = "none"

    def to_output(self) -> Output:
        """As the domain has it."""
        return Output(
            labels=dict(self.image_labels),
            annotations=dict(self.annotations),
            standard_labels=self.standard_labels,
            timestamp=self.timestamp,
            sbom=self.sbom,
            provenance=Provenance(self.provenance),
        )


class RegistryAuthBody(Body):
    """`registry_auth`: one login, for the registry of every image."""

    username: Username
    password: Password

    def to_auth(self) -> RegistryAuth:
        """As the domain has it."""
        return RegistryAuth(self.username, Secret(self.password))


class RegistryBody(RegistryAuthBody):
    """One of `registries`: a login for one of them; `use` says what for."""

    registry: RegistryName
    use: Literal["pull", "push", "all"] = "all"

    def to_login(self) -> RegistryLogin:
        """As the domain has it."""
        return RegistryLogin(self.registry, self.to_auth(), LoginUse(self.use))


class LoginFields(Body):
    """Who the build is to registries."""

    registry_auth: RegistryAuthBody | None = None
    registries: Annotated[list[RegistryBody], Len(0, MAX_REGISTRIES)] = Field(default_factory=list)

    @field_validator("registries")
    @classmethod
    def _one_each(cls, value: list[RegistryBody]) -> list[RegistryBody]:
        told = [(login.registry, login.use) for login in value]
        if len(set(told)) != len(told):
            fail("a registry has two logins for the same use")
        return value
