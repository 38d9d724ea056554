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
from pathlib import Path

import gevent
from gevent.pywsgi import WSGIServer

from api import create_app
from builder_framework import __version__, config
from builder_framework.cluster import ClusterInput
from builder_framework.domain.machine import MachinePolicy
from builder_framework.domain.model import Resources
from builder_framework.errors import BuilderError, ConfigError, FieldProblem
from builder_framework.mesos.agents import AgentWorkDirs
from builder_framework.mesos.driver import SchedulerDriver
from builder_framework.mesos.gateway import MesosCluster
from builder_framework.mesos.offerbook import OfferBook
from builder_framework.mesos.sandbox import AgentSandboxes
from builder_framework.mesos.scheduler import BuildScheduler
from builder_framework.mesos.translate import ExecutorTemplate, framework_info
from builder_framework.protocol import EngineSpec
from builder_framework.redact import Secret
from builder_framework.service.builds import BuildService, Parts
from builder_framework.service.desk import LoopPolicy
from builder_framework.service.logs import LogStore
from builder_framework.store.sql import SqlStore
from builder_framework.users import Authenticator, SingleUser, UserFile

log = logging.getLogger(__name__)

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: starting again without a change will not help."""
EXIT_BROKEN = 70
"""EX_SOFTWARE: a part died; a fresh process takes up where this one was."""

_WATCH_INTERVAL = 1.0
_DRAIN_SECONDS = 2.0
_BACKLOG = 512


class Application:
    """One framework process."""

    def __init__(self, settings: config.Settings) -> None:
        """Open the store and build every part; nothing runs yet."""
        self._settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._store = SqlStore(settings.database())
        known = None if settings.forget_framework_id else self._store.framework_id()
        offers = OfferBook()
        scheduler = BuildScheduler(self._post, offers, self._broken)
        self._driver = SchedulerDriver(
            scheduler,
            framework_info(
                name=settings.framework_name,
                user=settings.framework_user,
                role=settings.mesos_role,
                principal=settings.mesos_principal,
                failover_timeout=settings.failover_timeout,
                url=settings.webui_url,
            ),
            settings.mesos_master,
            framework_id=known,
            principal=settings.mesos_principal,
            secret=settings.mesos_secret.get_secret_value() if settings.mesos_secret else None,
        )
        parts = Parts(
            store=self._store,
            logs=LogStore(settings.data_dir / "logs"),
            cluster=MesosCluster(
                self._driver,
                offers,
                _executor_template(settings),
                AgentWorkDirs() if settings.survive_agent_restarts else None,
            ),
            sandboxes=AgentSandboxes(),
            subscribed=lambda: self._driver.subscribed,
            fatal=self._fatal,
        )
        self.service = BuildService(parts, _loop_policy(settings), time.time)
        self._server = WSGIServer(
            _listen(settings.http_host, settings.http_port),
            create_app(self.service, _users(settings), settings.request_policy()),
            log=None,
            error_log=logging.getLogger("builder_framework.http"),
        )
        self._stopping = threading.Event()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stopping.set)
        self.service.start()
        self._driver.start()
        self._server.start()
        log.info(
            "builder %s: API on http://%s:%d, master %s, data in %s",
            __version__,
            self._server.server_host,
            self._server.server_port,
            self._settings.mesos_master,
            self._settings.data_dir,
        )
        while not self._stopping.wait(_WATCH_INTERVAL):
            self._watch()
        self._shut_down()
        return 0

    def _watch(self) -> None:
        """Under gevent a dead thread is silent: whoever finds one ends the process."""
        if self._driver.aborted:
            self._fatal("the driver's thread ended")
        if not self.service.alive:
            self._fatal("the service's loop ended")
        if self._driver.silent:
            log.warning("no word from the master for too long: subscribing anew")
            self._driver.reconnect()

    def _shut_down(self) -> None:
        """Builds go on without us: no teardown, only the end of the connections."""
        log.info("stopping; running builds go on")
        self._server.stop(timeout=_DRAIN_SECONDS)
        self._driver.stop()
        self.service.stop()
        self._store.close()

    def _post(self, item: ClusterInput) -> None:
        self.service.post(item)

    def _broken(self, message: str) -> None:
        if "removed" in message or "Completed framework" in message:
            log.critical(
                "the master has removed this framework (%s). Its builds are lost to it. Start "
                "once with BUILDER_FORGET_FRAMEWORK_ID=true to register anew.",
                message,
            )
            _exit(EXIT_CONFIG)
        self._fatal(f"the master refuses us: {message}")

    def _fatal(self, message: str) -> None:
        log.critical("%s; ending, to be started afresh", message)
        _exit(EXIT_BROKEN)


def _exit(code: int) -> None:
    """At once, without clean-up: every promise is on disk already."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _executor_template(settings: config.Settings) -> ExecutorTemplate:
    return ExecutorTemplate(
        image=settings.executor_image,
        resources=_executor_resources(settings),
        engine=EngineSpec(
            settings.engine,
            settings.insecure_registries,
            settings.registry_mirrors,
            settings.cache_keep_mb,
        ),
        git_protocols=settings.git_protocols,
        grace_period=settings.kill_grace_period,
        network=settings.executor_network,
        force_pull=settings.executor_force_pull,
        docker_socket=settings.docker_socket,
        volume_driver=settings.volume_driver,
        volume_prefix=settings.volume_prefix,
        pids_limit=settings.pids_limit,
    )


def _executor_resources(settings: config.Settings) -> Resources:
    return Resources(settings.executor_cpus, settings.executor_mem, 0.0)


def _loop_policy(settings: config.Settings) -> LoopPolicy:
    return LoopPolicy(
        machine=MachinePolicy(
            staging_timeout=settings.staging_timeout,
            unreachable_timeout=settings.unreachable_timeout,
            kill_retry=settings.kill_grace_period + 5.0,
        ),
        executor_resources=_executor_resources(settings),
        slots_per_agent=settings.slots_per_agent,
    )


def _users(settings: config.Settings) -> Authenticator:
    if settings.users_file is not None:
        users = UserFile(settings.users_file, run_blocking=_in_thread)
        users.check()
        return users
    if settings.username is None or settings.password is None:  # pragma: no cover (validated)
        raise ConfigError([])
    return SingleUser(settings.username, Secret(settings.password.get_secret_value()))


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
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, level="INFO"
    )
    try:
        settings = config.load(os.environ, config_file)
        logging.getLogger().setLevel(settings.log_level)
        return Application(settings).run()
    except ConfigError as error:
        for problem in error.problems:
            print(f"{problem.field}: {problem.problem}", file=sys.stderr)
        return EXIT_CONFIG
    except BuilderError as error:
        print(error.message, file=sys.stderr)
        return EXIT_BROKEN
