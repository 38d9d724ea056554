"""`source` of the body: where the build context comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Len
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from api.fields import (
    MAX_LOGINS,
    Body,
    GitHost,
    KnownHosts,
    Password,
    PrivateKey,
    Username,
    checked,
    fail,
    policy_of,
)
from builder_framework import validate, validate_archive
from builder_framework.domain import dedupe
from builder_framework.errors import InvalidValueError
from builder_framework.recipe import GitLogin, GitSource, InlineSource, Source, TarballSource
from builder_framework.redact import Secret
from builder_framework.validate_git import MAX_DEPTH


def _together(password: str | None, info: ValidationInfo) -> None:
    """User and password go together; a user that is wrong already is told of by itself."""
    if "username" in info.data and (info.data["username"] is None) is not (password is None):
        missing = "username" if password is not None else "password"
        fail(f"username and password go together: {missing} is missing")


class GitLoginBody(Body):
    """One of `source.git.logins`: a server that is not the repository's own."""

    host: GitHost
    username: Username | None = None
    password: Password | None = None
    ssh_key: PrivateKey | None = None

    @field_validator("password")
    @classmethod
    def _with_username(cls, value: str | None, info: ValidationInfo) -> str | None:
        _together(value, info)
        return value

    @field_validator("ssh_key")
    @classmethod
    def _something(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("password", "") is None:
            fail("a login needs username and password, an ssh_key, or both")
        return value

    def to_login(self) -> GitLogin:
        """The value that the executor gets."""
        return GitLogin(self.host, self.username, _secret(self.password), _secret(self.ssh_key))


def _one_each(logins: list[GitLoginBody]) -> list[GitLoginBody]:
    if len({login.host for login in logins}) != len(logins):
        fail("the same host is listed more than once")
    return logins


class GitBody(Body):
    """`source.git`."""

    url: str
    ref: Annotated[str, checked(validate.git_ref)] | None = None
    username: Username | None = None
    password: Password | None = None
    ssh_key: PrivateKey | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_DEPTH)] = 1
    submodules: bool = False
    lfs: bool = False
    keep_git_dir: bool = False
    logins: Annotated[list[GitLoginBody], Len(0, MAX_LOGINS), AfterValidator(_one_each)] = Field(
        default_factory=list
    )
    # After the keys, of which one must be there for it.
    known_hosts: KnownHosts | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        try:
            return validate.git_url(value, policy_of(info).git_protocols)
        except InvalidValueError as error:
            fail(error.message)

    @field_validator("password")
    @classmethod
    def _with_username(cls, value: str | None, info: ValidationInfo) -> str | None:
        _together(value, info)
        url = info.data.get("url")
        if value is not None and url is not None and not _is_http(url):
            fail("a user and password are for git over https only; ssh needs an ssh_key")
        return value

    @field_validator("ssh_key")
    @classmethod
    def _over_ssh(cls, value: str | None, info: ValidationInfo) -> str | None:
        url = info.data.get("url")
        if value is not None and url is not None and not _is_ssh(url):
            fail(
                "an ssh_key is for git over ssh, and the URL is not: write ssh://git@host/path, or "
                "put the key of a submodule's host into logins"
            )
        return value

    @field_validator("known_hosts")
    @classmethod
    def _for_ssh(cls, value: str | None, info: ValidationInfo) -> str | None:
        url, logins = info.data.get("url"), info.data.get("logins")
        if value is None or url is None or logins is None or _is_ssh(url):
            return value
        if not any(login.ssh_key for login in logins):
            fail("known_hosts is for git over ssh: neither the URL nor one of the logins uses it")
        return value

    def to_source(self) -> GitSource:
        """The value that the executor gets."""
        return GitSource(
            url=self.url,
            ref=self.ref,
            username=self.username,
            password=_secret(self.password),
            ssh_key=_secret(self.ssh_key),
            known_hosts=self.known_hosts,
            depth=self.depth,
            submodules=self.submodules,
            lfs=self.lfs,
            keep_git_dir=self.keep_git_dir,
            logins=tuple(login.to_login() for login in self.logins),
        )


class TarballBody(Body):
    """`source.tarball`."""

    url: str
    username: Username | None = None
    password: Password | None = None
    sha256: Annotated[str, checked(validate_archive.sha256)] | None = None
    strip_components: Annotated[int, Field(ge=0, le=validate_archive.MAX_STRIP)] = 0

    @field_validator("url")
    @classmethod
    def _url(cls, value: str, info: ValidationInfo) -> str:
        try:
            return validate_archive.archive_url(value, policy_of(info).git_protocols)
        except InvalidValueError as error:
            fail(error.message)

    @field_validator("password")
    @classmethod
    def _with_username(cls, value: str | None, info: ValidationInfo) -> str | None:
        _together(value, info)
        return value

    def to_source(self) -> TarballSource:
        """The value that the executor gets."""
        return replace(
            TarballSource.at(self.url),
            username=self.username,
            password=_secret(self.password),
            sha256=self.sha256,
            strip_components=self.strip_components,
        )


class InlineBody(Body):
    """`source.inline`."""

    dockerfile: Annotated[str, checked(validate_archive.dockerfile)]


class UploadBody(Body):
    """`source.upload`: what the server found of the context that came with the request."""

    sha256: str
    size: int


class SourceBody(Body):
    """`source`: exactly one of these."""

    git: GitBody | None = None
    tarball: TarballBody | None = None
    inline: InlineBody | None = None
    upload: Annotated[UploadBody | None, SkipJsonSchema()] = None

    @field_validator("upload")
    @classmethod
    def _came(cls, value: UploadBody | None, info: ValidationInfo) -> UploadBody | None:
        if value is not None and not (info.context or {}).get("uploaded"):
            fail("send the build context with the request, as multipart/form-data")
        return value

    @model_validator(mode="after")
    def _one(self) -> SourceBody:
        given = [each for each in (self.git, self.tarball, self.inline, self.upload) if each]
        if len(given) != 1:
            fail("give exactly one of git, tarball and inline, or upload a context")
        return self

    @property
    def is_fixed(self) -> bool:
        """See `dedupe.is_fixed`."""
        return self.upload is not None or dedupe.is_fixed(self.to_source())

    def to_source(self) -> Source:
        """The value that API, store, wire and executor share; not of an upload."""
        return Source(
            git=self.git.to_source() if self.git else None,
            tarball=self.tarball.to_source() if self.tarball else None,
            inline=InlineSource(self.inline.dockerfile) if self.inline else None,
        )


def _is_http(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _is_ssh(url: str) -> bool:
    return url.startswith("ssh://") or "://" not in url


def _secret(value: str | None) -> Secret | None:
    return None if value is None else Secret(value)
