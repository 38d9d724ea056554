"""The file of what may come in: what it means, and that every fault of it is named."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from api.hooks import orders, repofile
from builder_framework import config
from builder_framework.config import hooks
from builder_framework.domain.hooks import App, Cloning, Hooks, Room
from builder_framework.domain.targets import Kind
from builder_framework.domain.triggers import Rule
from builder_framework.errors import ConfigError
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from tests.unit.forges import SECRET
from tests.unit.test_validate_git import key

WHOLE = """
[forges.gitlab]
kind = "gitlab"
url = "https://GitLab.example.org/"
secret_file = "SECRETS"
user = "ci"
token = "gl-t0ken"
api = "https://api.example.org/v4/"
repositories = ["shop/*"]
clone = "ssh"
ssh_key_file = "KEY"
known_hosts_file = "HOSTS"
files = true
file_images = ["registry.example.org/{repository}"]
file_fields = ["priority"]
build = {max_attempts = 5}

[forges.hub]
kind = "github"
url = "https://github.com"
secret = "of-the-forge-0123456789"
user = "ci"
username = "bot"
password = "pat"

[[rules]]
repositories = ["shop/*"]
forges = ["hub"]
branches = ["main"]
tags = ['/v[0-9]+/']
images = ["registry.example.org/{repository}:{ref}"]

[rules.build]
target = "prod"
build_args = {A = "b"}

[apps.web]
repository = "https://git.example.org/web.git"
ref = "main"
images = ["registry.example.org/web:{ref}"]
build = {no_cache = true}

[chats.rocket]
kind = "rocketchat"
token = "of-rocket-chat-0123456789"
users = {"ann.chat" = "ann"}
user = "chat"
channels = ["builds"]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "SECRETS").write_text(f"an-older-secret-0123\n\n  {SECRET}\n")
    (tmp_path / "KEY").write_text(key(tmp_path, "-t", "ed25519", "-N", ""))
    (tmp_path / "HOSTS").write_text("gitlab.example.org ssh-ed25519 AAAA\n")
    return tmp_path


def write(directory: Path, text: str) -> Path:
    for name in ("SECRETS", "KEY", "HOSTS"):
        text = text.replace(f'"{name}"', f'"{directory / name}"')
    path = directory / "hooks.toml"
    path.write_text(text)
    return path


def test_what_the_file_means(directory: Path) -> None:
    found = hooks.load(write(directory, WHOLE))
    lab, hub = found.forges["gitlab"], found.forges["hub"]
    assert (lab.kind, lab.url, lab.user) == (Kind.GITLAB, "https://gitlab.example.org", "ci")
    assert [one.reveal() for one in lab.secrets] == ["an-older-secret-0123", SECRET]
    assert lab.token is not None
    assert (lab.token.reveal(), lab.api) == ("gl-t0ken", "https://api.example.org/v4")
    assert (lab.cloning.ssh, lab.cloning.known_hosts) == (
        True,
        "gitlab.example.org ssh-ed25519 AAAA\n",
    )
    assert lab.cloning.ssh_key is not None
    assert lab.build == {"max_attempts": 5}
    assert (lab.files, lab.file_images) == (True, ("registry.example.org/{repository}",))
    assert (lab.file_fields, lab.repositories) == (frozenset({"priority"}), ("shop/*",))
    assert hub.cloning == Cloning(username="bot", password=Secret("pat"))
    assert (hub.files, hub.repositories) == (False, ("**",))
    assert found.rules == (
        Rule(
            images=("registry.example.org/{repository}:{ref}",),
            branches=("main",),
            tags=("/v[0-9]+/",),
            build={"target": "prod", "build_args": {"A": "b"}},
            repositories=("shop/*",),
            forges=("hub",),
        ),
    )
    assert found.apps == {
        "web": App(
            "https://git.example.org/web.git",
            ("registry.example.org/web:{ref}",),
            "main",
            {"no_cache": True},
        )
    }
    token = Secret("of-rocket-chat-0123456789")
    assert found.rooms == {
        "rocket": Room("rocket", (token,), {"ann.chat": "ann"}, "chat", frozenset({"builds"}))
    }


def test_an_empty_file_lets_nothing_in(directory: Path) -> None:
    assert hooks.load(write(directory, "")) == Hooks()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (('kind = "gitlab"', 'kind = "svn"'), "forges.gitlab.kind", "gitlab"),
        (('url = "https://github.com"', 'url = "github.com"'), "forges.hub.url", "http or https"),
        (("of-the-forge-0123456789", "short"), "forges.hub", "16 characters or more"),
        (('secret_file = "SECRETS"', ""), "forges.gitlab", "either secret or secret_file"),
        (('"SECRETS"', '"/nowhere"'), "forges.gitlab", "/nowhere: No such file"),
        (('token = "gl', 'token_file = "KEY"\ntoken = "gl'), "forges.gitlab", "token_file"),
        (('password = "pat"', 'password = "x"\npassword_file = "KEY"'), "forges.hub", "password"),
        (("file_images = [", "# ["), "forges.gitlab", "files needs file_images"),
        (('{repository}"]\nfile', '{tag}"]\nfile'), "forges.gitlab.file_images.0", "placeholder"),
        (('clone = "ssh"', 'clone = "https"'), "forges.gitlab", 'need clone = "ssh"'),
        (('username = "bot"', 'username = "bot"\nclone = "ssh"'), "forges.hub", "clone"),
        (('"KEY"', '"HOSTS"'), "forges.gitlab", "no private key"),
        (('hosts_file = "HOSTS"', 'hosts_file = "KEY"'), "forges.gitlab", "KEY-TYPE"),
        (('user = "ci"\ntoken', "token"), "forges.gitlab.user", "required"),
        (('user = "ci"\ntoken', 'user = "ci"\nwho = 1\ntoken'), "forges.gitlab.who", "permitted"),
        (("[forges.hub]", '[forges."A b"]'), "forges.A b", "lower-case"),
        (("[forges.hub]", "[forge.hub]"), "forge", "permitted"),
        (('["main"]', '["/(/"]'), "rules.0.branches.0", "RE2"),
        (('{ref}"]\n\n[rules', '{nope}"]\n\n[rules'), "rules.0.images.0", "placeholder"),
        (('branches = ["main"]\ntags', "# "), "rules.0", "set branches or tags"),
        (('forges = ["hub"]', 'forges = ["lub"]'), "rules.0.forges", "no forge 'lub'"),
        (("web:{ref}", "web:{tag}"), "apps.web.images.0", "placeholder"),
        (('kind = "rocketchat"', 'kind = "irc"'), "chats.rocket.kind", "rocketchat"),
        (('token = "of-rocket-chat-0123456789"', ""), "chats.rocket", "either token or token_file"),
        (('users = {"ann.chat" = "ann"}\nuser = "chat"', ""), "chats.rocket", "whose builds"),
        (("[chats.rocket]", "[chats.hub]"), "chats.hub", "name of a forge"),
    ],
)
def test_a_fault_is_named_and_no_secret_is_shown(
    directory: Path, change: tuple[str, str], field: str, words: str
) -> None:
    assert change[0] in WHOLE
    path = write(directory, WHOLE.replace(*change))
    with pytest.raises(ConfigError) as told:
        hooks.load(path)
    faults = {one.field: one.problem for one in told.value.problems}
    assert field in faults, faults
    assert words in faults[field]
    assert not any(secret in str(faults) for secret in (SECRET, "gl-t0ken", "of-rocket"))


def test_all_faults_are_told_together(directory: Path) -> None:
    text = WHOLE.replace('"svn"', "").replace('kind = "', 'kind = "x')
    with pytest.raises(ConfigError) as told:
        hooks.load(write(directory, text))
    assert [one.field for one in told.value.problems] == [
        "forges.gitlab.kind",
        "forges.hub.kind",
        "chats.rocket.kind",
        "rules.0.forges",
    ][:3]


@pytest.mark.parametrize("text", ["[[", "a = 1", "rules = 3"])
def test_what_is_no_such_file(directory: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        hooks.load(write(directory, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        hooks.load(tmp_path / "none")


def test_the_setting(directory: Path) -> None:
    path = write(directory, WHOLE)
    environment = {
        "BUILDER_MESOS_MASTER": "m:5050",
        "BUILDER_EXECUTOR_IMAGE": "registry.example.org/executor:1",
        "BUILDER_USERNAME": "a",
        "BUILDER_PASSWORD": "b",
    }
    assert config.load(environment).hooks() is None
    found = config.load({**environment, "BUILDER_HOOKS_FILE": str(path)}).hooks()
    assert found is not None
    assert set(found.forges) == {"gitlab", "hub"}


def shown(language: str) -> list[str]:
    """Blocks of the page that begin so."""
    page = (Path(__file__).parents[2] / "docs" / "incoming.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    found = [textwrap.dedent(block).strip("\n") for block in blocks]
    return [block for block in found if block.startswith(language)]


def test_the_files_that_the_page_shows_are_read(directory: Path) -> None:
    text = "\n".join(shown("["))
    files = re.sub(r'"/etc/builder/secrets/[^"]+"', '"SECRETS"', text)
    found = hooks.load(write(directory, files))
    orders.check(found, RequestPolicy())
    assert (set(found.forges), set(found.rooms)) == ({"gitlab"}, {"rocket"})
    assert (len(found.rules), set(found.apps)) == (2, {"web"})
    (rules,) = shown("version:")
    (rule,) = repofile.rules(rules, found.forges["gitlab"])
    assert rule.build["build_args"] == {"CHANNEL": "stable"}
