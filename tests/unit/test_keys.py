"""The key of the database's secrets: from a setting, or from a file that is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder_framework import keys, seal
from builder_framework.config import Storage
from builder_framework.errors import ConfigError
from builder_framework.redact import Secret
from builder_framework.store import seals
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER, TEST_KEY
from tests.unit.waiting import until

SERVER = "postgresql://builder@db/builder"


def beside(directory: Path, key: str | None = None) -> Storage:
    """SQLite in the directory."""
    return Storage(f"sqlite:///{directory / 'builder.db'}", directory, Secret(key) if key else None)


def problem(caught: pytest.ExceptionInfo[ConfigError]) -> tuple[str, str]:
    (told,) = caught.value.problems
    return told.field, told.problem


def test_the_first_start_makes_a_key_for_its_owner_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = keys.sealer_at_start(beside(tmp_path))
    file = tmp_path / keys.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [keys.FILE]
    assert "keep a copy of it" in caplog.text
    assert file.read_text().strip() not in caplog.text
    caplog.clear()
    assert keys.sealer_at_start(beside(tmp_path)).key_ids == first.key_ids
    assert caplog.text == ""


def test_processes_that_start_at_once_use_one_key(tmp_path: Path) -> None:
    for number in range(20):
        directory = tmp_path / str(number)
        directory.mkdir()
        with ThreadPoolExecutor(8) as pool:
            starts = [pool.submit(keys.sealer_at_start, beside(directory)) for _ in range(8)]
        assert len({start.result().key_ids for start in starts}) == 1
        assert [path.name for path in directory.iterdir()] == [keys.FILE]


def test_the_setting_wins_and_no_file_is_made(tmp_path: Path) -> None:
    storage = beside(tmp_path, f"{TEST_KEY.hex()},{bytes(32).hex()}")
    assert keys.sealer_at_start(storage).key_ids[0] == SEALER.key_ids[0]
    assert keys.sealer(storage).key_ids == keys.sealer_at_start(storage).key_ids
    assert list(tmp_path.iterdir()) == []


def test_the_file_may_hold_several_keys(tmp_path: Path) -> None:
    (tmp_path / keys.FILE).write_text(f"{seal.new_key()},\n{TEST_KEY.hex()}\n")
    assert keys.sealer(beside(tmp_path)).key_ids[1] == SEALER.key_ids[0]


def test_no_key_is_made_for_a_database_that_needs_another(tmp_path: Path) -> None:
    """A restored backup, or a file that was deleted: a new key would open nothing."""
    SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER).close()
    with pytest.raises(ConfigError) as caught:
        keys.sealer_at_start(beside(tmp_path))
    field, told = problem(caught)
    file = tmp_path / keys.FILE
    assert field == "secret_key"
    assert f"are sealed with key {SEALER.key_ids[0]}, and there is no {file}: put it back" in told
    assert not file.exists()


def test_tools_make_no_key(tmp_path: Path) -> None:
    assert keys.found(beside(tmp_path)) is None
    with pytest.raises(ConfigError) as caught:
        keys.sealer(beside(tmp_path))
    assert problem(caught)[0] == "secret_key"
    assert str(tmp_path / keys.FILE) in problem(caught)[1]
    assert list(tmp_path.iterdir()) == []


def test_a_server_takes_its_key_from_the_setting_only(tmp_path: Path) -> None:
    """Processes on other machines would not find a file."""
    (tmp_path / keys.FILE).write_text(seal.new_key())
    for start in (keys.sealer, keys.sealer_at_start):
        with pytest.raises(ConfigError, match="must be set with PostgreSQL"):
            start(Storage(SERVER, tmp_path, None))
    assert keys.found(Storage(SERVER, tmp_path, None)) is None
    assert keys.sealer_at_start(Storage(SERVER, tmp_path, Secret(TEST_KEY.hex()))).key_ids


@pytest.mark.parametrize("text", ["", "hunter2", "ключ"])
def test_what_is_no_key_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / keys.FILE
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        keys.sealer_at_start(beside(tmp_path))
    assert problem(caught)[0] == str(file)
    assert "hunter2" not in problem(caught)[1]
    with pytest.raises(ConfigError) as caught:
        keys.sealer(beside(tmp_path, "hunter2"))
    assert problem(caught)[0] == "secret_key"
    assert "hunter2" not in problem(caught)[1]


def test_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / keys.FILE
    file.write_text(seal.new_key())
    file.chmod(0o644)
    keys.sealer(beside(tmp_path))
    assert f"{file} can be read by others" in caplog.text


def test_a_place_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        keys.sealer_at_start(beside(tmp_path / "missing"))
    (tmp_path / keys.FILE).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.sealer(beside(tmp_path))


def test_a_start_that_is_broken_off_leaves_no_half_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left"):
            keys.sealer_at_start(beside(tmp_path))
    assert list(tmp_path.iterdir()) == []
    keys.sealer_at_start(beside(tmp_path))


# -- a whole process ---------------------------------------------------------------------------


def serve(data_dir: Path) -> subprocess.Popen[str]:
    """`builder serve` with a master that is not there."""
    settings = {
        "BUILDER_MESOS_MASTER": "127.0.0.1:9",
        "BUILDER_EXECUTOR_IMAGE": "registry.example.org/builder-executor:1",
        "BUILDER_USERNAME": "ann",
        "BUILDER_PASSWORD": "hunter2-hunter2",
        "BUILDER_HTTP_PORT": "0",
        "BUILDER_DATA_DIR": str(data_dir),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "builder_framework"],
        env=kept | settings,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_makes_its_key_and_refuses_to_start_without_it_later(tmp_path: Path) -> None:
    """With the exit code that tells Marathon and people that settings are wrong."""
    process = serve(tmp_path)
    until(lambda: seals.key_needed(beside(tmp_path).url) is not None, 60.0)
    process.terminate()
    process.communicate(timeout=60)
    (needed,) = keys.sealer(beside(tmp_path)).key_ids
    (tmp_path / keys.FILE).unlink()
    process = serve(tmp_path)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 78
    assert f"secret_key: secrets of the database are sealed with key {needed}" in told
    assert list(tmp_path.glob("*.key")) == []
