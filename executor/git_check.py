"""A git source, checked again and normalised: it came over the network."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from builder_framework import validate, validate_git
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from builder_framework.recipe import GitLogin, GitSource
from builder_framework.redact import Secret
from executor.failure import BuildFailure


def check(source: GitSource, protocols: Collection[str]) -> GitSource:
    """Raises BuildFailure(invalid_spec), naming the field."""
    with _field("url"):
        url = validate.git_url(source.url, protocols)
    with _field("ref"):
        ref = None if source.ref is None else validate.git_ref(source.ref)
    with _field("ssh_key"):
        key = _key(source.ssh_key)
    with _field("known_hosts"):
        hosts = source.known_hosts
        hosts = None if hosts is None else validate_git.known_hosts(hosts)
    with _field("depth"):
        validate_git.depth(source.depth)
    with _field("logins"):
        logins = tuple(map(_login, source.logins))
    return replace(source, url=url, ref=ref, ssh_key=key, known_hosts=hosts, logins=logins)


def _login(login: GitLogin) -> GitLogin:
    host = validate_git.login_host(login.host)
    return replace(login, host=host, ssh_key=_key(login.ssh_key))


def _key(key: Secret | None) -> Secret | None:
    return None if key is None else Secret(validate_git.private_key(key.reveal()))


@contextlib.contextmanager
def _field(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidValueError as error:
        raise BuildFailure(Reason.INVALID_SPEC, f"source.git.{name}: {error.message}") from error
