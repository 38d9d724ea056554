"""Fixtures of the API's and the command line's tests. Point `builds` at another implementation
of `ports.Builds` to run them against it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from api import create_app
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.users import SingleUser
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.conformance import Conformance


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy()


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def app(builds: MemoryBuilds, policy: RequestPolicy) -> Flask:
    return create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), policy, keepalive=0.05)


@pytest.fixture(autouse=True)
def conformance(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test asks for: every answer is what the document says."""
    if "app" not in request.fixturenames:
        yield
        return
    looks = Conformance(request.getfixturevalue("app"))
    yield
    looks.end()
    assert looks.faults == []


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    """A client without credentials; pass `auth=AUTH`."""
    return app.test_client()


@pytest.fixture
def server(app: Flask) -> Iterator[str]:
    """The app on loopback, one thread a connection; its URL."""
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()
