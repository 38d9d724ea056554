"""What a push orders: bodies of requests, by rules of the operator or of the repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from api import admission, schemas
from api.hooks import repofile
from builder_framework.domain import triggers
from builder_framework.domain.access import Actor
from builder_framework.domain.hooks import App, Forge, Hooks
from builder_framework.domain.model import BuildRequest
from builder_framework.domain.triggers import Push, RefKind, Rule
from builder_framework.errors import (
    ConfigError,
    FieldProblem,
    InvalidInputError,
    InvalidValueError,
)
from builder_framework.people import People
from builder_framework.ports import Builds, BuildView, Idempotency, RequestPolicy
from builder_framework.validate import image_reference
from builder_framework.validate_options import MAX_GROUP

ReadFile = Callable[[Forge, str, str, str], str | None]
"""(forge, repository, path, commit) -> the file, if there is one; see `forgefiles.read`."""

_OWN = ("source", "images")
_REF_NAME = "org.opencontainers.image.ref.name"
_SAMPLE = "0" * 40


@dataclass(frozen=True)
class Parts:
    """What hooks need. `page`: where the web page is, without `/ui`; None: nobody said."""

    hooks: Hooks
    builds: Builds
    people: People
    policy: RequestPolicy
    read_file: ReadFile
    page: str | None = None

    def link(self, build_id: str) -> str | None:
        """The build's page."""
        return None if self.page is None else f"{self.page.rstrip('/')}/ui/builds/{build_id}"

    def admitted(self, body: Any, actor: Actor) -> BuildRequest:
        """The request of a body. Raises InvalidInputError."""
        request = schemas.parse_build(body, self.policy).to_request(self.policy)
        projects = self.people.projects
        return admission.admitted(request, actor, projects, self.policy.marathon_apps)


def submitted(parts: Parts, forge: Forge, push: Push, event: str, actor: Actor) -> list[BuildView]:
    """The builds of a push, in the order of their rules: all of them, or none if one is refused.

    `event`: the same for an event that is sent again, which gives the same builds again.
    Raises InvalidInputError, ForgeError, ConflictError, StoreUnavailableError.
    """
    wanted = []
    for rule, images in _orders(parts, forge, push):
        asked = json.dumps([forge.name, event, images])
        once = Idempotency(f"hook {hashlib.sha256(asked.encode()).hexdigest()}", "push")
        known = parts.builds.replayed(actor.name, once)
        body = of_push(rule, images, push, forge)
        wanted.append((once, known, None if known else parts.admitted(body, actor)))
    found = []
    for once, known, request in wanted:
        view = known
        if request is not None:
            view, _ = parts.builds.submit(request, actor.name, once)
        if view is not None:
            found.append(view)
    return found


def _orders(parts: Parts, forge: Forge, push: Push) -> Iterator[tuple[Rule, tuple[str, ...]]]:
    """The operator's rules go before the repository's: where there are some, it is not asked."""
    rules = parts.hooks.rules_for(forge.name, push.repository)
    if rules or not forge.files or push.commit is None:
        yield from triggers.orders(rules, push)
        return
    text = parts.read_file(forge, push.repository, repofile.PATH, push.commit)
    if text is None:
        return
    for rule, images in triggers.orders(repofile.rules(text, forge), push):
        repofile.check_images(images, forge, push.repository)
        yield rule, images


def of_push(rule: Rule, images: Sequence[str], push: Push, forge: Forge) -> dict[str, Any]:
    """The body of the build's request. Raises InvalidInputError."""
    body = {
        **_without_git(forge.build),
        **_without_git(rule.build),
        "source": {"git": _git(rule, push, forge)},
        "images": list(images),
    }
    about = {
        "forge": forge.name,
        "repository": push.repository,
        push.kind.value: push.name,
        **({"pushed-by": push.by} if push.by else {}),
    }
    # The commit alone is built: what it was called when it came is told by these.
    body["labels"] = _merged(body.get("labels", {}), about)
    if body.get("standard_labels", True):
        body["image_labels"] = _merged({_REF_NAME: push.name}, body.get("image_labels", {}))
    if body.get("supersede", "none") != "none":
        body.setdefault("group", _group(images, push, forge))
    return body


def of_app(app: App, ref: str | None) -> dict[str, Any]:
    """The body of a build that a chat asked for. `ref`: instead of the app's own."""
    ref = ref if ref is not None else app.ref
    source = {"url": app.repository} if ref is None else {"url": app.repository, "ref": ref}
    return {
        **_without_git(app.build),
        "source": {"git": _merged(app.build.get("git", {}), source)},
        "images": list(triggers.names(app.images, triggers.of_app(ref))),
    }


def _without_git(build: Mapping[str, Any]) -> dict[str, Any]:
    """Its `git` is what `source.git` has beside URL and ref: `submodules`, `lfs`, logins."""
    return {name: value for name, value in build.items() if name != "git"}


def _merged(one: Any, other: Any) -> Any:
    """Both, the other one's last. What is no mapping stays, and is told with the whole body."""
    for each in (one, other):
        if not isinstance(each, Mapping):
            return each
    return {**one, **other}


def _git(rule: Rule, push: Push, forge: Forge) -> Any:
    how = forge.cloning
    url = push.ssh_url if how.ssh else push.url
    if _host(url) != _host(forge.url):
        # The login is the forge's: it goes nowhere else, whatever an event says.
        problem = FieldProblem("repository", f"is cloned elsewhere than {forge.url}")
        raise InvalidInputError([problem])
    told = {
        "username": how.username,
        "password": how.password.reveal() if how.password else None,
        "ssh_key": how.ssh_key.reveal() if how.ssh_key else None,
        "known_hosts": how.known_hosts,
    }
    given: Any = {name: value for name, value in told.items() if value is not None}
    for more in (forge.build, rule.build):
        given = _merged(given, more.get("git", {}))
    return _merged(given, {"url": url, "ref": push.commit})


def _host(url: str) -> str:
    """Of `https://host/…`, `ssh://user@host/…` and `user@host:…`."""
    if "://" in url:
        return (urlsplit(url).hostname or "").lower()
    return url.partition(":")[0].rpartition("@")[2].lower()


def _group(images: Sequence[str], push: Push, forge: Forge) -> str:
    """Pushes to one branch for the same repositories of images: of those the newest counts."""
    names = sorted({image_reference(image).name for image in images})
    text = f"{forge.name} {push.repository} {push.kind.value} {push.name} {' '.join(names)}"
    return text if len(text) <= MAX_GROUP else hashlib.sha256(text.encode()).hexdigest()


def check(hooks: Hooks, policy: RequestPolicy) -> None:
    """Whether rules and apps could make requests at all. Raises ConfigError."""
    problems: list[FieldProblem] = []
    for forge in hooks.forges.values():
        sample = Rule(("registry.example.org/a",), tags=("**",))
        problems += _sample_problems(f"forges.{forge.name}", sample, forge, policy)
    if problems:
        raise ConfigError(problems)
    for number, rule in enumerate(hooks.rules):
        problems += _rule_problems(f"rules.{number}", rule, hooks, policy)
    for name, app in hooks.apps.items():
        problems += _app_problems(f"apps.{name}", app, policy)
    if problems:
        raise ConfigError(problems)


def _app_problems(where: str, app: App, policy: RequestPolicy) -> Iterator[FieldProblem]:
    if own := sorted(set(app.build) & set(_OWN)):
        yield FieldProblem(f"{where}.build.{own[0]}", "is what the app says already")
        return
    try:
        # With a ref, as every order could have.
        schemas.parse_build(of_app(app, app.ref or "main"), policy)
    except InvalidInputError as error:
        yield from (_named(where, one) for one in error.problems)


def _rule_problems(
    where: str, rule: Rule, hooks: Hooks, policy: RequestPolicy
) -> Iterator[FieldProblem]:
    forge = next((hooks.forges[n] for n in rule.forges), next(iter(hooks.forges.values()), None))
    if forge is None:
        yield FieldProblem(where, "there is no forge whose pushes it could be about")
        return
    yield from _sample_problems(where, rule, forge, policy)


def _sample_problems(
    where: str, rule: Rule, forge: Forge, policy: RequestPolicy
) -> Iterator[FieldProblem]:
    """What is wrong in the request of some push."""
    if own := sorted((set(rule.build) | set(forge.build)) & set(_OWN)):
        yield FieldProblem(f"{where}.build.{own[0]}", "is what the push says")
        return
    host = _host(forge.url)
    # A release of a major version: all placeholders have a value.
    url, ssh_url = f"{forge.url}/a/b.git", f"git@{host}:a/b.git"
    push = Push("a/b", RefKind.TAG, "v1.2.3", _SAMPLE, url, ssh_url)
    values = {**dict.fromkeys(map(str, range(1, 10)), "1"), "branch": "b", "tag": "t"}
    try:
        images = triggers.names(rule.images, {**triggers.of_push(push, ()), **values})
        schemas.parse_build(of_push(rule, images, push, forge), policy)
    except InvalidValueError as error:
        yield FieldProblem(f"{where}.images", error.message)
    except InvalidInputError as error:
        yield from (_named(where, one) for one in error.problems)


def _named(where: str, problem: FieldProblem) -> FieldProblem:
    """By the field of the file that it comes from."""
    field = problem.field
    if field.startswith("source.git"):
        field = "repository" if where.startswith("apps") else "git"
    elif not field.startswith("images"):
        field = f"build.{field}"
    return FieldProblem(f"{where}.{field}", problem.problem)
