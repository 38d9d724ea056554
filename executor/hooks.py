"""The repository's own programs around each step, as tutum/builder and Docker Hub ran them.

A file `hooks/NAME` beside the Dockerfile runs before or after a step; `build`, `test` and `push`
run in its place. They run as root beside the engine, with its socket and the build's registry
logins: whoever may use them may do anything on the agent (docs/security.md), so the operator has
to allow them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder_framework.protocol import Reason
from builder_framework.validate import ImageReference
from executor import process
from executor.cancel import CancelToken
from executor.failure import BuildFailure
from executor.log import BuildLog
from executor.workspace import beneath

FOLDER = "hooks"
NAMES = (
    "post_checkout",
    "pre_build",
    "build",
    "post_build",
    "pre_test",
    "test",
    "post_test",
    "pre_push",
    "push",
    "post_push",
)
"""In the order in which they run."""


@dataclass(frozen=True)
class Commit:
    """What hooks are told of the source. `branch`, `tag`: short names, where there is one."""

    sha: str
    subject: str
    branch: str | None = None
    tag: str | None = None


def variables(commit: Commit, image: ImageReference, dockerfile: str) -> dict[str, str]:
    """tutum/builder's variables, and those of its heir.

    Docker Hub's SOURCE_BRANCH is "the name of the branch or the tag"
    (https://docs.docker.com/docker-hub/builds/advanced/); CACHE_TAG was its "tag being built".
    """
    return {
        "GIT_BRANCH": commit.branch or "",
        "GIT_TAG": commit.tag or "",
        "GIT_SHA1": commit.sha,
        "GIT_MSG": commit.subject,
        "IMAGE_NAME": str(image),
        "SOURCE_BRANCH": commit.branch or commit.tag or "",
        "SOURCE_COMMIT": commit.sha,
        "COMMIT_MSG": commit.subject,
        "DOCKER_REPO": image.name,
        "DOCKERFILE_PATH": dockerfile,
        "DOCKER_TAG": image.tag or "latest",
        "CACHE_TAG": image.tag or "latest",
    }


@dataclass(frozen=True)
class Hooks:
    """The hooks of one checkout. `folder`: where the Dockerfile is; `env`: what they are given."""

    root: Path
    folder: Path
    env: Mapping[str, str]
    log: BuildLog
    token: CancelToken

    def has(self, name: str) -> bool:
        """Whether the repository has this hook."""
        return self._find(name) is not None

    def run(self, name: str) -> bool:
        """Run it if it is there; whether it was. Raises BuildFailure(hook_failed), Stopped."""
        path = self._find(name)
        if path is None:
            return False
        self.log.line(f"\n-- {FOLDER}/{name}")
        # post_checkout belongs to the checkout as a whole, the others to the Dockerfile.
        where = self.root if name == NAMES[0] else self.folder
        with self.log.stream() as output:
            code = process.run(
                _command(path), token=self.token, env=self.env, cwd=where, output=output
            )
        if code != 0:
            reason = Reason.TEST_FAILED if name == "test" else Reason.HOOK_FAILED
            raise BuildFailure(reason, f"{FOLDER}/{name} ended with {code}")
        return True

    def _find(self, name: str) -> Path | None:
        found = beneath(self.root, self.folder, f"{FOLDER}/{name}")
        return found if found is not None and found.is_file() else None


def _command(path: Path) -> list[str]:
    """By its own first line where it may be executed, otherwise by the shell."""
    return [str(path)] if os.access(path, os.X_OK) else ["/bin/bash", str(path)]
