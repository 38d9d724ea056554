"""Which repositories belong into a commit's tree, and where: read and checked here, not by git.

`git submodule update` takes names, paths and URLs from the repository; most of its security holes
were there. Here a name is only a key, a path has to be that of a gitlink in an empty directory, and
a URL has to pass what a request's URL has to pass.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from builder_framework import validate
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from executor.failure import BuildFailure
from executor.git_command import Command, GitRunner, listing
from executor.git_repository import Repository

MAX_LEVELS = 10
"""How deep submodules may be in one another; a repository may be its own."""

MAX_NUMBER = 100
"""Of all submodules of a build together."""

_GITLINK = "160000 commit "
_PATTERN = r"^submodule\..*\.(path|url)$"


@dataclass(frozen=True)
class Submodule:
    """A commit of another repository at a path of the tree. `path` and `url` are checked."""

    path: str
    url: str
    commit: str


def find(
    parent: Repository, commit: str, runner: GitRunner, protocols: Collection[str]
) -> list[Submodule]:
    """The submodules of a commit. Raises BuildFailure(git_submodule_failed)."""
    links = _gitlinks(parent, commit, runner)
    if not links:
        return []
    urls = _declared(parent.config_at(commit, ".gitmodules", _PATTERN))
    found = []
    for path, linked in links.items():
        if path not in urls:
            raise refused(path, "the repository's .gitmodules has no URL for it")
        try:
            checked_path(path)
            url = validate.git_url(resolve_url(parent.url, urls[path]), protocols)
        except InvalidValueError as error:
            raise refused(path, error.message) from None
        if url.startswith("file:") and not parent.url.startswith("file:"):
            raise refused(path, "a file URL is for submodules of a repository that has one itself")
        found.append(Submodule(path, url, linked))
    return found


def refused(path: str, problem: str) -> BuildFailure:
    """The end of a build whose submodule cannot be there."""
    return BuildFailure(Reason.GIT_SUBMODULE_FAILED, f"submodule {path!r}: {problem}")


def checked_path(path: str) -> str:
    """A submodule's path as a tree may have it. Raises InvalidValueError.

    CVE-2025-48384 was a path with CR at its end, which `git config` read back without it.
    """
    if validate.relative_path(path) != path:
        raise InvalidValueError("the path is not a plain one ('./', '//' or '..' is in it)")
    for part in path.lower().split("/"):
        # Also the short name that FAT gives it.
        if part == ".git" or part.startswith("git~"):
            raise InvalidValueError("the path leads into a .git directory")
    return path


def place(tree: Path, path: str) -> Path:
    """The empty directory that the checkout made for a gitlink.

    Raises BuildFailure(git_submodule_failed) where it is anything else, or beneath a symbolic link
    (CVE-2024-32002: a link that leads into .git, where the submodule then writes a hook).
    """
    where = tree
    for part in path.split("/"):
        where /= part
        try:
            is_directory = stat.S_ISDIR(where.lstat().st_mode)
        except FileNotFoundError:
            is_directory = False
        if not is_directory:
            raise refused(path, "there is no directory for it in the tree, or only a link to one")
    if any(where.iterdir()):
        raise refused(path, "the tree has files where it belongs")
    return where


def resolve_url(parent: str, url: str) -> str:
    """What `url` means in the .gitmodules of the repository at `parent`: git-submodule(1).

    As git does it (`relative_url` in remote.c): each `../` takes one part off `parent`'s end. It
    may also take off the host, so the result is as foreign as any other URL.
    """
    if not url.startswith(("./", "../")):
        return url
    base, separator = parent.removesuffix("/"), "/"
    while url.startswith(("./", "../")):
        if url.startswith("./"):
            url = url[2:]
            continue
        url = url[3:]
        cut = base.rfind("/")
        if cut < 0:
            cut, separator = base.rfind(":"), ":"
        if cut < 0:
            raise InvalidValueError("its relative URL leads out of the repository's own URL")
        base = base[:cut]
    return f"{base}{separator}{url}".removesuffix("/")


def _gitlinks(parent: Repository, commit: str, runner: GitRunner) -> dict[str, str]:
    """Paths and commits of all gitlinks of a tree, which may have a great many files."""
    links: dict[str, str] = {}

    def entry(line: str) -> None:
        if line.startswith(_GITLINK) and len(links) <= MAX_NUMBER:
            identity, _, path = line.removeprefix(_GITLINK).partition("\t")
            links[path] = identity

    command = Command(("ls-tree", "-r", "-z", "--full-tree", commit), parent.url)
    runner.run(parent.tree, command, listing(entry))
    if len(links) > MAX_NUMBER:
        raise BuildFailure(
            Reason.GIT_SUBMODULE_FAILED, f"the repository has over {MAX_NUMBER} submodules"
        )
    return links


def _declared(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """URLs by path. Of a name's keys the last one counts; a path may have one name only."""
    values: dict[str, dict[str, str]] = {}
    for key, value in pairs:
        name, _, what = key.removeprefix("submodule.").rpartition(".")
        values.setdefault(name, {})[what] = value
    urls: dict[str, str] = {}
    for one in values.values():
        if "path" in one and "url" in one:
            if one["path"] in urls:
                raise refused(one["path"], "the repository's .gitmodules has it twice")
            urls[one["path"]] = one["url"]
    return urls
