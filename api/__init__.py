"""The HTTP API: a Flask application over the `Builds` port. It knows nothing of Mesos or stores."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from flask import Flask

from api import (
    agents,
    audit,
    auth,
    errors,
    health,
    metrics,
    projects,
    reference,
    requestlog,
    scheduler,
    tokens,
    uploads,
    v1,
    web,
)
from api.eremetic import routes as eremetic_routes
from api.hooks import orders as hook_orders
from api.hooks import routes as hook_routes
from api.metrics import Exposition
from api.sessions import Sessions
from builder_framework import __version__, forgefiles
from builder_framework.audit import Audit
from builder_framework.domain.hooks import Hooks
from builder_framework.instruments import Instruments
from builder_framework.people import People
from builder_framework.ports import Builds, Eremetic, RequestPolicy, Scheduler, Uploads

MAX_BODY_BYTES = 256 * 1024
"""Of a request's body. A build's spec travels in one Mesos task, so larger ones cannot work."""

KEEPALIVE_SECONDS = 15.0
"""Between two writes to a log stream: below the idle time-outs of usual proxies (30 to 60 s)."""


def create_app(
    builds: Builds,
    people: People,
    policy: RequestPolicy,
    kept: Uploads | None = None,
    eremetic: Eremetic | None = None,
    *,
    version: str = __version__,
    instruments: Instruments | None = None,
    exposition: Exposition | None = None,
    metrics_public: bool = False,
    trail: Audit | None = None,
    switch: Scheduler | None = None,
    keepalive: float = KEEPALIVE_SECONDS,
    max_body: int = MAX_BODY_BYTES,
    allowed_origins: Collection[str] = (),
    session_key: bytes | None = None,
    secure: bool = False,
    hooks: Hooks | None = None,
    read_file: hook_orders.ReadFile = forgefiles.read,
    page: str | None = None,
) -> Flask:
    """The WSGI application. `kept`: uploaded build contexts; None: there are none. `eremetic`: the
    API of Eremetic; None: there is none.

    `trail`: where changes are written down. `switch`: what `pause` and `drain` turn.
    `exposition`: what `/metrics` says; None: there is none. `metrics_public`: to everybody.
    `keepalive`: seconds between two writes to an idle log stream. `max_body`: bytes.
    `allowed_origins`: values of `Origin` (`https://host[:port]`) that may write besides the API's
    own; browsers send it, other clients do not. `session_key` and `secure`: see `Sessions`;
    without a key sessions last no longer than this object. `hooks`: what makes builds from outside;
    `read_file`: of repositories; `page`: where people find the web page.

    Raises ConfigError when `hooks` could make no requests.
    """
    app = Flask("builder-api", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body
    # Sorted keys would hide the order in which a build's fields make sense.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    metrics.install(app, instruments or Instruments())
    requestlog.install(app)
    if trail is not None:
        audit.install(app, trail, lambda name: people.known(name) is not None)
        app.register_blueprint(audit.blueprint(trail))
    if switch is not None:
        app.register_blueprint(scheduler.blueprint(switch))
    errors.install(app)
    sessions = Sessions(session_key or secrets.token_bytes(32), people.stamp, secure=secure)
    gate = auth.install(app, people, builds, sessions, allowed_origins)
    app.register_blueprint(health.blueprint(builds, version, switch, eremetic=eremetic is not None))
    app.register_blueprint(tokens.blueprint(people))
    if people.projects is not None:
        app.register_blueprint(projects.blueprint(people.projects))
    app.register_blueprint(v1.blueprint(builds, policy, kept, people.projects, keepalive))
    if exposition is not None:
        app.register_blueprint(metrics.blueprint(exposition, everybody=metrics_public))
    app.register_blueprint(agents.blueprint(builds))
    app.register_blueprint(reference.blueprint(version))
    if kept is not None:
        app.register_blueprint(uploads.blueprint(kept))
    if eremetic is not None:
        app.url_map.converters["eremetic"] = eremetic_routes.TaskId
        app.register_blueprint(eremetic_routes.blueprint(builds, policy, people.projects, eremetic))
    if hooks is not None:
        parts = hook_orders.Parts(hooks, builds, people, policy, read_file, page)
        hook_orders.check(hooks, policy)
        app.register_blueprint(hook_routes.blueprint(parts))
    web.install(
        app, web.Parts(builds, policy, people.projects, gate, sessions, eremetic is not None)
    )
    return app
