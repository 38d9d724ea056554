"""Who may see and do what on the pages; sessions, forms and their tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app, schemas
from api.sessions import Sessions
from builder_framework.domain.access import Role
from builder_framework.people import People, TokenWish, new_token
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import UserFile
from tests.sealing import SEALER
from tests.unit.builds_double import BODY, PASSWORD, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

BUILD = "/ui/builds/<build_id>"

# The least role that a page takes: for a build of one's own, and for somebody else's.
MATRIX: dict[tuple[str, str], tuple[Role, Role]] = {
    ("GET", "/"): (Role.NONE, Role.NONE),
    ("POST", "/ui/logout"): (Role.NONE, Role.NONE),
    ("GET", "/ui/<path:rest>"): (Role.NONE, Role.NONE),
    ("GET", "/ui/"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/ui/queue"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/ui/agents"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/ui/charts"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/ui/submit"): (Role.BUILDER, Role.BUILDER),
    ("POST", "/ui/submit"): (Role.BUILDER, Role.BUILDER),
    ("GET", BUILD): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/log.txt"): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/change"): (Role.VIEWER, Role.VIEWER),
    ("POST", f"{BUILD}/cancel"): (Role.BUILDER, Role.OPERATOR),
    ("POST", f"{BUILD}/rebuild"): (Role.BUILDER, Role.OPERATOR),
}
OPEN = {
    ("GET", "/ui/login"),
    ("POST", "/ui/login"),
    ("GET", "/ui/static/<name>"),
    ("POST", "/ui/reports"),
}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserFile:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path_factory.mktemp("users") / "users", hasher=hasher)
    for role in Role:
        file.add(role.value, Secret(PASSWORD), role)
    return file


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlTokens]:
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'builder.db'}", SEALER)
    yield SqlTokens(store)
    store.close()


@pytest.fixture
def app(builds: MemoryBuilds, users: UserFile, tokens: SqlTokens) -> Flask:
    return create_app(builds, People(users, None, tokens), RequestPolicy(), keepalive=0.05)


def log_in(http: FlaskClient, name: str) -> str:
    """The token of the forms of the new session."""
    answer = http.post("/ui/login", data={"username": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    page = http.get("/ui/nowhere").text
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def submitted(builds: MemoryBuilds, owner: str) -> str:
    request = schemas.parse_build(BODY, RequestPolicy()).to_request(RequestPolicy())
    view, _ = builds.submit(request, owner)
    return view.build.id


def test_every_page_has_an_entry(app: Flask) -> None:
    """A new one fails here until somebody has decided who may see it."""
    routes = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and (rule.rule == "/" or rule.rule[:3] == "/ui")
    }
    assert routes == set(MATRIX) | OPEN


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("own", [True, False])
def test_by_role(http: FlaskClient, builds: MemoryBuilds, role: Role, own: bool) -> None:
    token = log_in(http, role.value)
    for (method, rule), least in MATRIX.items():
        if rule == "/ui/logout":
            continue
        build_id = submitted(builds, role.value if own else "other")
        path = rule.replace("<build_id>", build_id).replace("<path:rest>", "nowhere")
        answer = http.open(path, method=method, data={"csrf": token} if method == "POST" else None)
        answer.get_data()
        case = (method, rule, answer.status_code)
        if role.covers(least[0 if own else 1]):
            expected = {"/ui/<path:rest>": 404, "/ui/submit": 400 if method == "POST" else 200}
            redirected = rule == "/" or method == "POST"
            assert answer.status_code == expected.get(rule, 303 if redirected else 200), case
        elif role is Role.NONE and "<build_id>" in rule:
            assert answer.status_code == 404, case
        else:
            assert answer.status_code == 403, case


def test_strangers_are_led_to_the_form_and_nowhere_else(app: Flask) -> None:
    for method, rule in MATRIX:
        path = rule.replace("<build_id>", "0" * 16).replace("<path:rest>", "nowhere")
        answer = app.test_client().open(path, method=method, headers={"Accept": "text/html"})
        assert answer.status_code == 303, (method, rule)
        assert answer.headers["Location"].startswith("/ui/login?next="), (method, rule)


@pytest.mark.parametrize(
    "target",
    ["https://evil.example.org/", "//evil.example.org", "/\\evil", "/ui/\\x", "/api", "/ui\n/"],
)
def test_nobody_is_led_elsewhere(http: FlaskClient, target: str) -> None:
    data = {"username": "viewer", "password": PASSWORD, "next": target}
    answer = http.post("/ui/login", data=data)
    assert answer.headers["Location"] == "/ui/"


def test_a_write_needs_the_forms_token(http: FlaskClient, builds: MemoryBuilds) -> None:
    token = log_in(http, "builder")
    build_id = submitted(builds, "builder")
    page, api = f"/ui/builds/{build_id}/cancel", f"/api/v1/builds/{build_id}/cancel"
    for wrong in (None, {"csrf": ""}, {"csrf": "0" * 64}):
        assert http.post(page, data=wrong).status_code == 403
    # The session stands behind calls of the API, too, and they need the token as well.
    assert http.get("/api/v1/whoami").json["name"] == "builder"  # type: ignore[index]
    assert http.post(api).status_code == 403
    assert builds.get(build_id).build.state.value == "QUEUED"
    assert http.post(api, headers={"X-CSRF-Token": token}).status_code == 202
    other = submitted(builds, "builder")
    assert http.post(f"/ui/builds/{other}/cancel", data={"csrf": token}).status_code == 303


def test_pages_of_others_cannot_post(http: FlaskClient, builds: MemoryBuilds) -> None:
    token = log_in(http, "builder")
    path = f"/ui/builds/{submitted(builds, 'builder')}/cancel"
    headers = {"Origin": "https://evil.example.org"}
    assert http.post(path, data={"csrf": token}, headers=headers).status_code == 403
    answer = http.post(
        "/ui/login", data={"username": "viewer", "password": PASSWORD}, headers=headers
    )
    assert answer.status_code == 403


def test_the_cookie_is_for_the_browser_alone(builds: MemoryBuilds, users: UserFile) -> None:
    for secure, name in ((False, "builder"), (True, "__Host-builder")):
        app = create_app(builds, People(users), RequestPolicy(), secure=secure)
        data = {"username": "viewer", "password": PASSWORD}
        cookie = app.test_client().post("/ui/login", data=data).headers["Set-Cookie"]
        assert cookie.startswith(f"{name}=viewer:")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        assert ("; Secure" in cookie) is secure
        assert "Domain" not in cookie


def test_a_session_ends_with_its_password_or_its_user(http: FlaskClient, users: UserFile) -> None:
    users.add("eve", Secret(PASSWORD), Role.VIEWER)
    log_in(http, "eve")
    assert http.get("/ui/").status_code == 200
    users.change_role("eve", Role.NONE)
    assert http.get("/ui/").status_code == 403
    users.add("eve", Secret("another one"), Role.VIEWER)
    assert http.get("/ui/").status_code == 303
    answer = http.get("/api/v1/builds")
    assert answer.status_code == 401
    # A browser would ask for a password by itself.
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="builder"'


def test_basic_auth_goes_on_and_needs_no_token(http: FlaskClient, builds: MemoryBuilds) -> None:
    auth = ("builder", PASSWORD)
    assert http.get("/ui/", auth=auth).status_code == 200
    path = f"/ui/builds/{submitted(builds, 'builder')}/cancel"
    assert http.post(path, auth=auth).status_code == 303
    assert http.get("/ui/", auth=("builder", "wrong")).status_code == 401


def test_a_token_is_no_password_of_the_page(http: FlaskClient, tokens: SqlTokens) -> None:
    """It would grow: a session is all of its user."""
    made, text = new_token("admin", TokenWish("ci", Role.VIEWER), 1.0)
    tokens.create(made)
    assert http.get("/api/v1/whoami", auth=("admin", text.reveal())).status_code == 200
    answer = http.post("/ui/login", data={"username": "admin", "password": text.reveal()})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_wrong_passwords_are_slowed_down(http: FlaskClient) -> None:
    data = {"username": "admin", "password": "wrong"}
    answers = [http.post("/ui/login", data=data).status_code for _ in range(8)]
    assert answers[0] == 401
    assert answers[-1] == 429


def test_headers_of_a_page(http: FlaskClient) -> None:
    log_in(http, "viewer")
    headers = http.get("/ui/").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_is_inline(http: FlaskClient, builds: MemoryBuilds) -> None:
    log_in(http, "admin")
    build_id = submitted(builds, "admin")
    for path in ("/ui/", f"/ui/builds/{build_id}", "/ui/submit", "/ui/charts", "/ui/login"):
        text = http.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text)


def test_a_rebuild_is_a_build_of_its_own(http: FlaskClient, builds: MemoryBuilds) -> None:
    token = log_in(http, "builder")
    body = {**BODY, "registry_auth": {"username": "ci", "password": "s3cret-canary"}}
    request = schemas.parse_build(body, RequestPolicy()).to_request(RequestPolicy())
    view, _ = builds.submit(request, "builder")
    answer = http.post(f"/ui/builds/{view.build.id}/rebuild", data={"csrf": token})
    again = builds.get(answer.headers["Location"].rpartition("/")[2]).build
    assert again.id != view.build.id
    assert again.request == request
    assert again.owner == "builder"


def test_reports_are_kept_short_and_few_of_them_logged(
    app: Flask, http: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    report = {"csp-report": {"violated-directive": "script-src", "blocked-uri": "x" * 9999}}
    for _ in range(30):
        assert http.post("/ui/reports", json=report).status_code == 204
    for odd in (b"", b"[", b"[1]", b"{}", b"[" * 9000, b"\xff", b"x" * 20_000):
        assert http.post("/ui/reports", data=odd).status_code == 204
    kept = app.extensions["csp_reports"]
    assert kept[0] == {"violated-directive": "script-src", "blocked-uri": "x" * 200}
    assert sum("refused a part" in record.message for record in caplog.records) <= 20


def test_sessions_of_two_apps_differ_without_a_key(builds: MemoryBuilds, users: UserFile) -> None:
    clients = [
        create_app(builds, People(users), RequestPolicy(), session_key=key).test_client()
        for key in (b"k" * 32, b"k" * 32, None)
    ]
    cookie = Sessions(b"k" * 32, users.stamp).begin("viewer")
    told = []
    for client in clients:
        client.set_cookie("builder", cookie)
        told.append(client.get("/ui/").status_code)
    assert told == [200, 200, 303]


def test_errors_are_pages_with_the_apis_words(http: FlaskClient, builds: MemoryBuilds) -> None:
    token = log_in(http, "admin")
    done = submitted(builds, "admin")
    builds.cancel(done, "admin")
    answer = http.post(f"/ui/builds/{done}/cancel", data={"csrf": token})
    assert answer.status_code == 409
    assert answer.mimetype == "text/html"
    assert "over already" in answer.text
    builds.store_fails()
    answer = http.get("/ui/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "dbpassword" not in answer.text


def test_the_search_does_not_find_what_is_masked(http: FlaskClient, builds: MemoryBuilds) -> None:
    body = {**BODY, "registry_auth": {"username": "ci", "password": "s3cret-canary"}}
    request = schemas.parse_build(body, RequestPolicy()).to_request(RequestPolicy())
    build_id = builds.submit(request, "other")[0].build.id
    log_in(http, "viewer")
    assert build_id in http.get("/ui/?q=app OTHER").text
    assert build_id not in http.get("/ui/?q=s3cret-canary").text
    assert build_id not in http.get("/ui/?q=app nobody").text
