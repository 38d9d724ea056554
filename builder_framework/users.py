"""Who may use the API: a file of users with hashed passwords, or one user from the environment.

Passwords are hashed with argon2id, m = 19 MiB, t = 2, p = 1: OWASP Password Storage Cheat Sheet.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import argon2
from argon2.exceptions import Argon2Error, InvalidHashError

from builder_framework.domain.access import Role
from builder_framework.errors import ConfigError, FieldProblem, InvalidValueError, NotFoundError
from builder_framework.redact import Secret

log = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
"""How long verified credentials need no new hash. Basic auth comes with every request."""

MAX_CACHED = 1024

# `UserFile.list` hides the built-in inside its class.
_Lines = list[str]

_ROLES = tuple(role.value for role in Role)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

RunBlocking = Callable[[Callable[[], bool]], bool]
"""Runs a function that computes for tens of milliseconds: in a thread pool under gevent."""


def user_name(name: str) -> str:
    """`name` itself. Raises InvalidValueError when it is not one a user may have."""
    if not _NAME.fullmatch(name):
        raise InvalidValueError(
            "a user's name is 1 to 64 of A-Za-z0-9._@- and begins with a letter or digit"
        )
    return name


def password_hasher() -> argon2.PasswordHasher:
    """The hasher of this project; about 20 ms and 19 MiB for each hash."""
    return argon2.PasswordHasher(
        time_cost=2, memory_cost=19 * 1024, parallelism=1, type=argon2.Type.ID
    )


UNSAID = Role.OPERATOR
"""The role of users whose line names none: what every user could do before there were roles."""


class Authenticator(Protocol):
    """Decides whether a name and a password belong together, and who that is."""

    def verify(self, name: str, password: str) -> Role | None:
        """The user's role; None unless both are right. Never raises.

        Takes the same time whether name or password is wrong.
        """
        ...

    def role_of(self, name: str) -> Role | None:
        """The role of a user; None when there is none of this name. Never raises."""
        ...

    def remembers(self, name: str, password: str) -> bool:
        """Whether both were right a moment ago, as far as that is kept. Never raises."""
        ...

    def stamp(self, name: str) -> bytes | None:
        """Another one once the password is; None for no user. To be told nobody. Never raises."""
        ...


class SingleUser:
    """One user, as an environment gives it."""

    def __init__(self, name: str, password: Secret) -> None:
        """Raises ConfigError for an empty password or a name that is none."""
        problems = []
        try:
            user_name(name)
        except InvalidValueError as error:
            problems.append(FieldProblem("username", error.message))
        if not password:
            problems.append(FieldProblem("password", "is empty"))
        if problems:
            raise ConfigError(problems)
        self._name = name.encode()
        self._password = _bytes(password.reveal())

    def verify(self, name: str, password: str) -> Role | None:
        """Constant time, so both are compared whatever the first comparison gave."""
        same_name = hmac.compare_digest(_digest(_bytes(name)), _digest(self._name))
        same_password = hmac.compare_digest(_digest(_bytes(password)), _digest(self._password))
        return Role.ADMIN if same_name & same_password else None

    def role_of(self, name: str) -> Role | None:
        """See Authenticator. There is nobody else to be asked."""
        return Role.ADMIN if _bytes(name) == self._name else None

    def stamp(self, name: str) -> bytes | None:
        """See Authenticator."""
        return self._password if _bytes(name) == self._name else None

    def remembers(self, name: str, password: str) -> bool:
        """See Authenticator. Nothing is kept."""
        del name, password
        return False


class _User(NamedTuple):
    """A line of the file."""

    hash: str
    role: Role


class UserFile:
    """A file with one `name:argon2id-hash[:role]` a line; `#` begins a comment line.

    Read again whenever it changes (time, size or inode), so that a removed user is out at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_blocking: RunBlocking = lambda function: function(),
        hasher: argon2.PasswordHasher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, for the cache of verified credentials. Reads nothing yet."""
        self.path = path
        self._run_blocking = run_blocking
        self._hasher = hasher or password_hasher()
        self._cache = _VerifiedCache(clock)
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int] | None = None
        self._users: dict[str, _User] = {}
        self._dummy_hash = self._hasher.hash(secrets.token_hex(16))

    # -- for the server --------------------------------------------------------------------------

    def check(self) -> None:
        """Raises ConfigError when the file is missing, unsafe or faulty: for the start."""
        try:
            text = _read_checked(self.path)
        except OSError as error:
            raise ConfigError(
                [FieldProblem(str(self.path), f"cannot be read: {error.strerror}")]
            ) from error
        _, problems = _parse(text)
        if problems:
            raise ConfigError(problems)

    def verify(self, name: str, password: str) -> Role | None:
        """See Authenticator. An unknown name costs a hash too, so that time does not tell."""
        user = self._current().get(name)
        stored = user.hash if user is not None else self._dummy_hash
        # The stored hash is part of the key: a changed password makes the old entry useless.
        key = self._cache.key(name, password, stored)
        if user is not None and self._cache.has(key):
            return user.role
        matches = self._run_blocking(lambda: self._matches(stored, password))
        if user is None or not matches:
            return None
        self._cache.add(key)
        return user.role

    def remembers(self, name: str, password: str) -> bool:
        """See Authenticator."""
        user = self._current().get(name)
        return user is not None and self._cache.has(self._cache.key(name, password, user.hash))

    def role_of(self, name: str) -> Role | None:
        """See Authenticator."""
        user = self._current().get(name)
        return None if user is None else user.role

    def stamp(self, name: str) -> bytes | None:
        """See Authenticator."""
        user = self._current().get(name)
        return None if user is None else user.hash.encode()

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, _bytes(password))
        except (Argon2Error, InvalidHashError):
            return False

    def _current(self) -> dict[str, _User]:
        """The users as the file has them now. A file that cannot be read has none."""
        with self._lock:
            try:
                stat = self.path.stat()
                signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if signature != self._signature:
                    self._users, problems = _parse(_read_checked(self.path))
                    self._signature = signature
                    for item in problems:
                        log.error("users file: %s: %s", item.field, item.problem)
            except (OSError, ConfigError) as error:
                # Fail closed: nobody gets in by a file that is gone or that anybody may write.
                if self._users or self._signature is not None:
                    log.warning("users file cannot be used, nobody can log in: %s", error)
                self._users, self._signature = {}, None
            return self._users

    # -- for people ------------------------------------------------------------------------------

    def list(self) -> dict[str, Role]:
        """Role of each name, in the file's order. Raises ConfigError when the file is faulty."""
        if not self.path.exists():
            return {}
        users, problems = _parse(_read_checked(self.path))
        if problems:
            raise ConfigError(problems)
        return {name: user.role for name, user in users.items()}

    def add(self, name: str, password: Secret, role: Role | None = None) -> bool:
        """Add a user, or change the password of one (then False). Makes the file if need be.

        `role`: a new user's is BUILDER without one; one who is there keeps his.

        Raises InvalidValueError for a wrong name or an empty password, ConfigError for a file that
        is faulty already.
        """
        user_name(name)
        if not password:
            raise InvalidValueError("the password is empty")
        hashed = self._hasher.hash(_bytes(password.reveal()))
        with self._rewriting() as lines:
            place = _place_of(name, lines)
            if place is None:
                lines.append(_line(name, _User(hashed, role or Role.BUILDER)))
            else:
                before = _user_of(lines[place]).role
                lines[place] = _line(name, _User(hashed, role or before))
        return place is None

    def change_role(self, name: str, role: Role) -> None:
        """Raises NotFoundError when there is no such user."""
        with self._rewriting() as lines:
            place = _place_of(name, lines)
            if place is None:
                raise NotFoundError("there is no such user in the users file")
            lines[place] = _line(name, _User(_user_of(lines[place]).hash, role))

    def remove(self, name: str) -> None:
        """Raises NotFoundError when there is no such user."""
        with self._rewriting() as lines:
            kept = [text for text in lines if _name_of(text) != name]
            if len(kept) == len(lines):
                raise NotFoundError("there is no such user in the users file")
            lines[:] = kept

    @contextmanager
    def _rewriting(self) -> Iterator[_Lines]:
        """The file's lines to change; written back whole, so that no reader sees half a file."""
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The directory, because the file itself is replaced while the lock is held.
            fcntl.flock(directory, fcntl.LOCK_EX)
            text = _read_checked(self.path) if self.path.exists() else ""
            _, problems = _parse(text)
            if problems:
                raise ConfigError(problems)
            lines = text.splitlines()
            yield lines
            _replace(self.path, "".join(f"{line}\n" for line in lines))
            os.fsync(directory)
        finally:
            os.close(directory)


class _VerifiedCache:
    """Remembers for a while that credentials were right, without being able to tell them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._expires: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, *parts: str) -> bytes:
        mac = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            raw = _bytes(part)
            mac.update(len(raw).to_bytes(8, "big") + raw)
        return mac.digest()

    def has(self, key: bytes) -> bool:
        with self._lock:
            return self._expires.get(key, float("-inf")) > self._clock()

    def add(self, key: bytes) -> None:
        with self._lock:
            self._expires[key] = self._clock() + CACHE_SECONDS
            self._expires.move_to_end(key)
            while len(self._expires) > MAX_CACHED:
                self._expires.popitem(last=False)


def _bytes(text: str) -> bytes:
    # RFC 8265 (OpaqueString): an "é" typed on a Mac is the same password as one typed elsewhere.
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _digest(value: bytes) -> bytes:
    # Of equal length, so that not even the length of the password shows in the time.
    return hashlib.sha256(value).digest()


def _read_checked(path: Path) -> str:
    """The text. Raises OSError, or ConfigError when others could have changed it."""
    with path.open(encoding="utf-8", errors="replace") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & 0o022:
            raise ConfigError(
                [FieldProblem(str(path), "is writable by others; run: chmod 600 on it")]
            )
        if mode & 0o044:
            log.warning("users file %s is readable by others; chmod 600 it", path)
        return file.read()


def _parse(text: str) -> tuple[dict[str, _User], list[FieldProblem]]:
    """The user of every good line, and what is wrong with the others."""
    users: dict[str, _User] = {}
    problems: list[FieldProblem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = _name_of(line)
        if name is None:
            continue
        stored, _, role = line.strip().partition(":")[2].partition(":")
        if not _NAME.fullmatch(name):
            problems.append(FieldProblem(f"line {number}", "does not begin with a user's name"))
        elif not _is_hash(stored):
            problems.append(FieldProblem(f"line {number}", "has no argon2id hash after the name"))
        elif role and role not in _ROLES:
            known = ", ".join(_ROLES)
            problems.append(FieldProblem(f"line {number}", f"ends with no role: {known}"))
        elif name in users:
            problems.append(FieldProblem(f"line {number}", "has a name that was there before"))
        else:
            users[name] = _user_of(line)
    return users, problems


def _user_of(line: str) -> _User:
    """Of a line that `_parse` found good."""
    stored, _, role = line.strip().partition(":")[2].partition(":")
    return _User(stored, Role(role) if role else UNSAID)


def _line(name: str, user: _User) -> str:
    return f"{name}:{user.hash}:{user.role.value}"


def _place_of(name: str, lines: Sequence[str]) -> int | None:
    return next((n for n, text in enumerate(lines) if _name_of(text) == name), None)


def _name_of(line: str) -> str | None:
    """The name in a line; None for comments and empty lines."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    return line.partition(":")[0]


def _is_hash(text: str) -> bool:
    try:
        return argon2.extract_parameters(text).type is argon2.Type.ID
    except InvalidHashError:
        return False


def _replace(path: Path, text: str) -> None:
    """Write `text` as `path`, mode 0600, keeping the owner of the file that was there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                before = path.stat()
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    # `sudo builder users add` must not lock the service out of its own file.
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
