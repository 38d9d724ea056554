"""What was encoded decodes to an equal value, and anything else is refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework import codec, protocol
from builder_framework.domain import model
from builder_framework.errors import InvalidValueError, ProtocolError
from builder_framework.protocol import BuildSpec
from tests.unit import strategies

specs = st.builds(
    BuildSpec,
    build_id=strategies.names,
    attempt=st.integers(1, 99),
    source=strategies.sources,
    images=st.lists(strategies.names, min_size=1, max_size=3).map(tuple),
    timeout=strategies.seconds,
    recipe=strategies.recipes,
)


@given(specs)
def test_a_spec_survives_the_wire(spec: BuildSpec) -> None:
    assert protocol.decode_spec(protocol.encode_spec(spec)) == spec


@given(strategies.reports)
def test_a_report_survives_the_wire(report: protocol.Report) -> None:
    assert protocol.decode_report(protocol.encode_report(report)) == report


@given(strategies.requests)
def test_a_request_survives_the_store(request: model.BuildRequest) -> None:
    assert codec.decode(model.BuildRequest, codec.encode(request)) == request


@given(st.integers(1, 999_999))
def test_a_task_id_names_build_and_attempt(attempt: int) -> None:
    build_id = model.new_build_id()
    text = model.task_id(build_id, attempt)
    assert model.parse_task_id(text) == (build_id, attempt)
    # Mesos: at most 255 bytes, no slash, no control characters (common/validation.cpp).
    assert len(text) <= 255
    assert text.isprintable()
    assert "/" not in text


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 16, "0" * 16 + ".0", "0" * 16 + ".01", "0" * 16 + ".1\n", "u" * 16 + ".1"],
)
def test_foreign_task_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        model.parse_task_id(text)


GOOD = {
    "build_id": "b",
    "attempt": 1,
    "source": {"git": {"url": "u"}},
    "images": ["i"],
    "timeout": 1.5,
}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"attempt": "1"}, "BuildSpec.attempt: expected int"),
        ({"attempt": True}, "BuildSpec.attempt: expected int"),
        ({"images": "i"}, "BuildSpec.images: expected a list"),
        ({"source": {"git": {}}}, "missing field 'url'"),
        (
            {"source": {"git": {"url": "u", "password": 5}}},
            "BuildSpec.source.git.password: expected a string",
        ),
        ({"version": 99}, "protocol version 99"),
    ],
)
def test_a_foreign_spec_is_refused_by_name(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint.replace(".", r"\.")):
        protocol.decode_spec(json.dumps(GOOD | changes).encode())


def test_a_refusal_does_not_show_the_value() -> None:
    """The value may be the password that somebody put into the wrong field."""
    with pytest.raises(ProtocolError) as caught:
        protocol.decode_spec(json.dumps(GOOD | {"timeout": "hunter2"}).encode())
    assert "hunter2" not in str(caught.value)
