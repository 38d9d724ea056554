"""Grammars of everything a request may name: URLs, refs, images, paths, names. Pure, stdlib only.

The API checks at the edge, the executor checks again before anything reaches git or Docker.
Every function returns the normalised value or raises InvalidValueError with a sentence that
never repeats the value, because a wrong one may hold a credential.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from builder_framework.errors import InvalidValueError

MAX_URL_LENGTH = 2048
"""Characters. What proxies and git hosts are known to take."""

MAX_REF_BYTES = 255
"""A loose ref is a file: NAME_MAX."""

MAX_PATH_BYTES = 1024
"""Generous for a path inside a repository; far below PATH_MAX (4096) with a root before it."""

MAX_IMAGE_NAME_LENGTH = 255
"""distribution/reference NameTotalLengthMax, registry included."""

MAX_NAME_LENGTH = 128
"""Of build args and stages. Nothing prescribes one; a tag may be as long."""

MAX_LABEL_KEY_LENGTH = 255

MAX_VALUE_BYTES = 32 * 1024
"""Of one build arg's or label's value; all of them together travel in one Mesos task."""

DOCKER_HUB = "docker.io"

_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_SSH_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?P<path>/.*)?")
_SCP = re.compile(r"(?:(?P<user>[^/@]*)@)?(?P<host>[^/:@]+):(?P<path>[^:].*)")
# RFC 3986 pchar and "/": everything else has to be percent-encoded.
_URL_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_SCHEMES = ("https", "ssh", "http", "file")

# git-check-ref-format(1), rules 4, 5 and 10.
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")

# github.com/distribution/reference, regexp.go; fullmatch, because `$` matches before "\n".
_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(
    rf"(?:{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::(?P<port>[0-9]+))?",
    re.ASCII,
)
_PATH_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(
    r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}", re.ASCII
)
_HEX64 = re.compile(r"[a-f0-9]{64}")

_BUILD_ARG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?", re.ASCII)


def git_url(url: str, protocols: Collection[str]) -> str:
    """A URL that git may fetch from, scheme and host in lower case.

    `protocols`: the allowed ones of https, ssh, http, file. `git@host:path` counts as ssh.
    """
    if not url:
        raise InvalidValueError("the git URL is empty; give one like https://host/project.git")
    if len(url) > MAX_URL_LENGTH:
        raise InvalidValueError(f"the git URL is longer than {MAX_URL_LENGTH} characters")
    if url.startswith("-"):
        raise InvalidValueError("a git URL must not begin with '-'")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidValueError(
            "the git URL has white space, control or non-ASCII characters; percent-encode them"
        )
    if "::" in url:
        raise InvalidValueError("git's remote helpers ('helper::address') are not allowed")
    if match := _URL.fullmatch(url):
        return _full_url(match, protocols)
    if "://" not in url and (match := _SCP.fullmatch(url)):
        return _scp_url(match, protocols)
    raise InvalidValueError(
        "the git URL has no scheme; give one like https://host/project.git or git@host:project.git"
    )


def _full_url(match: re.Match[str], protocols: Collection[str]) -> str:
    scheme = match["scheme"].lower()
    _check_protocol(scheme, protocols)
    authority, path = match["authority"], match["path"] or ""
    _check_url_path(path)
    if scheme == "file":
        if authority:
            raise InvalidValueError("a file URL names no host; write file:///path")
        return f"file://{path}"
    userinfo, at, location = authority.rpartition("@")
    if at:
        _check_userinfo(userinfo, scheme)
    host, colon, port = location.partition(":")
    if colon and not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
        raise InvalidValueError("the port in the git URL is not a number from 1 to 65535")
    return f"{scheme}://{userinfo}{at}{_host(host)}{colon}{port}{path}"


def _scp_url(match: re.Match[str], protocols: Collection[str]) -> str:
    if match["host"].lower() in _SCHEMES:
        raise InvalidValueError("the git URL's scheme must be followed by '://'")
    _check_protocol("ssh", protocols)
    user = match["user"]
    if user is not None:
        _check_userinfo(user, "ssh")
    _check_url_path(match["path"])
    return f"{user + '@' if user else ''}{_host(match['host'])}:{match['path']}"


def _check_protocol(scheme: str, protocols: Collection[str]) -> None:
    allowed = [known for known in _SCHEMES if known in protocols]
    if scheme not in allowed:
        raise InvalidValueError(
            f"git over this protocol is not allowed here; use {' or '.join(allowed) or 'none'}"
        )


def _check_userinfo(userinfo: str, scheme: str) -> None:
    # A lone "user" over http(s) is as a rule a token; it would end up in logs and .git/config.
    if scheme != "ssh" or ":" in userinfo:
        raise InvalidValueError(
            "the git URL holds credentials; give them in the fields username and password"
        )
    if not _SSH_USER.fullmatch(userinfo):
        raise InvalidValueError("the user in the git URL has characters other than A-Za-z0-9._-")


def _host(host: str) -> str:
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise InvalidValueError(
            "the host of the git URL is not a host name or IPv4 address beginning with A-Za-z0-9"
        )
    return host.lower()


def _check_url_path(path: str) -> None:
    if not path.strip("/"):
        raise InvalidValueError("the git URL names no repository: its path is empty")
    if "?" in path or "#" in path:
        raise InvalidValueError(
            "the git URL has a query or fragment; give the ref in its own field"
        )
    if not _URL_PATH.fullmatch(path):
        raise InvalidValueError("the path of the git URL has characters to be percent-encoded")
    # What stands there once git or a server has decoded it (CVE-2020-5260 was an encoded "\n").
    decoded = unquote_to_bytes(path)
    if any(byte < 0x20 or byte == 0x7F or byte == 0x5C for byte in decoded):
        raise InvalidValueError("the path of the git URL hides control characters or backslashes")
    for part in decoded.split(b"/"):
        if part.startswith(b"-"):
            raise InvalidValueError("no part of the git URL's path may begin with '-'")
        if part in (b".", b".."):
            raise InvalidValueError("the path of the git URL must not have '.' or '..' parts")


def git_ref(ref: str) -> str:
    """A branch, tag, full ref or commit: what git-check-ref-format(1) allows on one level.

    Stricter in two points: no leading '-', and printable characters only.
    """
    if not ref:
        raise InvalidValueError("the git ref is empty; leave it out for the default branch")
    if not ref.isprintable() or _REF_FORBIDDEN.search(ref):
        raise InvalidValueError(
            "the git ref has white space, control characters or one of ~ ^ : ? * [ \\"
        )
    if len(ref.encode()) > MAX_REF_BYTES:
        raise InvalidValueError(f"the git ref is longer than {MAX_REF_BYTES} bytes")
    if ref.startswith("-"):
        raise InvalidValueError("a git ref must not begin with '-'")
    if ref == "@" or "@{" in ref or ".." in ref:
        raise InvalidValueError(
            "give a branch, tag or commit, not a git expression ('@', '@{', '..')"
        )
    if ref.endswith("."):
        raise InvalidValueError("a git ref must not end with '.'")
    for part in ref.split("/"):
        if not part:
            raise InvalidValueError("a git ref must not begin or end with '/' or have '//'")
        if part.startswith(".") or part.endswith(".lock"):
            raise InvalidValueError("no part of a git ref may begin with '.' or end with '.lock'")
    return ref


@dataclass(frozen=True)
class ImageReference:
    """An image's full name. `str()` is unambiguous: registry first, tag or digest last."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/app`."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.name}{tag}{digest}"


def image_reference(ref: str, *, allow_digest: bool = False) -> ImageReference:
    """An image by the grammar of distribution/reference, Docker Hub's short names written out.

    The tag defaults to `latest`. A digest cannot be chosen for a push, so it is refused unless
    `allow_digest`.
    """
    rest, at, digest = ref.partition("@")
    if at and not allow_digest:
        raise InvalidValueError("an image to push is named by a tag, not by a digest")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidValueError("the image's digest does not look like sha256:<64 hex digits>")
    registry, path = _split_registry(rest)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidValueError(
            "the image's tag is not 1 to 128 of A-Za-z0-9_.- (the first one no '.' or '-')"
        )
    if not all(_PATH_COMPONENT.fullmatch(part) for part in repository.split("/")):
        raise InvalidValueError(
            "the image's repository is not made of lower case letters and digits, "
            "with single '.', '_', '/' or '-' between them"
        )
    if registry == DOCKER_HUB and "/" not in repository:
        if _HEX64.fullmatch(repository):
            raise InvalidValueError("an image name must not look like an image id")
        repository = f"library/{repository}"
    found = ImageReference(
        registry, repository, tag if colon else (None if at else "latest"), digest if at else None
    )
    if len(found.name) > MAX_IMAGE_NAME_LENGTH:
        raise InvalidValueError(f"the image name is over {MAX_IMAGE_NAME_LENGTH} characters")
    return found


def _split_registry(name: str) -> tuple[str, str]:
    """Registry and the rest, by Docker's rule: the first part is a host if it looks like one."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first.lower() == "localhost"):
        return DOCKER_HUB, name
    match = _DOMAIN.fullmatch(first)
    if not match or (match["port"] is not None and not 0 < int(match["port"][:6]) < 65536):
        raise InvalidValueError("the image's registry is not a host name with an optional port")
    registry = first.lower()
    return (DOCKER_HUB if registry == "index.docker.io" else registry), rest


def relative_path(path: str, *, allow_root: bool = False) -> str:
    """A path beneath the checkout, normalised as text; `.` itself only with `allow_root`.

    Symbolic links are not known here: who opens the path must check where it leads.
    """
    if not path:
        raise InvalidValueError("the path is empty; give one relative to the repository's root")
    if not path.isprintable() or "\\" in path:
        raise InvalidValueError("the path has control characters or backslashes")
    if len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > 255 for part in path.split("/")
    ):
        raise InvalidValueError(f"the path, or a part of it, is over {MAX_PATH_BYTES}, 255 bytes")
    if path.startswith("/"):
        raise InvalidValueError("the path is absolute; give one relative to the repository's root")
    normal = posixpath.normpath(path)
    if normal == ".." or normal.startswith("../"):
        raise InvalidValueError("the path leaves the repository")
    if normal.startswith("-"):
        raise InvalidValueError("the path must not begin with '-'")
    if normal == "." and not allow_root:
        raise InvalidValueError("the path names the repository's root, not a file in it")
    return normal


def build_arg_name(name: str) -> str:
    """The name of a Dockerfile ARG."""
    return _name(
        name,
        _BUILD_ARG,
        MAX_NAME_LENGTH,
        "a build argument's name is letters, digits and '_', and does not begin with a digit",
    )


def target_stage(name: str) -> str:
    """The name or number of a Dockerfile stage."""
    return _name(
        name,
        _STAGE,
        MAX_NAME_LENGTH,
        "a stage is letters, digits and . _ -, beginning with a letter or digit",
    )


def label_key(key: str) -> str:
    """The key of an image label."""
    return _name(
        key,
        _LABEL_KEY,
        MAX_LABEL_KEY_LENGTH,
        "a label's key is letters, digits and . _ / -, with a letter or digit at both ends",
    )


def text_value(value: str) -> str:
    """The value of a build argument or label: UTF-8 text without NUL, of bounded size."""
    if "\0" in value:
        raise InvalidValueError("the value has a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValueError("the value is not valid Unicode") from None
    if size > MAX_VALUE_BYTES:
        raise InvalidValueError(f"the value is over {MAX_VALUE_BYTES} bytes")
    return value


def _name(name: str, grammar: re.Pattern[str], limit: int, rule: str) -> str:
    if len(name) > limit or not grammar.fullmatch(name):
        raise InvalidValueError(f"{rule}; at most {limit} characters")
    return name
