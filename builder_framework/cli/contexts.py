"""Servers by name, in `~/.config/builder/config.toml`, with where their passwords are.

    current = "work"

    [contexts.work]
    url = "https://builder.example.org"
    username = "ann"
    password_command = ["pass", "show", "builder"]

In place of `password_command`: `password_file`, which nobody else may read, or `token_command` or
`token_file`. The directory is `$XDG_CONFIG_HOME/builder` where that is set (XDG Base Directory).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click

from builder_framework.redact import Secret

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMAND_SECONDS = 120.0
"""That a password command may take; it may ask somebody."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Context:
    """A server and who one is there. Files and commands give a password or a token."""

    url: str
    username: str | None = None
    password_command: tuple[str, ...] | None = None
    password_file: str | None = None
    token_command: tuple[str, ...] | None = None
    token_file: str | None = None

    def password(self) -> Secret | None:
        """Raises click.UsageError."""
        return _secret(self.password_command, self.password_file)

    def token(self) -> Secret | None:
        """Raises click.UsageError."""
        return _secret(self.token_command, self.token_file)


@dataclass(frozen=True)
class Contexts:
    """What the file says. `current`: the name of the one that is used."""

    current: str | None = None
    contexts: Mapping[str, Context] = field(default_factory=dict)

    def chosen(self, name: str | None = None) -> Context | None:
        """By its name, by BUILDER_CONTEXT, or the current one. Raises click.UsageError."""
        name = name or os.environ.get("BUILDER_CONTEXT") or self.current
        if not name:
            return None
        if name not in self.contexts:
            raise click.UsageError(f"there is no context {name!r}: builder context list")
        return self.contexts[name]


def folder() -> Path:
    """Where the file is, and what `builder context add` keeps beside it."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "builder"


def load() -> Contexts:
    """The file's contexts; none without a file. Raises click.UsageError."""
    path = folder() / "config.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    unknown = set(found) - {"current", "contexts"}
    contexts = found.get("contexts", {})
    if unknown or not isinstance(contexts, dict):
        raise click.UsageError(f"{path}: has something else than current and [contexts.NAME]")
    current = found.get("current")
    if current is not None and not isinstance(current, str):
        raise click.UsageError(f"{path}: current must be the name of a context")
    return Contexts(current, {name: _context(path, name, each) for name, each in contexts.items()})


def save(contexts: Contexts) -> None:
    """Write the file anew. Raises click.UsageError."""
    lines = [] if contexts.current is None else [f"current = {json.dumps(contexts.current)}", ""]
    for name, context in contexts.contexts.items():
        lines.append(f"[contexts.{json.dumps(name)}]")
        told = {key: value for key, value in asdict(context).items() if value is not None}
        # JSON's strings and lists are TOML's, too.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in told.items()]
        lines.append("")
    write(folder() / "config.toml", "\n".join(lines))


def write(path: Path, text: str) -> None:
    """A file that is for nobody else, whole or not at all. Raises click.UsageError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new.touch(mode=0o600)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


def check_name(name: str) -> str:
    """`name` itself. Raises click.UsageError."""
    if not _NAME.fullmatch(name):
        raise click.UsageError("a context's name is 1 to 64 of A-Za-z0-9._-")
    return name


_LISTS = frozenset({"password_command", "token_command"})


def _context(path: Path, name: str, told: Any) -> Context:
    where = f"{path}: contexts.{name}"
    known = [each.name for each in fields(Context)]
    if not isinstance(told, dict) or not isinstance(told.get("url"), str):
        raise click.UsageError(f"{where}: url is missing")
    if unknown := sorted(set(told) - set(known)):
        raise click.UsageError(f"{where}: unknown {unknown[0]!r}; known are {', '.join(known)}")
    for key, value in told.items():
        if key in _LISTS:
            words = isinstance(value, list) and all(isinstance(each, str) for each in value)
            if not value or not words:
                raise click.UsageError(f'{where}: {key} must be a list like ["pass", "show", "x"]')
            told[key] = tuple(value)
        elif not isinstance(value, str):
            raise click.UsageError(f"{where}: {key} must be a string")
    return Context(**told)


def _secret(command: tuple[str, ...] | None, file: str | None) -> Secret | None:
    if command is not None:
        return Secret(_output(command))
    return None if file is None else Secret(_private(Path(file).expanduser()))


def _output(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise click.UsageError(f"the command for the password ({command[0]}): {error}") from None
    return _one_line(done.stdout, command[0])


def _private(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise click.UsageError(f"{path} can be read by others: chmod 600 {path}")
        return _one_line(path.read_bytes(), str(path))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None


def _one_line(raw: bytes, where: str) -> str:
    """The first line, as `pass` and the like have it."""
    try:
        text = raw.decode("utf-8").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError:
        raise click.UsageError(f"{where}: not UTF-8 text") from None
    if not text:
        raise click.UsageError(f"{where}: gave no password")
    return text
