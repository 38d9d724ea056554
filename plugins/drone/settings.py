"""What a pipeline says, in the names of drone-docker, as Drone puts it into the environment."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder_framework.errors import FieldProblem, InvalidInputError
from builder_framework.redact import Secret

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})
"""As Go's strconv.ParseBool reads them."""

TAGS_FILE = ".tags"

# Settings of drone-docker that would change what is built or pushed, and that we have not.
_REFUSED = {
    "PLUGIN_DRY_RUN": "an image that is built here is pushed: leave the step out with `when`",
    "PLUGIN_NO_PUSH": "an image that is built here is pushed: leave the step out with `when`",
    "PLUGIN_PUSH_ONLY": "there is no image here that was built before: build it",
    "PLUGIN_SOURCE_IMAGE": "there is no image here that was built before: build it",
    "PLUGIN_COSIGN_PRIVATE_KEY": "images are not signed here: sign the digest in a step of its own",
    "PLUGIN_SQUASH": "BuildKit squashes nothing: use a multi-stage Dockerfile",
}


@dataclass(frozen=True)
class Server:
    """Where the framework is, and who we are to it."""

    url: str
    username: str | None
    password: Secret | None
    token: Secret | None


@dataclass(frozen=True)
class Login:
    """To a registry, as the setting names it."""

    registry: str
    username: str
    password: Secret
    use: str = "all"


@dataclass(frozen=True)
class Commit:
    """What is built, as Drone tells it."""

    ref: str = ""
    sha: str = ""
    branch: str = ""
    url: str = ""
    link: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """All of a step's settings; see docs/drone.md for each of them."""

    server: Server
    commit: Commit
    repo: str
    tags: tuple[str, ...]
    auto_tag: bool
    auto_tag_suffix: str
    dockerfile: str
    context: str
    target: str | None
    build_args: Mapping[str, str]
    logins: tuple[Login, ...]
    pull: bool
    no_cache: bool
    cache_from: tuple[str, ...]
    cache_to: str | None
    platforms: tuple[str, ...]
    add_hosts: Mapping[str, str]
    secrets: Mapping[str, Secret]
    ssh_key: Secret | None
    auto_label: bool
    labels: Mapping[str, str]
    quiet: bool
    artifact_file: Path | None
    card_path: str | None
    source: str
    git_username: str | None
    git_password: Secret | None
    request: Mapping[str, Any]


class Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """`folder`: where the step runs, for files that settings name."""
        self._environment = environment
        self._folder = folder
        self.problems: list[FieldProblem] = []

    def fail(self, name: str, problem: str) -> None:
        """Note a fault; the field is the setting's name as a pipeline has it."""
        self.problems.append(FieldProblem(name.removeprefix("PLUGIN_").lower(), problem))

    def text(self, *names: str, default: str = "") -> str:
        """The first of these that is set."""
        return next((found for name in names if (found := self._environment.get(name))), default)

    def flag(self, *names: str, default: bool = False) -> bool:
        """Of the first that is set."""
        for name in names:
            value = self._environment.get(name)
            if value is None:
                continue
            if value not in TRUE | FALSE:
                self.fail(name, "must be true or false")
            return value in TRUE
        return default

    def many(self, *names: str) -> tuple[str, ...]:
        """A list, as Drone joins it: by commas."""
        return tuple(part.strip() for part in self.text(*names).split(",") if part.strip())

    def pairs(self, name: str, items: tuple[str, ...], separator: str = "=") -> dict[str, str]:
        """`KEY=VALUE` each."""
        found = {}
        for item in items:
            key, middle, value = item.partition(separator)
            if not key or not middle:
                self.fail(name, f"each is KEY{separator}VALUE")
                continue
            found[key] = value
        return found

    def object(self, name: str) -> dict[str, Any]:
        """An object of the pipeline, which Drone writes as JSON."""
        text = self.text(name)
        if not text:
            return {}
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.fail(name, "must be an object")
            return {}
        return found

    def file(self, name: str, path: str) -> str:
        """Its text."""
        try:
            return (self._folder / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fail(name, f"{path} cannot be read: {getattr(error, 'strerror', 'no UTF-8')}")
            return ""

    def variable(self, name: str, variable: str) -> str:
        """A variable that a setting names."""
        value = self._environment.get(variable)
        if value is None:
            self.fail(name, f"the variable {variable} is not set")
        return value or ""

    def secret(self, *names: str) -> Secret | None:
        """A value that nobody may see."""
        value = self.text(*names)
        return Secret(value) if value else None


def read(environment: Mapping[str, str], folder: Path) -> Settings:
    """The settings of a step that runs in `folder`. Raises InvalidInputError with every fault."""
    reader = Reader(environment, folder)
    for name, problem in _REFUSED.items():
        if environment.get(name, "") not in FALSE:
            reader.fail(name, problem)
    settings = Settings(
        server=_server(reader),
        commit=_commit(reader),
        repo=reader.text("PLUGIN_REPO"),
        tags=_tags(reader, folder),
        auto_tag=reader.flag("PLUGIN_DEFAULT_TAGS", "PLUGIN_AUTO_TAG"),
        auto_tag_suffix=reader.text("PLUGIN_DEFAULT_SUFFIX", "PLUGIN_AUTO_TAG_SUFFIX"),
        dockerfile=reader.text("PLUGIN_DOCKERFILE", default="Dockerfile"),
        context=reader.text("PLUGIN_CONTEXT", default="."),
        target=reader.text("PLUGIN_TARGET") or None,
        build_args=_build_args(reader),
        logins=_logins(reader),
        pull=reader.flag("PLUGIN_PULL_IMAGE", default=True),
        no_cache=reader.flag("PLUGIN_NO_CACHE"),
        cache_from=reader.many("PLUGIN_CACHE_FROM"),
        cache_to=reader.text("PLUGIN_CACHE_TO") or None,
        platforms=reader.many("PLUGIN_PLATFORMS", "PLUGIN_PLATFORM"),
        add_hosts=reader.pairs("PLUGIN_ADD_HOST", reader.many("PLUGIN_ADD_HOST"), ":"),
        secrets=_secrets(reader),
        ssh_key=reader.secret("PLUGIN_SSH_AGENT_KEY"),
        auto_label=reader.flag("PLUGIN_AUTO_LABEL", default=True),
        labels=_labels(reader),
        quiet=reader.flag("PLUGIN_QUIET"),
        artifact_file=_path(reader.text("PLUGIN_ARTIFACT_FILE"), folder),
        card_path=reader.text("DRONE_CARD_PATH") or None,
        source=reader.text("PLUGIN_SOURCE", default="workspace"),
        git_username=reader.text("PLUGIN_GIT_USERNAME", "DRONE_NETRC_USERNAME") or None,
        git_password=reader.secret("PLUGIN_GIT_PASSWORD", "DRONE_NETRC_PASSWORD"),
        request=reader.object("PLUGIN_REQUEST"),
    )
    if not settings.repo:
        reader.fail("PLUGIN_REPO", "is required: the image's name, without a tag")
    if settings.source not in ("workspace", "git"):
        reader.fail("PLUGIN_SOURCE", "must be workspace or git")
    if reader.problems:
        raise InvalidInputError(reader.problems)
    return settings


def _server(reader: Reader) -> Server:
    server = Server(
        reader.text("PLUGIN_BUILDER_URL", "BUILDER_URL"),
        reader.text("PLUGIN_BUILDER_USERNAME", "BUILDER_USERNAME") or None,
        reader.secret("PLUGIN_BUILDER_PASSWORD", "BUILDER_PASSWORD"),
        reader.secret("PLUGIN_BUILDER_TOKEN", "BUILDER_TOKEN"),
    )
    if not server.url:
        reader.fail("PLUGIN_BUILDER_URL", "is required: where the framework's API is")
    if server.token is None and (server.username is None or server.password is None):
        reader.fail("PLUGIN_BUILDER_TOKEN", "is required, or builder_username and builder_password")
    return server


def _commit(reader: Reader) -> Commit:
    """Drone's names, then Woodpecker's."""
    told = {
        "ci.repo": reader.text("DRONE_REPO", "CI_REPO"),
        "ci.number": reader.text("DRONE_BUILD_NUMBER", "CI_PIPELINE_NUMBER"),
        "ci.link": reader.text("DRONE_BUILD_LINK", "CI_PIPELINE_URL"),
        "ci.step": reader.text("DRONE_STEP_NAME", "CI_STEP_NAME"),
    }
    return Commit(
        ref=reader.text("DRONE_COMMIT_REF", "CI_COMMIT_REF"),
        sha=reader.text("DRONE_COMMIT_SHA", "CI_COMMIT_SHA"),
        branch=reader.text("DRONE_REPO_BRANCH", "CI_REPO_DEFAULT_BRANCH"),
        url=reader.text("DRONE_REMOTE_URL", "DRONE_GIT_HTTP_URL", "CI_REPO_CLONE_URL"),
        link=reader.text("PLUGIN_REPO_LINK", "DRONE_REPO_LINK", "CI_REPO_URL"),
        labels={name: value for name, value in told.items() if value},
    )


def _tags(reader: Reader, folder: Path) -> tuple[str, ...]:
    told = reader.many("PLUGIN_TAG", "PLUGIN_TAGS")
    if not told and (folder / TAGS_FILE).is_file():
        text = reader.file("PLUGIN_TAGS", TAGS_FILE)
        told = tuple(part.strip() for part in text.split(",") if part.strip())
    return told or ("latest",)


def _build_args(reader: Reader) -> dict[str, str]:
    """Without a value it is that of the step's own environment, as `docker build` has it."""
    name = "PLUGIN_BUILD_ARGS"
    items = reader.many(name)
    if reader.flag("PLUGIN_MULTIPLE_BUILD_ARGS"):
        name = "PLUGIN_BUILD_ARGS_NEW"
        items = tuple(part for part in reader.text(name).split(";") if part)
    found: dict[str, str] = {}
    for variable in ("http_proxy", "https_proxy", "no_proxy"):
        upper = variable.upper()
        if value := reader.text(variable, upper):
            found |= {variable: value, upper: value}
    for item in items:
        key, middle, value = item.partition("=")
        found[key] = value if middle else reader.variable(name, key)
    for variable in reader.many("PLUGIN_BUILD_ARGS_FROM_ENV"):
        found[variable] = reader.variable("PLUGIN_BUILD_ARGS_FROM_ENV", variable)
    return found


def _secrets(reader: Reader) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    if text := reader.text("PLUGIN_SECRET"):
        words = reader.pairs("PLUGIN_SECRET", tuple(text.split(",")))
        variable, file = words.get("env"), words.get("src") or words.get("source")
        mount = words.get("id", "")
        if not mount:
            reader.fail("PLUGIN_SECRET", "is id=ID,env=NAME or id=ID,src=FILE")
        elif file:
            found[mount] = Secret(reader.file("PLUGIN_SECRET", file))
        else:
            found[mount] = Secret(reader.variable("PLUGIN_SECRET", variable or mount))
    name = "PLUGIN_SECRETS_FROM_ENV"
    for mount, variable in reader.pairs(name, reader.many(name)).items():
        found[mount] = Secret(reader.variable(name, variable))
    name = "PLUGIN_SECRETS_FROM_FILE"
    for mount, file in reader.pairs(name, reader.many(name)).items():
        found[mount] = Secret(reader.file(name, file))
    return found


def _labels(reader: Reader) -> dict[str, str]:
    name = "PLUGIN_LABEL_SCHEMA"
    # As there: with auto_label only.
    on = reader.flag("PLUGIN_AUTO_LABEL", default=True)
    schema = reader.pairs(name, reader.many(name)) if on else {}
    found = {f"org.opencontainers.image.{key}": value for key, value in schema.items()}
    name = "PLUGIN_CUSTOM_LABELS"
    return {**found, **reader.pairs(name, reader.many(name))}


def _logins(reader: Reader) -> tuple[Login, ...]:
    found = []
    registry = reader.text("PLUGIN_REGISTRY", "DOCKER_REGISTRY")
    if password := reader.secret("PLUGIN_PASSWORD", "DOCKER_PASSWORD"):
        username = reader.text("PLUGIN_USERNAME", "DOCKER_USERNAME")
        found.append(Login(registry, username, password))
    elif access := reader.secret("ACCESS_TOKEN"):
        found.append(Login(registry, "oauth2accesstoken", access))
    bases = ("PLUGIN_DOCKER", "PLUGIN_BASE_IMAGE", "DOCKER_BASE_IMAGE")
    base = reader.text(*(f"{prefix}_REGISTRY" for prefix in bases))
    secret = reader.secret(*(f"{prefix}_PASSWORD" for prefix in bases))
    if base and secret:
        username = reader.text(*(f"{prefix}_USERNAME" for prefix in bases))
        found.append(Login(base, username, secret, "pull"))
    return tuple(found) + _of_config(reader)


def _of_config(reader: Reader) -> tuple[Login, ...]:
    """Of a Docker client's config.json."""
    name = "PLUGIN_CONFIG" if reader.text("PLUGIN_CONFIG") else "DOCKER_PLUGIN_CONFIG"
    auths = reader.object(name).get("auths", {})
    found = []
    for registry, entry in auths.items() if isinstance(auths, dict) else ():
        username, password = _entry(entry if isinstance(entry, dict) else {})
        if not username or not password:
            reader.fail(name, f"the entry of {registry} has no auth, nor username and password")
            continue
        found.append(Login(registry, username, Secret(password)))
    return tuple(found)


def _entry(entry: Mapping[str, Any]) -> tuple[str, str]:
    try:
        text = base64.b64decode(str(entry.get("auth", "")), validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    username, _, password = text.partition(":")
    return str(entry.get("username") or username), str(entry.get("password") or password)


def _path(text: str, folder: Path) -> Path | None:
    return folder / text if text else None
