"""A program in a container of the build's own engine: what a task asks for instead of an image.

Over Docker's own API, so that variables are in no command line and in nobody's environment but the
container's. It is removed however it ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder_framework import validate
from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth, RunNetwork, TaskSource
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.registry import engine_errors, open_client
from executor.stream import pull_failure
from executor.sweep import TEST_LABEL

if TYPE_CHECKING:
    import docker

DRAIN = 2.0
"""Seconds to read on after the program's end."""

_TICK = 0.1
_NETWORKS = {RunNetwork.DEFAULT: "bridge", RunNetwork.HOST: "host", RunNetwork.NONE: "none"}
_OVER = frozenset({"exited", "dead"})


@dataclass(frozen=True)
class Container:
    """`attempt`: `build.attempt`, which names it; `auth`: for the image's registry."""

    task: TaskSource
    attempt: str
    address: str
    auth: RegistryAuth | None
    log: BuildLog
    token: CancelToken

    def run(self) -> int:
        """The program's exit code. Raises BuildFailure, Stopped."""
        with open_client(self.address) as client:
            self._pull(client)
            try:
                with engine_errors(), _refusals():
                    made = client.create_container(**self._options(client))
                return self._follow(client, str(made["Id"]))
            finally:
                with contextlib.suppress(Exception):
                    client.remove_container(self._name, force=True, v=True)

    @property
    def _name(self) -> str:
        return f"builder-{self.attempt.replace('.', '-')}"

    def _pull(self, client: docker.APIClient) -> None:
        """Unless it is there. What a registry says against it is told as of a base image."""
        image = self.task.image
        with engine_errors():
            there = bool(client.images(name=image)) and not self.task.pull
        if there:
            return
        self.log.line(f"Pulling {image}")
        auth = self.auth
        login = None
        if auth is not None:
            login = {"username": auth.username, "password": auth.password.reveal()}
        reference = validate.image_reference(image, allow_digest=True)
        with engine_errors(), _not_pulled(image):
            told = client.pull(
                reference.name,
                tag=reference.digest or reference.tag,
                stream=True,
                decode=True,
                auth_config=login,
            )
            for event in told:
                self.token.check()
                if "error" in event:
                    raise _unavailable(image, str(event["error"]))

    def _options(self, client: docker.APIClient) -> dict[str, Any]:
        task = self.task
        binds = [] if task.socket is None else [f"{_path(self.address)}:{task.socket}"]
        host = client.create_host_config(
            network_mode=_NETWORKS[task.network],
            dns=list(task.dns) or None,
            privileged=task.privileged,
            binds=binds,
            init=True,
        )
        shell = {"entrypoint": ["/bin/sh"], "command": ["-c", task.command]}
        own: dict[str, Any] = {"command": list(task.args) or None}
        return {
            "image": task.image,
            "name": self._name,
            "environment": {**task.env, **{k: v.reveal() for k, v in task.masked_env.items()}},
            "labels": {TEST_LABEL: self.attempt},
            "host_config": host,
            **(shell if task.command else own),
        }

    def _follow(self, client: docker.APIClient, container: str) -> int:
        """Start it, and write down what it says until it has ended or was stopped."""
        with engine_errors():
            # Before the start, lest the first lines are missed.
            said = client.attach(container, stream=True, stdout=True, stderr=True, logs=True)
        reader = threading.Thread(target=self._read, args=(said,), name="container", daemon=True)
        with engine_errors(), _refusals():
            client.start(container)
        reader.start()
        kill_at = None
        while (code := _exit_code(client, container)) is None:
            if self.token.why is not None and kill_at is None:
                self._signal(client, container, "SIGTERM")
                kill_at = time.monotonic() + self.token.patience
            elif kill_at is not None and time.monotonic() > kill_at:
                self._signal(client, container, "SIGKILL")
            time.sleep(_TICK)
        reader.join(DRAIN)
        self.token.check()
        return code

    def _read(self, said: Iterator[bytes]) -> None:
        with contextlib.suppress(Exception), self.log.stream() as output:
            for piece in said:
                output(piece)

    @staticmethod
    def _signal(client: docker.APIClient, container: str, name: str) -> None:
        # It may have ended in this moment.
        with contextlib.suppress(Exception):
            client.kill(container, name)


def _exit_code(client: docker.APIClient, container: str) -> int | None:
    """None while it runs."""
    with engine_errors():
        state = client.inspect_container(container)["State"]
    return int(state["ExitCode"]) if state["Status"] in _OVER else None


@contextlib.contextmanager
def _not_pulled(image: str) -> Iterator[None]:
    """The engine answers with what the registry has said."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        yield
    except APIError as error:
        raise _unavailable(image, str(error.explanation or error)) from error


def _unavailable(image: str, error: str) -> BuildFailure:
    failure = pull_failure(f"{image}: {error}")
    return BuildFailure(failure.reason, failure.message, transient=bool(failure.transient))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the engine refuses is the task's: a program that is not there, say."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        yield
    except APIError as error:
        if not error.is_client_error():
            raise
        said = error.explanation or str(error)
        raise BuildFailure(Reason.TASK_FAILED, f"the container does not start: {said}") from error


def _path(address: str) -> str:
    """Of `unix:///path`."""
    return urlsplit(address).path
