"""An engine's images and their push, over Docker's own API: no success without a digest."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from builder_framework.validate import ImageReference
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.stream import PushState, fold_push, push_failure, push_progress

if TYPE_CHECKING:
    import docker

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 60.0
"""Seconds without a byte before a call counts as lost."""

PUSH_SILENCE = 600.0
"""Seconds without progress before a push is hung up: some registries take long over the last blob
of a large image."""

DOUBTFUL_PATIENCE = 60.0
"""Seconds for which a push is repeated that may fail for ever; see `stream.push_failure`."""


@dataclass(frozen=True)
class LoadedImage:
    """An image in the engine: its id, its size in bytes and the number of its layers."""

    id: str
    size: int | None
    layers: int | None


class Registry:
    """The images of one engine, and the way from there to their registries."""

    def __init__(self, address: str, silence: float = PUSH_SILENCE) -> None:
        self._address = address
        self._silence = silence

    def inspect(self, image: ImageReference) -> LoadedImage:
        """What `docker image inspect` tells of it."""
        with self._client() as client, engine_errors():
            found = client.inspect_image(str(image))
        size = found.get("Size")
        layers = (found.get("RootFS") or {}).get("Layers")
        return LoadedImage(
            str(found["Id"]),
            size if isinstance(size, int) else None,
            len(layers) if isinstance(layers, list) else None,
        )

    def load(self, archive: Path) -> None:
        """Bring the images of an archive into the engine, under the names that stand in it."""
        with self._client() as client, engine_errors(), archive.open("rb") as content:
            for told in client.load_image(content):
                if "error" in told:
                    raise BuildFailure(
                        Reason.ENGINE_FAILED, f"the engine did not load the image: {told['error']}"
                    )

    def tag(self, image: ImageReference, name: ImageReference) -> None:
        """Give a loaded image one more name."""
        with self._client() as client, engine_errors():
            client.tag(str(image), name.name, name.tag, force=True)

    def push(
        self,
        image: ImageReference,
        auth: RegistryAuth | None,
        token: CancelToken,
        say: Callable[[str], None],
    ) -> str:
        """Push one tag; the digest it got. Raises BuildFailure(push_denied, push_failed), Stopped.

        A thread of its own reads the stream: a stop must not wait for the registry's next word.
        """
        state = PushState()
        with self._client(self._silence) as client:
            pushing = _Push(client, image, auth, self._silence)
            try:
                for event in pushing.events(token):
                    state = fold_push(state, event)
                    line = push_progress(event)
                    if line is not None:
                        say(line)
            finally:
                pushing.close()
        if pushing.error is not None:
            state = PushState(error=pushing.error)
        if state.error is not None:
            failure = push_failure(state.error)
            raise BuildFailure(
                failure.reason,
                f"{image}: {failure.message}",
                transient=failure.transient,
                patience=DOUBTFUL_PATIENCE if failure.doubtful else float("inf"),
            )
        if state.digest is None:
            raise BuildFailure(
                Reason.PUSH_FAILED, f"{image}: the engine told no digest", transient=True
            )
        return state.digest

    def forget(self, image: ImageReference) -> None:
        """Take the tag off the engine; the build cache keeps its layers. Best effort."""
        try:
            with self._client() as client, engine_errors():
                client.remove_image(str(image), force=True)
        except BuildFailure as error:
            logger.info("could not remove %s from the engine: %s", image, error)

    def _client(
        self, timeout: float = CALL_TIMEOUT
    ) -> contextlib.AbstractContextManager[docker.APIClient]:
        return open_client(self._address, timeout)


@contextlib.contextmanager
def open_client(address: str, timeout: float = CALL_TIMEOUT) -> Iterator[docker.APIClient]:
    """Docker's API at `address`. Raises BuildFailure(engine_failed)."""
    # docker-py takes 0.2 s to import: not before it is needed, and not in the way of a start.
    import docker  # noqa: PLC0415

    with engine_errors():
        client = docker.APIClient(base_url=address, version="auto", timeout=timeout)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """What an engine does not do is BuildFailure(engine_failed)."""
    from docker.errors import DockerException  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        yield
    except (DockerException, RequestException) as error:
        raise BuildFailure(
            Reason.ENGINE_FAILED, f"the Docker engine did not do its part: {error}"
        ) from error


class _Push:
    """A running POST /images/NAME/push, read by a thread into a queue."""

    def __init__(
        self,
        client: docker.APIClient,
        image: ImageReference,
        auth: RegistryAuth | None,
        silence: float,
    ) -> None:
        self.error: str | None = None
        self._client = client
        self._image = image
        self._silence = silence
        # Never None: docker-py would look for credentials in the files of whoever runs it.
        self._auth = {"username": auth.username, "password": auth.password.reveal()} if auth else {}
        self._response: Any = None
        self._closed = False
        self._queue: queue.SimpleQueue[Mapping[str, object] | None] = queue.SimpleQueue()
        # requests' hook gives the response, which docker-py keeps to itself; closing it is the
        # only way to make the engine stop pushing.
        client.hooks["response"].append(self._remember)
        threading.Thread(target=self._read, name="push", daemon=True).start()

    def events(self, token: CancelToken) -> Iterator[Mapping[str, object]]:
        """What the engine says, to the end or until it has said nothing new for too long.

        Raises Stopped.
        """
        news: dict[object, Mapping[str, object]] = {}
        quiet_since = time.monotonic()
        while True:
            token.check()
            if time.monotonic() - quiet_since > self._silence:
                self.error = f"no progress within {self._silence:g} s"
                return
            try:
                event = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if event is None:
                return
            if news.get(event.get("id")) != event:
                news[event.get("id")] = event
                quiet_since = time.monotonic()
            yield event

    def close(self) -> None:
        """Hang up; the engine then gives up a push that still runs."""
        from docker.errors import DockerException  # noqa: PLC0415
        from docker.types.daemon import CancellableStream  # noqa: PLC0415

        self._closed = True
        response = self._response
        if response is not None:
            with contextlib.suppress(DockerException, OSError, AttributeError):
                CancellableStream(iter(()), response).close()

    def _remember(self, response: Any, *_: object, **__: object) -> None:
        self._response = response
        if self._closed:  # hung up before there was anything to hang up
            self.close()

    def _read(self) -> None:
        try:
            for event in self._client.push(
                self._image.name,
                tag=self._image.tag,
                auth_config=self._auth,
                stream=True,
                decode=True,
            ):
                self._queue.put(event)
        except Exception as error:  # noqa: BLE001  (of several libraries; told by who waits for it)
            self.error = self.error or f"{type(error).__name__}: {error}"
        finally:
            self._queue.put(None)
