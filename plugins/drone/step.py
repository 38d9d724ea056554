"""One step of a pipeline: submit, show the log, leave the results, end as the build ended."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import click

from builder_framework import answers
from builder_framework.cli import context, exits, output
from builder_framework.cli.submit import patiently
from builder_framework.client import ApiError, Client, ConnectionFailedError, Follower
from builder_framework.errors import BuilderError, InvalidInputError
from plugins.drone import request, results
from plugins.drone.settings import Settings, read

Json = dict[str, Any]


class Killed(BaseException):
    """The step is to end. No Exception: nothing in between may make something else of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Entry point: all there is to say is in the environment."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _killed)
    sys.exit(run(os.environ, Path.cwd()))


def run(environment: Mapping[str, str], folder: Path) -> int:
    """The exit code: that of `builder submit --follow`."""
    try:
        settings = read(_with_file(environment, folder), folder)
        chosen = request.tags_of(settings)
        if chosen is None:
            output.note(f"{settings.commit.ref} is neither a tag nor the default branch: no build")
            return exits.SUCCEEDED
        return _Step(settings, folder).run(chosen)
    except InvalidInputError as error:
        output.show_error(error)
        return exits.USAGE
    except click.UsageError as error:
        output.note(error.message)
        return exits.USAGE
    except BuilderError as error:
        output.show_error(error)
        return exits.of_error(error)


class _Step:
    def __init__(self, settings: Settings, folder: Path) -> None:
        server = settings.server
        self._settings = settings
        self._folder = folder
        self._client = Client(server.url, server.username, server.password, token=server.token)

    def run(self, chosen: tuple[str, ...]) -> int:
        """Whatever ends the step ends its build."""
        key = str(uuid.uuid4())
        build_id = None
        try:
            now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
            body = request.body(self._settings, chosen, now)
            build_id = str(self._submit(body, key)["id"])
            output.note(f"build {build_id}: {self._settings.server.url}/api/v1/builds/{build_id}")
            return self._follow(build_id)
        except Killed as killed:
            if build_id is None:
                output.note("ended before the server said that it accepted the build")
            else:
                self._cancel(build_id)
            return 128 + killed.number

    def _submit(self, body: Json, key: str) -> answers.Build:
        if self._settings.source == "git":
            return patiently(lambda: self._client.submit(body, key))
        dockerfile, where = str(body["dockerfile"]), str(body["context"])
        with context.packed(self._folder, dockerfile, where) as packed:
            output.note(f"sending {packed.files} files, {packed.size / 2**20:.1f} MiB")

            def send() -> answers.Build:
                content = context.Multipart(body, packed, lambda _: None)
                return self._client.upload(content, content.content_type, key)

            return patiently(send)

    def _follow(self, build_id: str) -> int:
        writer = output.LogWriter(raw=False)
        quiet = self._settings.quiet
        follower = Follower(
            self._client,
            build_id,
            (lambda _: None) if quiet else writer.write,
            output.note,
            attend=True,
        )
        end = follower.run()
        writer.finish()
        output.end_note(build_id, end)
        if end["state"] == "SUCCEEDED":
            self._leave(self._client.get(build_id))
        return exits.OF_STATE.get(end["state"], exits.SERVER)

    def _leave(self, build: answers.Build) -> None:
        """What is wrong with these files is no failure of the build."""
        settings = self._settings
        link = f"{settings.server.url}/api/v1/builds/{build['id']}"
        try:
            if settings.artifact_file is not None:
                settings.artifact_file.write_text(json.dumps(results.artifact(build)))
            if settings.card_path is not None:
                results.write_card(settings.card_path, results.card(build, link))
        except OSError as error:
            output.note(f"{error.filename}: {error.strerror}")

    def _cancel(self, build_id: str) -> None:
        try:
            self._client.cancel(build_id)
            output.note(f"build {build_id} is cancelled, as this step was")
        except (ApiError, ConnectionFailedError) as error:
            output.note(f"build {build_id} could not be cancelled: {error.message}")


def _with_file(environment: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    """With the variables of PLUGIN_ENV_FILE that are not set (as godotenv does it)."""
    name = environment.get("PLUGIN_ENV_FILE")
    if not name:
        return environment
    try:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
    except OSError:
        return environment
    told = {}
    for line in lines:
        key, middle, value = line.strip().removeprefix("export ").partition("=")
        if middle and not key.startswith("#"):
            told[key.strip()] = value.strip().strip("\"'")
    return {**told, **environment}


def _killed(number: int, _frame: FrameType | None) -> None:
    raise Killed(number)
