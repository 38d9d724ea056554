"""The framing of event streams, which both sides of the framework read."""

from __future__ import annotations

import pytest

from builder_framework.recordio import RecordReader


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_records_in_pieces_of_any_size(size: int) -> None:
    records = [b"{}", b"", b'{"a": "\\n5\\n"}', b"x" * 300]
    stream = b"".join(b"%d\n%s" % (len(record), record) for record in records)
    reader = RecordReader()
    found = [r for at in range(0, len(stream), size) for r in reader.feed(stream[at : at + size])]
    assert found == records


@pytest.mark.parametrize(
    "garbage", [b"x\n", b"-1\n", b"1.5\n", b"\n", b"9" * 19 + b"\n", b"a" * 20]
)
def test_a_stream_out_of_step_is_noticed(garbage: bytes) -> None:
    """P28: it stayed connected and deaf."""
    with pytest.raises(ValueError, match="record"):
        list(RecordReader().feed(garbage))


def test_a_record_beyond_the_limit_is_refused_before_it_is_read() -> None:
    reader = RecordReader(limit=5)
    assert list(reader.feed(b"5\nabcde")) == [b"abcde"]
    with pytest.raises(ValueError, match="not the length"):
        list(reader.feed(b"6\n"))
