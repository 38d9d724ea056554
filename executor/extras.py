"""What a repository does around the build beside its Dockerfile: hooks, and tests before the push.

Both off, this is nothing but the build itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from builder_framework.recipe import Logins
from builder_framework.validate import ImageReference
from executor.cancel import CancelToken
from executor.hooks import Commit, Hooks, variables
from executor.images import docker_config
from executor.log import BuildLog
from executor.plan import Plan
from executor.registry import Registry
from executor.sources import Checkout
from executor.surroundings import network_settings
from executor.sut import Sut
from executor.workspace import Workspace, context_dir


@dataclass(frozen=True)
class Extras:
    """`local`: our name of the image in the engine; `image`: the one that hooks and tests know."""

    hooks: Hooks | None
    tests: Sut | None
    registry: Registry
    local: ImageReference
    image: ImageReference

    @property
    def builds_itself(self) -> bool:
        """Whether a hook builds instead of us."""
        return self.hooks is not None and self.hooks.has("build")

    @property
    def pushes_itself(self) -> bool:
        """Whether a hook pushes instead of us."""
        return self.hooks is not None and self.hooks.has("push")

    @property
    def has_tests(self) -> bool:
        """Whether there is anything to test with."""
        hooks = self.hooks
        if hooks is not None and any(map(hooks.has, ("pre_test", "test", "post_test"))):
            return True
        return self.tests is not None and bool(self.tests.files())

    def checked_out(self) -> None:
        """The sources are there. This and all others raise BuildFailure, Stopped."""
        self._run("post_checkout")

    def build(self, ours: Callable[[], None] | None) -> None:
        """Build, in whichever way; afterwards both names are the image's."""
        self._run("pre_build")
        if self._run("build"):
            self._take()
        elif ours is not None:
            ours()
            if self.hooks is not None or self.tests is not None:
                self.registry.tag(self.local, self.image)
        if self._run("post_build"):
            self._take()

    def test(self) -> None:
        """Fails unless every test is good."""
        self._run("pre_test")
        if not self._run("test") and self.tests is not None:
            self.tests.run()
        self._run("post_test")

    def before_push(self) -> None:
        """The last moment at which a hook may change the image."""
        if self._run("pre_push"):
            self._take()

    def push(self) -> None:
        """By the hook."""
        self._run("push")

    def pushed(self) -> None:
        """All of it is in the registry."""
        self._run("post_push")
        if self.hooks is not None or self.tests is not None:
            self.registry.forget(self.image)

    def _run(self, name: str) -> bool:
        return self.hooks is not None and self.hooks.run(name)

    def _take(self) -> None:
        """A hook may have built another image of that name."""
        self.registry.tag(self.image, self.local)


def make_extras(
    plan: Plan,
    checkout: Checkout,
    registry: Registry,
    logins: Logins,
    address: str,
    attempt: str,
    workspace: Workspace,
    log: BuildLog,
    token: CancelToken,
) -> Extras:
    """What the recipe allows. `attempt`: `build.attempt`, for labels."""
    image = plan.images[0]
    recipe = plan.recipe
    if not (recipe.hooks or recipe.tests):
        return Extras(None, None, registry, plan.local, image)
    # Both look beside the Dockerfile.
    folder = (context_dir(workspace.checkout, recipe.context) / recipe.dockerfile).parent
    told = variables(_commit(checkout), image, recipe.dockerfile)
    env = {**_environment(logins, address, workspace), **told}
    hooks = Hooks(workspace.checkout, folder, env, log, token) if recipe.hooks else None
    tests = None
    if recipe.tests:
        project = f"builder-{attempt.replace('.', '-')}"
        scratch = workspace.scratch("tests")
        tests = Sut(folder, project, plan.local, env, scratch, attempt, log, token)
    return Extras(hooks, tests, registry, plan.local, image)


def _commit(checkout: Checkout) -> Commit:
    ref = checkout.ref or ""
    return Commit(
        checkout.commit or "",
        checkout.subject,
        branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None,
        tag=ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else None,
    )


def _environment(logins: Logins, address: str, workspace: Workspace) -> dict[str, str]:
    """Of the repository's programs: the engine, its logins, and no more of ours than they need."""
    config = workspace.secrets / "hooks"
    config.mkdir(mode=0o700)
    to_push = {login.registry: logins.to_push(login.registry) for login in logins.logins}
    known = {name: auth for name, auth in to_push.items() if auth is not None}
    workspace.secret_file("hooks/config.json", docker_config({**logins.to_pull(), **known}))
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(workspace.home),
        "LC_ALL": "C.UTF-8",
        "DOCKER_HOST": address,
        "DOCKER_CONFIG": str(config),
        "DOCKER_CLI_HINTS": "false",
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        **network_settings(),
    }
