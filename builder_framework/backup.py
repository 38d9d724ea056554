"""Copies of the database, made while it is in use, and the way back."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import sqlalchemy as sa

from builder_framework.election.database import DatabaseElection
from builder_framework.election.file import FileElection
from builder_framework.errors import BackupError
from builder_framework.store import engine
from builder_framework.store import tables as t

_VERSION = "alembic_version"


def backup(url: str, file: Path) -> None:
    """Copy one consistent state into a new file. Raises BackupError, ConfigError."""
    if file.exists():
        raise BackupError(f"{file} exists already: choose another name")
    parsed = engine.parse(url)
    path = engine.sqlite_file(parsed)
    with _new_file(file) as part:
        if path is None:
            words = ["--format=custom", "--no-owner", "--no-privileges", f"--file={part}"]
            _run("pg_dump", words, parsed)
        else:
            _copy(path, part)


def restore(url: str, data_dir: Path, file: Path, *, force: bool) -> None:
    """Make a backup the database. `force`: in place of the one that is there.

    Raises BackupError, also while a framework leads; ConfigError.
    """
    parsed = engine.parse(url)
    path = engine.sqlite_file(parsed)
    if not file.is_file():
        raise BackupError(f"there is no file {file}")
    if path is None:
        _restore_server(parsed, file, force=force)
    else:
        _restore_file(path, data_dir, file, force=force)


# -- SQLite ------------------------------------------------------------------------------------


def _copy(source: Path, target: Path) -> None:
    """Raises BackupError when the copy is not a whole database of ours."""
    with _told(source):
        if not source.exists():
            raise BackupError(f"there is no database {source}")
        uri = f"{source.absolute().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            # One file, without a log of writes beside it.
            new.execute("PRAGMA journal_mode=DELETE")
            (state,) = new.execute("PRAGMA integrity_check").fetchone()
            if state != "ok":
                raise BackupError(f"{source} is damaged: {state}")
            (known,) = new.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = ?", (_VERSION,)
            ).fetchone()
            if not known:
                raise BackupError(f"{source} is no database of this program")


def _restore_file(path: Path, data_dir: Path, file: Path, *, force: bool) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    election = FileElection(data_dir)
    if not election.attempt():
        raise BackupError(f"a framework runs on {data_dir}: stop it first")
    try:
        if path.exists() and not force:
            raise BackupError(f"{path} exists: give --force to replace it")
        with _new_file(path) as part:
            _copy(file, part)
            _raise_token(part)
            _put_away(path)
    finally:
        election.resign()


def _raise_token(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'leadership'"
        if made.execute(tables).fetchone() != (0,):
            made.execute(_next_token())


def _put_away(path: Path) -> None:
    """Keep the database that is replaced as `NAME.replaced`; its name goes to the new one next."""
    if not path.exists():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as old:
        # A damaged one may refuse; then its log of writes is kept beside it.
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = path.with_name(f"{path.name}.replaced")
    for rest in ("", "-wal", "-shm"):
        kept.with_name(kept.name + rest).unlink(missing_ok=True)
    for rest in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + rest).rename(kept.with_name(kept.name + rest))
    # No moment without a database of that name: a framework would start with an empty one.
    kept.hardlink_to(path)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be copied: {error}") from None


# -- PostgreSQL --------------------------------------------------------------------------------


def _restore_server(url: sa.URL, file: Path, *, force: bool) -> None:
    election = DatabaseElection(engine.libpq(url))
    try:
        if not election.attempt() or _in_use(url):
            raise BackupError("framework processes use this database: stop all of them first")
        if _has_builds(url) and not force:
            raise BackupError("the database has builds: give --force to replace them")
        with tempfile.TemporaryDirectory() as directory:
            script = Path(directory) / "restore.sql"
            _run("pg_restore", ["--no-owner", "--no-privileges", f"--file={script}", str(file)])
            names = ", ".join([*t.metadata.tables, _VERSION])
            after = (
                "RESET search_path; DO $$ BEGIN IF to_regclass('leadership') IS NOT NULL "
                f"THEN {_next_token()}; END IF; END $$"
            )
            steps = [f"--command=DROP TABLE IF EXISTS {names} CASCADE", f"--file={script}"]
            settings = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
            _run("psql", [*settings, "--single-transaction", *steps, f"--command={after}"], url)
    except psycopg.Error as error:
        raise BackupError(f"the database does not answer: {engine.cause(error)}") from None
    finally:
        election.resign()


def _in_use(url: sa.URL) -> bool:
    """Whether processes of ours are connected, besides the session that asks for the lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = %s"
    )
    with psycopg.connect(engine.libpq(url), connect_timeout=10) as connection:
        row = connection.execute(query, (engine.APPLICATION,)).fetchone()
    return row is not None and row[0] > 1


def _has_builds(url: sa.URL) -> bool:
    with psycopg.connect(engine.libpq(url), connect_timeout=10) as connection:
        row = connection.execute("SELECT to_regclass('builds') IS NOT NULL").fetchone()
    return bool(row and row[0])


def _run(program: str, words: list[str], url: sa.URL | None = None) -> None:
    """Run one of PostgreSQL's programs; the password stands in no argument."""
    if shutil.which(program) is None:
        raise BackupError(
            f"{program} is not installed: install the PostgreSQL client of the server's version "
            "(Debian: postgresql-client), or use your server's own backups"
        )
    environment = dict(os.environ)
    if url is not None:
        words = [*words, f"--dbname={engine.libpq(url.set(password=None))}"]
        if url.password is not None:
            environment["PGPASSWORD"] = str(url.password)
    done = subprocess.run(
        [program, *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise BackupError(f"{program} failed: {lines[0]}")


# -- both --------------------------------------------------------------------------------------


def _next_token() -> str:
    # A process that was stopped may have a token that was given after the backup. Nobody is
    # elected more than once a second, so the clock is ahead of all of them.
    now = int(time.time())
    return f"UPDATE leadership SET token = {now} WHERE token > 0 AND token < {now}"  # noqa: S608 (a number)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file for the owner only (it holds secrets) that gets its name when it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
