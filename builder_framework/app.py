"""The only place where parts are wired together; signals, watchdog and shutdown live here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gevent
from gevent.pywsgi import WSGIServer

from api import create_app
from builder_framework import __version__, addresses, config, failpoints, keys, logfields
from builder_framework.addresses import ZooKeeperAddress
from builder_framework.election.base import Election
from builder_framework.election.database import DatabaseElection
from builder_framework.election.file import FileElection
from builder_framework.election.zookeeper import ZooKeeperElection
from builder_framework.errors import (
    BuilderError,
    ConfigError,
    FieldProblem,
    StoreUnavailableError,
)
from builder_framework.instruments import Instruments
from builder_framework.leader import Leader
from builder_framework.people import People
from builder_framework.ports import Eremetic
from builder_framework.redact import Secret
from builder_framework.service.audit import AuditTrail
from builder_framework.service.door import Door
from builder_framework.service.follower import Follower
from builder_framework.service.logs import Logs, LogStore
from builder_framework.service.measures import Exposition
from builder_framework.service.scheduling import Switch
from builder_framework.store.audit import SqlAudit
from builder_framework.store.forgotten import SqlForgotten
from builder_framework.store.logs import DatabaseLogs
from builder_framework.store.measures import SqlMeasures
from builder_framework.store.projects import SqlProjects
from builder_framework.store.scheduling import SqlScheduling
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.store.uploads import SqlUploads
from builder_framework.users import Authenticator, SingleUser, UserFile

log = logging.getLogger(__name__)

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: starting again without a change will not help."""
EXIT_BROKEN = 70
"""EX_SOFTWARE: a part died; a fresh process takes up where this one was."""

_WATCH_INTERVAL = 0.25
_DRAIN_SECONDS = 2.0
_BACKLOG = 512


class Application:
    """One framework process: it answers at once, and leads when it is elected."""

    def __init__(self, settings: config.Settings) -> None:
        """Open the store and listen; nothing runs yet."""
        self._settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        sealer = keys.sealer_at_start(settings.storage())
        self._store = SqlStore(settings.database(), sealer)
        self._logs = _logs(self._store, settings.data_dir)
        self._trail = AuditTrail(SqlAudit(self._store))
        self._switch = Switch(SqlScheduling(self._store))
        self._instruments = Instruments()
        self._exposition = Exposition(
            self._instruments, SqlMeasures(self._store.reading), eremetic=settings.eremetic
        )
        announce = settings.announcer().deliveries_of
        self._door = Door(
            Follower(self._store, self._logs, time.time, announce, settings.dedupe_window)
        )
        self._election = _election(settings, self._store)
        self._elected = threading.Event()
        self._leader: Leader | None = None
        self._server = WSGIServer(
            _listen(settings.http_host, settings.http_port),
            create_app(
                self._door,
                People(_users(settings), SqlProjects(self._store, sealer), SqlTokens(self._store)),
                settings.request_policy(),
                SqlUploads(self._store),
                _eremetic(settings, self._store),
                trail=self._trail,
                switch=self._switch,
                instruments=self._instruments,
                exposition=self._exposition,
                metrics_public=settings.metrics_public,
                session_key=bytes.fromhex(sealer.digest("sessions of the web page")),
                secure=settings.behind_tls_proxy,
                hooks=settings.hooks(),
                page=settings.webui_url,
            ),
            log=None,
            error_log=logging.getLogger("builder_framework.http"),
        )
        self._stopping = threading.Event()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stopping.set)
        self._trail.start()
        self._server.start()
        log.info("builder %s: API on %s, data in %s", __version__, self._url(), self._where())
        threading.Thread(target=self._campaign, name="campaign", daemon=True).start()
        while not self._stopping.wait(_WATCH_INTERVAL):
            self._watch()
        self._shut_down()
        return 0

    def _campaign(self) -> None:
        try:
            if self._election.campaign(self._stopping):
                self._elected.set()
        except Exception:
            log.exception("the campaign failed")
            self._fatal("nobody can be elected")

    def _watch(self) -> None:
        if not self._trail.alive:
            self._fatal("the thread of the audit trail ended")
        if self._leader is not None:
            if not self._election.held():
                self._fatal("this process leads no longer")
            self._leader.watch()
        elif self._elected.is_set():
            try:
                self._leader = self._lead()
            except StoreUnavailableError as error:
                log.warning("elected, but %s", error)

    def _lead(self) -> Leader:
        """From here on every write of an earlier leader is refused."""
        token = self._store.lead(f"{socket.gethostname()}:{os.getpid()}", self._url())
        master = addresses.shown(self._settings.mesos_master)
        log.info("leading with token %d; the master is %s", token, master)
        leader = Leader(
            self._settings,
            self._store,
            self._logs,
            self._instruments,
            self._switch,
            self._broken,
            self._fatal,
        )
        leader.start()
        self._door.builds = leader.service
        self._exposition.figures = leader.figures
        return leader

    def _shut_down(self) -> None:
        log.info("stopping; running builds go on")
        self._server.stop(timeout=_DRAIN_SECONDS)
        self._trail.stop()
        if self._leader is not None:
            self._leader.stop()
        self._election.resign()
        self._store.close()

    def _url(self) -> str:
        chosen = self._settings.webui_url
        return chosen or f"http://{self._server.server_host}:{self._server.server_port}"

    def _where(self) -> str:
        return f"{self._settings.data_dir} ({self._store.dialect})"

    def _broken(self, message: str) -> None:
        if "removed" in message or "Completed framework" in message:
            log.critical(
                "the master has removed this framework (%s). Its builds are lost to it. Start "
                "once with BUILDER_FORGET_FRAMEWORK_ID=true to register anew.",
                message,
            )
            _exit(EXIT_CONFIG)
        self._fatal(f"there is no subscription to be had: {message}")

    def _fatal(self, message: str) -> None:
        log.critical("%s; ending, to be started afresh", message)
        _exit(EXIT_BROKEN)


def _exit(code: int) -> None:
    """At once, without clean-up: every promise is on disk already."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _logs(store: SqlStore, data_dir: Path) -> Logs:
    """Beside a database that every machine reaches, logs must be reached, too."""
    return LogStore(data_dir / "logs") if store.dialect == "sqlite" else DatabaseLogs(store)


def _election(settings: config.Settings, store: SqlStore) -> Election:
    """SQLite's processes are all on one machine, and `builder db restore` looks at that lock.

    Otherwise ZooKeeper's where it names the master, too, or else that of the database.
    """
    if store.dialect == "sqlite":
        return FileElection(settings.data_dir)
    source = addresses.parse(settings.mesos_master)
    if isinstance(source, ZooKeeperAddress):
        path = f"/builder-framework/{settings.framework_name}"
        return ZooKeeperElection(replace(source, path=path))
    return DatabaseElection(settings.database())


def _users(settings: config.Settings) -> Authenticator:
    if settings.users_file is not None:
        users = UserFile(settings.users_file, run_blocking=_in_thread)
        users.check()
        return users
    if settings.username is None or settings.password is None:  # pragma: no cover (validated)
        raise ConfigError([])
    return SingleUser(settings.username, Secret(settings.password.get_secret_value()))


def _eremetic(settings: config.Settings, store: SqlStore) -> Eremetic | None:
    if not settings.eremetic:
        return None
    return Eremetic(settings.eremetic_builders, SqlForgotten(store), settings.eremetic_tasks)


def _in_thread(function: Callable[[], bool]) -> bool:
    """Hashing takes tens of milliseconds: not on the thread that serves everybody."""
    result: bool = gevent.get_hub().threadpool.apply(function)
    return result


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it: without, Nagle and delayed ACKs cost 40 ms an answer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        problem = FieldProblem("http_host", f"cannot listen on {host}:{port}: {error.strerror}")
        raise ConfigError([problem]) from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def run(config_file: Path | None = None) -> int:
    """Load the settings, run, and turn errors into sentences and exit codes."""
    logging.basicConfig(format=logfields.TEXT, stream=sys.stderr, level="INFO")
    try:
        failpoints.arm(os.environ)
        settings = config.load(os.environ, config_file)
        logfields.install(sys.stderr, settings.log_format, settings.log_level)
        return Application(settings).run()
    except ConfigError as error:
        for problem in error.problems:
            print(f"{problem.field}: {problem.problem}", file=sys.stderr)
        return EXIT_CONFIG
    except BuilderError as error:
        print(error.message, file=sys.stderr)
        return EXIT_BROKEN
