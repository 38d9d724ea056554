"""`builder db` finds the framework's database by itself, and its exit codes serve scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builder_framework.cli import exits
from builder_framework.cli.commands import cli
from builder_framework.election.file import FileElection
from builder_framework.store.sql import SqlStore

Run = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    monkeypatch.setenv("BUILDER_DATA_DIR", str(made))
    return made


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(cli, ["db", *map(str, words)])


def test_back_up_lose_and_restore(data_dir: Path, tmp_path: Path, run: Run) -> None:
    path, file = data_dir / "builder.db", tmp_path / "backup.db"
    SqlStore(f"sqlite:///{path}").close()
    assert run("backup", file).exit_code == exits.SUCCEEDED
    path.unlink()
    assert run("check").exit_code == exits.SERVER
    assert run("restore", file).exit_code == exits.SUCCEEDED
    checked = run("check")
    assert checked.exit_code == exits.SUCCEEDED
    assert "schema 0003\n" in checked.stdout
    assert "rows builds 0\n" in checked.stdout


def test_check_lists_problems_and_fails(data_dir: Path, run: Run) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}").close()
    other = sqlite3.connect(data_dir / "builder.db")
    with other:
        other.execute("INSERT INTO build_images VALUES ('lost', 'app:1')")
    other.close()
    checked = run("check")
    assert checked.exit_code == exits.FAILED
    assert "problem: build_images has rows of lost, which is not in builds\n" in checked.stdout


def test_refusals_say_what_to_do(data_dir: Path, tmp_path: Path, run: Run) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}").close()
    file = tmp_path / "backup.db"
    run("backup", file)
    again = run("backup", file)
    assert (again.exit_code, "choose another name" in again.stderr) == (exits.SERVER, True)
    unasked = run("restore", file)
    assert (unasked.exit_code, "--force" in unasked.stderr) == (exits.SERVER, True)
    leader = FileElection(data_dir)
    assert leader.attempt()
    led = run("restore", file, "--force")
    assert (led.exit_code, "stop it first" in led.stderr) == (exits.SERVER, True)
    leader.resign()
    assert run("restore", file, "--force").exit_code == exits.SUCCEEDED


def test_the_settings_file_names_the_database(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUILDER_DATA_DIR", raising=False)
    path = tmp_path / "elsewhere.db"
    SqlStore(f"sqlite:///{path}").close()
    settings = tmp_path / "builder.toml"
    settings.write_text(f'database_url = "sqlite:///{path}"\n')
    assert run("check", "--config", settings).exit_code == exits.SUCCEEDED


def test_an_unsupported_database_is_refused_by_name(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDER_DATABASE_URL", "mysql://root:secret@db/builder")
    refused = run("check")
    assert refused.exit_code == exits.SERVER
    assert "mysql is not supported" in refused.stderr
    assert "secret" not in refused.output
