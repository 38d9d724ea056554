"""Where the key comes from that seals secrets in the database: a setting, or a file beside SQLite.

The file holds what the setting would: keys with commas between them, the newest first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path

from builder_framework import seal
from builder_framework.config import Storage
from builder_framework.errors import ConfigError, FieldProblem, InvalidValueError
from builder_framework.seal import Sealer
from builder_framework.store import engine, seals

log = logging.getLogger(__name__)

FILE = "secret.key"
"""Name of the key's file in `data_dir`."""

_SETTING = "secret_key"


def found(storage: Storage) -> Sealer | None:
    """The keys that are there, None when there are none. Raises ConfigError for what is no key."""
    if storage.key is not None:
        return _parsed(_SETTING, storage.key.reveal())
    path = storage.data_dir / FILE
    text = _read(path) if _beside(storage) else None
    return None if text is None else _parsed(str(path), text)


def sealer(storage: Storage) -> Sealer:
    """The keys that are there. Raises ConfigError, also when there are none."""
    there = found(storage)
    if there is not None:
        return there
    if _beside(storage):
        path = storage.data_dir / FILE
        raise _problem(_SETTING, f"is not set, and there is no {path}: give the framework's key")
    raise _problem(_SETTING, "must be set with PostgreSQL: give the framework's key")


def sealer_at_start(storage: Storage) -> Sealer:
    """Like `sealer`; makes the key's file for a SQLite database that has sealed nothing yet.

    Raises ConfigError, StoreUnavailableError.
    """
    path = storage.data_dir / FILE
    if storage.key is None and _beside(storage) and not path.exists():
        _check_unsealed(storage, path)
        _make(path)
        log.warning("made %s, which opens the secrets in the database: keep a copy of it", path)
    return sealer(storage)


def _beside(storage: Storage) -> bool:
    """Whether the database is a file of this machine."""
    return engine.sqlite_file(engine.parse(storage.url)) is not None


def _check_unsealed(storage: Storage, path: Path) -> None:
    """A new key opens nothing that is sealed: better to say which one is missing."""
    needed = seals.key_needed(storage.url)
    if needed is not None:
        raise _problem(
            _SETTING,
            f"secrets of the database are sealed with key {needed}, and there is no {path}: "
            "put it back",
        )


def _read(path: Path) -> str | None:
    """What the file holds, None when there is none. Raises ConfigError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _problem(str(path), f"cannot be read: {error.strerror}") from None
    if mode & 0o077:
        log.warning("%s can be read by others than its owner: `chmod 600` it", path)
    return text


def _make(path: Path) -> None:
    """A new key, on disk before it is used; another process's, if that was faster.

    Raises ConfigError.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{seal.new_key()}\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike rename, it never takes the place of a key that is there.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(part)
        _sync(path.parent)
    except OSError as error:
        raise _problem(str(path), f"cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parsed(field: str, text: str) -> Sealer:
    try:
        return seal.parse(text)
    except InvalidValueError as error:
        raise _problem(field, error.message) from None


def _problem(field: str, problem: str) -> ConfigError:
    return ConfigError([FieldProblem(field, problem)])
