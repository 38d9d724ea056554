"""What went wrong, from git's stderr: the words of git, curl, ssh and the big hosts (C locale)."""

from __future__ import annotations

import re

from builder_framework.protocol import Reason

_TABLE: tuple[tuple[Reason, str, tuple[str, ...]], ...] = (
    (Reason.DISK_FULL, "the agent's disk is full", (r"No space left on device",)),
    (
        Reason.GIT_HOST_KEY_FAILED,
        "the git server's host key is not the known one; if it has changed, renew known_hosts",
        (r"REMOTE HOST IDENTIFICATION HAS CHANGED", r"REVOKED HOST KEY"),
    ),
    (
        Reason.GIT_HOST_KEY_FAILED,
        "the git server's host key is not known; put the server's line into known_hosts",
        (r"Host key verification failed", r"host key is known for"),
    ),
    (
        Reason.GIT_REF_NOT_FOUND,
        "the repository has no such branch, tag or commit",
        (
            r"couldn't find remote ref",
            r"not our ref",
            r"unadvertised object",
            r"Remote branch .* not found",
        ),
    ),
    (
        Reason.GIT_AUTH_FAILED,
        "the git server refused the ssh key, or wants one",
        (r"Permission denied \((publickey|.*,publickey)",),
    ),
    (
        Reason.GIT_AUTH_FAILED,
        "the git server refused the credentials, or wants some",
        (
            r"Authentication failed",
            r"could not read (Username|Password)",
            r"prompts disabled",
            r"(returned error:|HTTP) 40[13]",
            r"Permission denied",
            r"Access denied",
            r"invalid (credentials|username or password)",
            r"Authentication required",
            r"Authorization error",
        ),
    ),
    (
        Reason.GIT_REPOSITORY_NOT_FOUND,
        "there is no such git repository, or these credentials may not see it",
        (
            r"repository .*not found",
            r"returned error: (404|410)",
            r"does not appear to be a git repository",
            r"is this a git repository",
            r"not a git repository",
            r"project you were looking for could not be found",
            r"No such file or directory",
        ),
    ),
    (
        Reason.GIT_UNREACHABLE,
        "the git server could not be reached",
        (
            r"Could not resolve host",
            r"name resolution",
            r"Name or service not known",
            r"Failed to connect",
            r"Could ?n.t connect to server",
            r"Connection (refused|timed out|reset)",
            r"timed out",
            r"i/o timeout",
            r"no such host",
            r"from HTTP (429|5\d\d)",
            r"too slow",
            r"No route to host",
            r"Network is unreachable",
            r"returned error: 5\d\d",
            r"\b(SSL|TLS|certificate|proxy)\b",
            r"RPC failed",
            r"hung up",
            r"early EOF",
            r"Empty reply",
            r"unexpected disconnect",
            r"returned error: 429",
            r"unable to access",
        ),
    ),
)
"""The first line that matches decides: "unable to access" stands in most messages of curl."""

_PATTERNS = tuple(
    (re.compile("|".join(fragments), re.IGNORECASE), reason, sentence)
    for reason, sentence, fragments in _TABLE
)

# Of what makes a server unreachable, that which no other try will change.
_FOR_GOOD = re.compile(r"certificate|returned error: 4(?!08|25|29)", re.IGNORECASE)


# What git adds when ssh has failed and said why, and git-lfs when a server has.
_BOILERPLATE = re.compile(
    r"(fatal: Could not read from remote repository\.|"
    r"Please make sure you have the correct access rights|and the repository exists\.|"
    r"error: failed to fetch some objects from .*|Check that .* proper access.*|)\s*"
)


def telling_line(stderr: str) -> str:
    """The last line that says something of its own; the last one at all if there is none."""
    lines = stderr.splitlines()
    telling = [line for line in lines if not _BOILERPLATE.fullmatch(line)]
    return (telling or lines or [""])[-1].strip()


def classify(stderr: str) -> tuple[Reason, str]:
    """The reason for a failed git command and a sentence about it."""
    for pattern, reason, sentence in _PATTERNS:
        if pattern.search(stderr):
            return reason, sentence
    return Reason.GIT_FAILED, "git failed"


def is_transient(reason: Reason, stderr: str) -> bool:
    """Whether the same command may succeed a little later."""
    return reason is Reason.DISK_FULL or (
        reason is Reason.GIT_UNREACHABLE and not _FOR_GOOD.search(stderr)
    )
