"""Builds an image with BuildKit; everything a user chose travels in a file, not in argv or env."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder_framework.recipe import RegistryAuth
from builder_framework.validate import DOCKER_HUB, ImageReference
from executor import process
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.retry import Retries
from executor.stream import NEW_BUILD, build_failure, fold_build, refused_login
from executor.workspace import Workspace

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker's clients call Docker Hub in config.json."""

_TARGET = "image"


@dataclass(frozen=True)
class BuildOptions:
    """One image to build. The paths are absolute; `tag` is its name in the engine.

    `registries`: those that `auth` is for.
    """

    context: Path
    dockerfile: Path
    tag: ImageReference
    registries: Collection[str]
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    auth: RegistryAuth | None = None


def literal(text: str) -> str:
    """`text` for a bake file, whose strings are templates: `${…}` and `%{…}` lose their meaning."""
    return text.replace("${", "$${").replace("%{", "%%{")


def bake_file(options: BuildOptions) -> str:
    """The build as a bake file (JSON).

    Not as options of `docker buildx build`: there the value of a build argument would stand in
    argv, or in the client's own environment, where LD_PRELOAD or DOCKER_HOST mean something.
    """
    target: dict[str, object] = {
        "context": literal(str(options.context)),
        "dockerfile": literal(str(options.dockerfile)),
        "tags": [literal(str(options.tag))],
        "args": {name: literal(value) for name, value in options.build_args.items()},
        "labels": {key: literal(value) for key, value in options.labels.items()},
    }
    if options.target is not None:
        target["target"] = literal(options.target)
    return json.dumps({"target": {_TARGET: target}})


def docker_config(registries: Collection[str], auth: RegistryAuth | None) -> str:
    """A config.json with the credentials for these registries, no others."""
    auths = {}
    if auth is not None:
        login = f"{auth.username}:{auth.password.reveal()}".encode()
        for registry in set(registries):
            key = DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
            auths[key] = {"auth": base64.b64encode(login).decode()}
    return json.dumps({"auths": auths})


def build(
    options: BuildOptions,
    address: str,
    workspace: Workspace,
    log: BuildLog,
    token: CancelToken,
    retries: Retries,
) -> None:
    """Build and load the image into the engine at `address`.

    A base image that could not be had for now is tried again: what was built comes from the cache.
    Raises BuildFailure, Stopped.
    """
    config = workspace.secrets / "docker"
    config.mkdir(mode=0o700)
    workspace.secret_file("docker/config.json", docker_config(options.registries, options.auth))
    plan = workspace.secret_file("bake.json", bake_file(options))
    command = [
        "docker",
        "buildx",
        "bake",
        "--progress=plain",
        "--provenance=false",
        f"--file={plan}",
        _TARGET,
    ]
    environment = _environment(address, config, workspace.home)

    def run() -> None:
        state = NEW_BUILD

        def fold(line: str) -> None:
            nonlocal state
            state = fold_build(state, line)

        with log.stream(fold) as output:
            code = process.run(
                command, token=token, env=environment, cwd=workspace.checkout, output=output
            )
        if code != 0:
            logins = options.registries if options.auth else ()
            failure = refused_login(build_failure(state, code), logins)
            raise BuildFailure(failure.reason, failure.message, transient=failure.transient)

    retries.run(run)


def _environment(address: str, config: Path, home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "DOCKER_HOST": address,
        "DOCKER_CONFIG": str(config),
        "DOCKER_CLI_HINTS": "false",
        # No attestation beside the image: its digest would be that of an index of both.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        # Else buildx runs git in the context, where a repository within may have its own config.
        "BUILDX_GIT_INFO": "false",
        **process.proxy_settings(),
    }
