"""`builder db` finds the framework's database by itself, and its exit codes serve scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builder_framework import keys, seal
from builder_framework.cli import exits
from builder_framework.cli.commands import cli
from builder_framework.election.file import FileElection
from builder_framework.seal import Sealer
from builder_framework.store.sql import SqlStore
from tests.contract.test_sealed import stored
from tests.sealing import SEALER, TEST_KEY

Run = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / keys.FILE).write_text(TEST_KEY.hex())
    (made / keys.FILE).chmod(0o600)
    monkeypatch.setenv("BUILDER_DATA_DIR", str(made))
    return made


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(cli, ["db", *map(str, words)])


def test_back_up_lose_and_restore(data_dir: Path, tmp_path: Path, run: Run) -> None:
    path, file = data_dir / "builder.db", tmp_path / "backup.db"
    SqlStore(f"sqlite:///{path}", SEALER).close()
    assert run("backup", file).exit_code == exits.SUCCEEDED
    path.unlink()
    assert run("check").exit_code == exits.SERVER
    assert run("restore", file).exit_code == exits.SUCCEEDED
    checked = run("check")
    assert checked.exit_code == exits.SUCCEEDED
    assert "schema 0008\n" in checked.stdout
    assert "rows builds 0\n" in checked.stdout


def test_check_lists_problems_and_fails(data_dir: Path, run: Run) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}", SEALER).close()
    other = sqlite3.connect(data_dir / "builder.db")
    with other:
        other.execute("INSERT INTO build_images VALUES ('lost', 'app:1', 1)")
    other.close()
    checked = run("check")
    assert checked.exit_code == exits.FAILED
    assert "problem: build_images has rows of lost, which is not in builds\n" in checked.stdout


def test_refusals_say_what_to_do(data_dir: Path, tmp_path: Path, run: Run) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}", SEALER).close()
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
    SqlStore(f"sqlite:///{path}", SEALER).close()
    settings = tmp_path / "builder.toml"
    settings.write_text(f'database_url = "sqlite:///{path}"\nsecret_key = "{TEST_KEY.hex()}"\n')
    assert run("check", "--config", settings).exit_code == exits.SUCCEEDED


def test_an_unsupported_database_is_refused_by_name(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDER_DATABASE_URL", "mysql://root:secret@db/builder")
    refused = run("check")
    assert refused.exit_code == exits.SERVER
    assert "mysql is not supported" in refused.stderr
    assert "secret" not in refused.output


# -- the key -----------------------------------------------------------------------------------


def test_a_new_key_is_what_the_setting_takes(run: Run) -> None:
    printed = [run("key").stdout for _ in range(2)]
    assert printed[0] != printed[1]
    assert seal.parse(printed[0]).key_ids


def test_a_key_is_changed_in_three_steps(
    data_dir: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New beside old, everything sealed anew, the old one left out; `check` tells which is used."""
    url = f"sqlite:///{data_dir / 'builder.db'}"
    store = SqlStore(url, SEALER)
    store.lead("here", None)
    builds = stored(store, "a", "b")
    new = run("key").stdout.strip()
    monkeypatch.setenv("BUILDER_SECRET_KEY", f"{new},{TEST_KEY.hex()}")
    assert f"sealed with {SEALER.key_ids[0]} 12\n" in run("check").stdout
    sealed = run("reseal")
    assert sealed.exit_code == exits.SUCCEEDED
    tables = {"builds": 2, "deliveries": 4, "idempotency_keys": 2, "credentials": 2}
    assert sealed.stdout == "".join(f"sealed {name} {count}\n" for name, count in tables.items())
    (key,) = seal.parse(new).key_ids
    assert f"everything is sealed with key {key}" in sealed.stderr
    monkeypatch.setenv("BUILDER_SECRET_KEY", new)
    checked = run("check")
    assert (checked.exit_code, f"sealed with {key} 12\n" in checked.stdout) == (0, True)
    store.close()
    again = SqlStore(url, seal.parse(new))
    assert again.unfinished() == builds
    again.close()


def test_without_its_key_a_database_is_checked_but_not_sealed_anew(
    data_dir: Path, run: Run
) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}", SEALER).close()
    (data_dir / keys.FILE).unlink()
    checked = run("check")
    assert checked.exit_code == exits.FAILED
    assert f"are sealed with key {SEALER.key_ids[0]}, and there is none here" in checked.stdout
    refused = run("reseal")
    assert (refused.exit_code, "give the framework's key" in refused.stderr) == (
        exits.SERVER,
        True,
    )
    assert not (data_dir / keys.FILE).exists()


def test_nothing_is_made_where_no_database_is(data_dir: Path, run: Run) -> None:
    refused = run("reseal")
    assert (refused.exit_code, "there is no database" in refused.stderr) == (exits.SERVER, True)
    assert not (data_dir / "builder.db").exists()


@pytest.mark.parametrize("key", [None, bytes(32).hex()])
def test_a_backup_that_needs_another_key_is_told_when_it_is_restored(
    data_dir: Path, tmp_path: Path, run: Run, key: str | None
) -> None:
    """Not first by the framework that does not start."""
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}", SEALER).close()
    file = tmp_path / "backup.db"
    run("backup", file)
    with_key = run("restore", file, "--force")
    assert "sealed with key" not in with_key.stderr
    if key is None:
        (data_dir / keys.FILE).unlink()
    else:
        (data_dir / keys.FILE).write_text(key)
    restored = run("restore", file, "--force")
    assert restored.exit_code == exits.SUCCEEDED
    (needed,) = SEALER.key_ids
    assert f"its secrets are sealed with key {needed}, which is not here" in restored.stderr


def test_a_backup_holds_no_key(data_dir: Path, tmp_path: Path, run: Run) -> None:
    store = SqlStore(f"sqlite:///{data_dir / 'builder.db'}", SEALER)
    store.lead("here", None)
    stored(store, "a")
    store.close()
    file = tmp_path / "backup.db"
    run("backup", file)
    assert TEST_KEY not in file.read_bytes()
    assert TEST_KEY.hex().encode() not in file.read_bytes()
    assert b"password of" not in file.read_bytes()


def test_what_is_no_key_is_refused_without_being_shown(
    data_dir: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqlStore(f"sqlite:///{data_dir / 'builder.db'}", Sealer([TEST_KEY])).close()
    monkeypatch.setenv("BUILDER_SECRET_KEY", "hunter2")
    for command in ("check", "reseal"):
        refused = run(command)
        assert refused.exit_code == exits.SERVER
        assert "secret_key" in refused.stderr
        assert "hunter2" not in refused.output
