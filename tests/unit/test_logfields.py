"""The process' log: text for people, JSON with what each line is about for machines, no secrets."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from builder_framework import logfields
from builder_framework.logfields import LogFormat
from tests.unit.builds_double import AUTH, BODY, PASSWORD, USER

pytest_plugins = ("tests.unit.conftest_api",)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Its handlers and level are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level
    logfields.begin()


@pytest.fixture
def written(root: logging.Logger) -> io.StringIO:
    """All that is logged from now on, as JSON."""
    stream = io.StringIO()
    logfields.install(stream, LogFormat.JSON, "DEBUG")
    return stream


def lines(written: io.StringIO, logger: str | None = None) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in found if logger in (None, line["logger"])]


@pytest.mark.parametrize(
    ("chosen", "stream", "is_json"),
    [
        (LogFormat.AUTO, Terminal(), False),
        (LogFormat.AUTO, io.StringIO(), True),
        (LogFormat.TEXT, io.StringIO(), False),
        (LogFormat.JSON, Terminal(), True),
    ],
)
def test_text_at_a_terminal_and_json_elsewhere_unless_chosen(
    root: logging.Logger, chosen: LogFormat, stream: io.StringIO, is_json: bool
) -> None:
    logfields.install(stream, chosen, "INFO")
    logging.getLogger("some.part").warning("it is %s", "late")
    text = stream.getvalue()
    assert text.startswith("{") is is_json
    assert "it is late" in text
    assert text.count("\n") == 1


def test_a_line_stays_one_whatever_it_says(written: io.StringIO) -> None:
    logging.getLogger("x").info('a\nb\x1b[31m\u2028"ü')
    try:
        int("no good")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    assert written.getvalue().isascii()
    said, failed = lines(written)
    assert said["message"] == 'a\nb\x1b[31m\u2028"ü'
    assert said["level"] == "INFO"
    assert said["time"].endswith("Z")
    assert "ValueError" in failed["exception"]


def test_each_thread_speaks_of_its_own(written: io.StringIO) -> None:
    def other() -> None:
        logfields.begin(build_id="b2")
        logging.getLogger("x").info("there")

    with logfields.about(build_id="b1"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        logging.getLogger("x").info("here")
    logging.getLogger("x").info("outside")
    about = {line["message"]: line.get("build_id") for line in lines(written, "x")}
    assert about == {"there": "b2", "here": "b1", "outside": None}


def test_a_request_is_told_with_its_id_user_route_and_build(
    http: FlaskClient, written: io.StringIO
) -> None:
    headers = {"X-Request-Id": "deploy-17.a_b"}
    answer = http.post("/api/v1/builds", auth=AUTH, json=BODY, headers=headers)
    assert answer.headers["X-Request-Id"] == "deploy-17.a_b"
    (line,) = lines(written, "api.requests")
    assert line["level"] == "INFO"
    assert line["request_id"] == "deploy-17.a_b"
    assert (line["user"], line["method"], line["route"]) == (USER, "POST", "/api/v1/builds")
    assert line["build_id"] == answer.json["id"]  # type: ignore[index]
    http.get("/api/v1/builds", auth=AUTH)
    read = lines(written, "api.requests")[-1]
    assert read["level"] == "DEBUG"
    assert "build_id" not in read


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, 'x","user":"root', "ü"])
def test_without_a_sound_id_a_request_gets_one(http: FlaskClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    first = http.get("/healthz", headers=headers).headers["X-Request-Id"]
    second = http.get("/nothing", headers=headers).headers["X-Request-Id"]
    assert len(first) == len(second) == 16
    assert first != second


def test_no_secret_gets_into_the_log(http: FlaskClient, written: io.StringIO) -> None:
    login = {"username": "u", "password": "s3cret-canary"}
    http.post("/api/v1/builds", auth=AUTH, json={**BODY, "registry_auth": login})
    http.post("/api/v1/builds?token=s3cret-canary", auth=(USER, "s3cret-canary"), json=BODY)
    http.delete("/s3cret-canary", auth=AUTH)
    assert len(lines(written, "api.requests")) == 3
    assert "s3cret-canary" not in written.getvalue()
    assert json.dumps(PASSWORD).strip('"') not in written.getvalue()
