"""Runs BuildKit through Buildx: credentials in files, its words folded into a verdict."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from builder_framework.protocol import Reason, Steps
from builder_framework.recipe import RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import DOCKER_HUB
from executor import bake, process
from executor.bake import Build
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.retry import Retries
from executor.stream import NEW_BUILD, Failure, build_failure, fold_build, refused_login
from executor.surroundings import network_settings
from executor.workspace import Workspace

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker's clients call Docker Hub in config.json."""


def docker_config(logins: Mapping[str, RegistryAuth]) -> str:
    """A config.json with the credentials for these registries, no others."""
    auths = {}
    for registry, auth in logins.items():
        login = f"{auth.username}:{auth.password.reveal()}".encode()
        key = DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
        auths[key] = {"auth": base64.b64encode(login).decode()}
    return json.dumps({"auths": auths})


def mount_files(values: Mapping[str, Secret], kind: str, workspace: Workspace) -> dict[str, Path]:
    """Each value in a file of the secrets' directory, by its id. `kind`: part of the names."""
    return {
        name: workspace.secret_file(f"{kind}-{number}", value.reveal())
        for number, (name, value) in enumerate(values.items())
    }


def run_build(
    build: Build,
    logins: Mapping[str, RegistryAuth],
    address: str,
    workspace: Workspace,
    log: BuildLog,
    token: CancelToken,
    retries: Retries,
) -> Steps:
    """Build the image: into the engine at `address`, or into its archive.

    `logins`: for base images, by registry. A base image that could not be had for now is tried
    again: what was built comes from the cache. Raises BuildFailure, Stopped.
    """
    config = workspace.secrets / "docker"
    config.mkdir(mode=0o700)
    workspace.secret_file("docker/config.json", docker_config(logins))
    command = _command(build, workspace)
    environment = _environment(address, config, workspace.home, build.proxies)

    def run() -> Steps:
        state = NEW_BUILD

        def fold(line: str) -> None:
            nonlocal state
            state = fold_build(state, line)

        with log.stream(fold) as output:
            code = process.run(
                command, token=token, env=environment, cwd=workspace.checkout, output=output
            )
        if code != 0:
            failure = refused_login(build_failure(state, code), logins)
            raise BuildFailure(
                failure.reason,
                _with_platforms(failure, build),
                transient=failure.transient,
                step=failure.step,
            )
        return state.counted

    return retries.run(run)


def _with_platforms(failure: Failure, build: Build) -> str:
    platforms = ", ".join(build.recipe.platforms)
    if failure.reason is not Reason.PLATFORM_UNSUPPORTED or not platforms:
        return failure.message
    return f"{failure.message}; asked for: {platforms}"


def _command(build: Build, workspace: Workspace) -> list[str]:
    common = ["--progress=plain"]
    if build.needs_options():
        return ["docker", "buildx", "build", *common, *bake.options(build)]
    plan = workspace.secret_file("bake.json", bake.bake_file(build))
    return ["docker", "buildx", "bake", *common, f"--file={plan}", bake.TARGET]


def _environment(
    address: str, config: Path, home: Path, proxies: Mapping[str, str]
) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "DOCKER_HOST": address,
        "DOCKER_CONFIG": str(config),
        "DOCKER_CLI_HINTS": "false",
        # No attestation that was not asked for: the digest would be that of an index.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        # Else buildx runs git in the context, where a repository within may have its own config.
        "BUILDX_GIT_INFO": "false",
        **network_settings(),
        **proxies,
    }
