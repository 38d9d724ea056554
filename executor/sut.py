"""A test before the push: `*.test.yml` or `*-test.yml` with a service `sut`, run by Compose.

As Docker Hub did (https://docs.docker.com/docker-hub/builds/automated-testing/): the build is good
when `sut` ends with 0. `image: this` is the image that was just built.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder_framework.protocol import Reason
from builder_framework.validate import ImageReference
from executor import process
from executor.cancel import CancelToken, Stopped
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.sweep import TEST_LABEL

PATTERNS = ("*.test.yml", "*-test.yml", "*.test.yaml", "*-test.yaml")
SERVICE = "sut"
THIS = "this"

DOWN_PATIENCE = 60.0
"""Seconds for taking a test's containers away, also after a stop."""


@dataclass(frozen=True)
class Sut:
    """The test files beside a Dockerfile.

    `project`: Compose's name for what it starts. `label`: TEST_LABEL's value on all of that.
    """

    folder: Path
    project: str
    image: ImageReference
    env: Mapping[str, str]
    scratch: Path
    label: str
    log: BuildLog
    token: CancelToken

    def files(self) -> list[Path]:
        """Each of them, in order of their names."""
        found = {path for pattern in PATTERNS for path in self.folder.glob(pattern)}
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    def run(self) -> int:
        """Run them all; how many there were. Raises BuildFailure(test_failed), Stopped."""
        files = self.files()
        for number, path in enumerate(files):
            self.log.line(f"\n-- {path.name}: {SERVICE}")
            self._run(path, f"{self.project}-{number}")
        return len(files)

    def _run(self, path: Path, project: str) -> None:
        plan = self.scratch / f"{project}.json"
        plan.write_text(json.dumps(self._plan(path)))
        compose = self._compose(plan, project)
        try:
            code = self._call(
                [*compose, "up", "--build", "--no-color", f"--exit-code-from={SERVICE}", SERVICE]
            )
        finally:
            self._down(compose)
        if code != 0:
            raise BuildFailure(
                Reason.TEST_FAILED, f"the service {SERVICE} of {path.name} ended with {code}"
            )

    def _plan(self, path: Path) -> dict[str, Any]:
        """The file as Compose understands it, with our image in it."""
        said = bytearray()
        told = [*self._compose(path, self.project), "config", "--format=json"]
        code = process.run(
            told,
            token=self.token,
            env=self.env,
            cwd=self.folder,
            output=said.extend,
            errors=self._complaint,
        )
        if code != 0:
            raise BuildFailure(Reason.TEST_FAILED, f"{path.name} is no Compose file: see the log")
        plan: dict[str, Any] = json.loads(said)
        services = plan.get("services") or {}
        if SERVICE not in services:
            raise BuildFailure(Reason.TEST_FAILED, f"{path.name} has no service {SERVICE!r}")
        for service in services.values():
            if service.get("image") == THIS:
                service |= {"image": str(self.image), "pull_policy": "never"}
                service.pop("build", None)
        plan.pop("name", None)
        for kind in ("services", "networks", "volumes"):
            for name, part in (plan.get(kind) or {}).items():
                if part is None or not part.get("external"):
                    labels = {**((part or {}).get("labels") or {}), TEST_LABEL: self.label}
                    plan[kind][name] = {**(part or {}), "labels": labels}
        return plan

    def _compose(self, file: Path, project: str) -> list[str]:
        where = (f"--file={file}", f"--project-directory={self.folder}")
        return ["docker", "compose", "--ansi=never", f"--project-name={project}", *where]

    def _call(self, command: list[str]) -> int:
        with self.log.stream() as output:
            return process.run(
                command, token=self.token, env=self.env, cwd=self.folder, output=output
            )

    def _complaint(self, data: bytes) -> None:
        self.log.line(data.decode(errors="replace"))

    def _down(self, compose: list[str]) -> None:
        """Also after a stop: hence a token of its own. Best effort: the engine may be gone."""
        token = CancelToken()
        token.set_timeout(DOWN_PATIENCE)
        said = bytearray()
        command = [*compose, "down", "--volumes", "--remove-orphans", "--rmi=local", "--timeout=2"]
        with contextlib.suppress(Stopped, OSError):
            process.run(command, token=token, env=self.env, cwd=self.folder, output=said.extend)
