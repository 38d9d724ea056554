"""A build's log holds whole, clean, redacted lines, and never more than its cap."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.redact import MASK, Secret
from executor.log import BuildLog, LineSplitter, RedactingFormatter

SECRET = Secret("canary-s3cret")


def lines(splitter: LineSplitter, *chunks: bytes) -> list[str]:
    found = [line.text for chunk in chunks for line in splitter.feed(chunk)]
    return found + [line.text for line in splitter.end()]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_chunks_do_not_matter(data: bytes, cuts: list[int]) -> None:
    data = data.replace(b"\r", b"")  # a CR LF cut in two is two ends of a line
    ends = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(ends) if a <= b]
    assert lines(LineSplitter(), *pieces) == lines(LineSplitter(), data)


def test_odd_bytes_are_replaced() -> None:
    assert lines(LineSplitter(), b"a\0b\xff\r\nover\rwritten\n") == [
        "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}",
        "over",
        "written",
    ]


def log_of(path: Path, data: bytes, step: int = 7, **limits: int) -> str:
    log = BuildLog(path, [SECRET], **limits)
    with log.stream() as sink:
        for start in range(0, len(data), step):
            sink(data[start : start + step])
    log.close()
    return path.read_text()


def test_secrets_are_masked_across_chunks(tmp_path: Path) -> None:
    text = log_of(tmp_path / "log", b"a canary-s3cret b https://u:pw@host/x\ncanary-s3cret", step=5)
    assert text == f"a {MASK} b https://{MASK}@host/x\n{MASK}\n"


@pytest.mark.parametrize("before", range(140))
def test_no_part_of_a_secret_survives_a_cut(tmp_path: Path, before: int) -> None:
    """Wherever the line is cut, the beginning of a secret does not stay at its end."""
    data = b"x" * before + b"canary-s3cret" + b"y" * 300 + b"\nnext\n"
    text = log_of(tmp_path / "log", data, max_line=100)
    assert set(text.partition(" [")[0]) <= set(f"x{MASK}y")
    assert "bytes of this line left out]\nnext\n" in text
    assert max(map(len, text.splitlines())) < 200


def test_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    """Where a flood is cut it says so, and the last lines, with the error, are there."""
    data = b"".join(b"line %d\n" % number for number in range(10_000)) + b"the error\n"
    text = log_of(tmp_path / "log", data, step=1000, max_log=4000, tail=1000)
    assert len(text) < 4100
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 9999\nthe error\n")
    assert text.count(" bytes of the log left out]\n") == 1


def test_lines_are_there_while_it_grows(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "log", [SECRET])
    log.line("one\ntwo canary-s3cret")
    assert (tmp_path / "log").read_text() == f"one\ntwo {MASK}\n"
    heard: list[str] = []
    with log.stream(heard.append) as sink:
        sink(b"three\nfo")
        assert (tmp_path / "log").read_text().endswith("three\n")
        sink(b"ur canary-s3cret")
    log.close()
    log.close()
    log.line("too late")
    assert heard == ["three", f"four {MASK}"]
    assert (tmp_path / "log").read_text().endswith(f"three\nfour {MASK}\n")


def test_a_full_disk_does_not_end_the_build() -> None:
    """/dev/full answers ENOSPC to every write."""
    log = BuildLog(Path("/dev/full"))
    log.line("lost")
    log.close()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    (tmp_path / "log").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        os.close(BuildLog(tmp_path / "log")._file or -1)


def test_the_executors_own_log_knows_every_tasks_secrets() -> None:
    formatter = RedactingFormatter()
    formatter.protect([SECRET])
    formatter.protect([Secret("another-one")])
    record = logging.LogRecord("x", logging.INFO, "", 1, "canary-s3cret %s", ("another-one",), None)
    assert formatter.format(record).endswith(f"x: {MASK} {MASK}")


def test_a_build_cannot_speak_for_its_builder(tmp_path: Path) -> None:
    """What follows a lone CR is shown, but not taken for a line of BuildKit's."""
    log = BuildLog(tmp_path / "log")
    heard: list[str] = []
    with log.stream(heard.append) as sink:
        for piece in (
            b"#7 0.1 working\r#7 ERROR: no space le",
            b"ft on device\r",
            b"x\n#7 DONE\r\n#8",
        ):
            sink(piece)
    log.close()
    assert heard == ["#7 0.1 working", "#7 DONE", "#8"]
    assert "#7 ERROR: no space left on device\n" in (tmp_path / "log").read_text()


FLOOD = """
import resource, sys
from pathlib import Path
from executor.log import BuildLog
from executor.stream import NEW_BUILD, fold_build

path, piece, times = Path(sys.argv[1]), eval(sys.argv[2]), int(sys.argv[3])
state = NEW_BUILD
def fold(line):
    global state
    state = fold_build(state, line)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
log = BuildLog(path, max_log=1 << 20, tail=1 << 18)
before = peak()
with log.stream(fold) as sink:
    for _ in range(times):
        sink(piece)
    sink(b"\\nthe error\\n")
log.close()
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("piece", "times"),
    [
        ("b'x' * 65536", 2000),
        ("b'#7 0.1 ' + b'x' * 65500 + b'\\n'", 500),
        ("b'ab\\n' * 2000", 250),
        ("b'\\r#9 x' * 2000", 250),
    ],
    ids=["one line", "long lines", "short lines", "overwritten lines"],
)
def test_a_flood_takes_no_memory(tmp_path: Path, piece: str, times: int) -> None:
    """Each would take 18 MiB and more if it were kept. The figure is the growth of the peak."""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", FLOOD, str(path), piece, str(times)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 15
    assert path.stat().st_size <= (1 << 20) + 1000
    assert path.read_text().endswith("the error\n")
