"""Git LFS: the objects of one commit, from the repository's own host or one with a login."""

from __future__ import annotations

from collections.abc import Collection

from builder_framework import validate
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from executor.failure import BuildFailure
from executor.git_command import Command, GitRunner, listing
from executor.git_credentials import GitCredentials, Origin
from executor.git_repository import Repository

# What git-lfs does in place of a pointer; `git lfs install` writes the same.
_FILTER = (
    "filter.lfs.process=git-lfs filter-process",
    "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.required=true",
)

# No program of others transfers anything, and no connection outlives its command.
_FENCE = (
    "lfs.basictransfersonly=true",
    "lfs.standalonetransferagent=",
    "lfs.ssh.automultiplex=false",
)

# The first line of a pointer (git-lfs' docs/spec.md).
_POINTER = "^version https://git-lfs.github.com/spec/"

_SURROUNDINGS = (
    Reason.GIT_AUTH_FAILED,
    Reason.GIT_UNREACHABLE,
    Reason.GIT_HOST_KEY_FAILED,
    Reason.DISK_FULL,
)


def check_out(
    repository: Repository, commit: str, runner: GitRunner, protocols: Collection[str]
) -> None:
    """Check the commit out with its objects in place of their pointers.

    git itself writes the files, git-lfs is its filter: git knows better which links to mind.
    Raises BuildFailure, git_lfs_failed if an object cannot be had.
    """
    server = _server(repository, commit, runner.credentials, protocols)
    # The command line's lfs.url wins over the one in .lfsconfig.
    config = (*_FENCE, f"lfs.url={server}", f"remote.origin.url={repository.url}")
    fetch = Command(("lfs", "fetch", "origin", commit), server, config)
    try:
        runner.retries.run(lambda: runner.run(repository.tree, fetch))
        repository.check_out(commit, *config, *_FILTER, reads_lfs=True)
    except BuildFailure as failure:
        if failure.reason in _SURROUNDINGS:
            raise
        raise BuildFailure(Reason.GIT_LFS_FAILED, f"Git LFS: {failure.message}") from None


def count_pointers(repository: Repository, runner: GitRunner) -> int:
    """How many files of the checked-out tree are pointers to objects that nobody fetched."""
    found: list[str] = []
    names = ("--files-with-matches", "-z", "-e", _POINTER, "--", ":(attr:filter=lfs)")
    command = Command(("grep", "--cached", *names), repository.url, takes_missing=True)
    runner.run(repository.tree, command, listing(found.append))
    return len(found)


def _server(
    repository: Repository, commit: str, credentials: GitCredentials, protocols: Collection[str]
) -> str:
    """Where the objects are: beside the repository, or where .lfsconfig says if that may be."""
    pairs = repository.config_at(commit, ".lfsconfig", r"^lfs\.url$")
    if not pairs:
        return standard_server(repository.url)
    try:
        url = validate.git_url(pairs[-1][1], protocols)
    except InvalidValueError as error:
        raise BuildFailure(
            Reason.GIT_LFS_FAILED, f"the lfs.url in the repository's .lfsconfig: {error.message}"
        ) from None
    own, named = Origin.of(repository.url), Origin.of(url)
    if url.startswith("file:") or not (own.is_same_server(named) or credentials.knows(url)):
        raise BuildFailure(
            Reason.GIT_LFS_FAILED,
            f"the repository's .lfsconfig names the LFS server {named.host}:{named.port}, which is "
            "not its own host; a login for it in source.git.logins allows it",
        )
    return url


def standard_server(url: str) -> str:
    """Git LFS' server discovery: `URL.git/info/lfs`, which over ssh is asked for."""
    if not url.startswith(("https://", "http://")):
        return url
    base = url.rstrip("/").removesuffix(".git")
    return f"{base}.git/info/lfs"
