"""What only the elected process has: driver, service with its loop, webhooks, deployments."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from builder_framework.cluster import ClusterInput
from builder_framework.config import Settings
from builder_framework.config.values import DAY
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.machine import MachinePolicy
from builder_framework.domain.model import Resources
from builder_framework.domain.retry import RetryPolicy
from builder_framework.instruments import Instruments
from builder_framework.mesos.agents import AgentWorkDirs
from builder_framework.mesos.driver import SchedulerDriver
from builder_framework.mesos.gateway import MesosCluster
from builder_framework.mesos.launches import ExecutorTemplate, kind
from builder_framework.mesos.offerbook import OfferBook
from builder_framework.mesos.sandbox import AgentSandboxes
from builder_framework.mesos.scheduler import BuildScheduler
from builder_framework.mesos.tls import client_context
from builder_framework.mesos.translate import framework_info
from builder_framework.redact import Secret
from builder_framework.service.builds import BuildService, Parts
from builder_framework.service.deployments import Deployer, Told
from builder_framework.service.limits import RunningLimits
from builder_framework.service.logs import Logs
from builder_framework.service.measures import Figures
from builder_framework.service.policy import LoopPolicy
from builder_framework.service.post import Poster
from builder_framework.service.receivers import Receivers
from builder_framework.service.retention import Retention, Sweep
from builder_framework.service.scheduling import Switch
from builder_framework.service.uploads import UploadSweeper
from builder_framework.service.webhooks import Webhooks
from builder_framework.store.audit import SqlAudit
from builder_framework.store.projects import catalog
from builder_framework.store.retention import SqlRetention
from builder_framework.store.sql import SqlStore
from builder_framework.store.uploads import SqlUploads

log = logging.getLogger(__name__)


class Leader:
    """Made once this process was elected and `Store.lead` was called."""

    def __init__(
        self,
        settings: Settings,
        store: SqlStore,
        logs: Logs,
        instruments: Instruments,
        switch: Switch,
        broken: Callable[[str], None],
        fatal: Callable[[str], None],
    ) -> None:
        """`broken`: the master ended the subscription for good. `fatal`: a part has ended.

        Raises StoreUnavailableError.
        """
        self._fatal = fatal
        known = None if settings.forget_framework_id else store.framework_id()
        offers = OfferBook()
        tls = client_context(settings.mesos_ca_file)
        self._driver = SchedulerDriver(
            BuildScheduler(self._post, offers, broken),
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
            tls=tls if settings.mesos_tls else None,
            # The master lets the last one that subscribes win: only a leader may.
            may_subscribe=store.check_leadership,
        )
        template = _executor_template(settings)
        parts = Parts(
            store=store,
            logs=logs,
            cluster=MesosCluster(
                self._driver,
                offers,
                template,
                AgentWorkDirs(tls) if settings.survive_agent_restarts else None,
            ),
            sandboxes=AgentSandboxes(tls),
            subscribed=lambda: self._driver.subscribed,
            fatal=fatal,
            announce=settings.announcer().deliveries_of,
            instruments=instruments,
        )
        policy = _loop_policy(settings, template, store, switch)
        self.service = BuildService(parts, policy, time.time)
        self._webhooks = _webhooks(settings, store, instruments)
        self._deployer = Deployer(
            store.deployments, settings.marathon(), told=_told(settings, store)
        )
        self._uploads = UploadSweeper(SqlUploads(store).sweep)
        self._retention = Retention(_sweeps(settings, store, logs))

    def start(self) -> None:
        """Take up what the store holds and subscribe. Raises StoreUnavailableError."""
        self.service.start()
        if self._webhooks is not None:
            self._webhooks.start()
        self._deployer.start()
        self._uploads.start()
        self._retention.start()
        self._driver.start()

    def watch(self) -> None:
        """Under gevent a dead thread is silent: whoever finds one ends the process."""
        if self._driver.aborted:
            self._fatal("the driver's thread ended")
        if not self.service.alive:
            self._fatal("the service's loop ended")
        if self._webhooks is not None and not self._webhooks.alive:
            self._fatal("the webhooks' thread ended")
        if not self._deployer.alive:
            self._fatal("the thread that deploys images ended")
        if not self._uploads.alive:
            self._fatal("the thread that removes uploads ended")
        if not self._retention.alive:
            self._fatal("the thread that removes what is old ended")

    def stop(self) -> None:
        """Builds go on without us: no teardown, only the end of the connections."""
        self._driver.stop()
        if self._webhooks is not None:
            self._webhooks.stop()
        self._deployer.stop()
        self._uploads.stop()
        self._retention.stop()
        self.service.stop()

    def figures(self) -> Figures:
        """For `/metrics`, from any thread."""
        service = self.service.activity()
        return Figures(
            subscribed=self._driver.subscribed,
            silence=self._driver.silence,
            subscriptions=self._driver.subscriptions,
            executors_busy=service.executors_busy,
            executors_idle=service.executors_idle,
            logs_followed=service.logs_followed,
            log_lag=service.log_lag,
            inputs=service.inputs,
        )

    def _post(self, item: ClusterInput) -> None:
        self.service.post(item)


def _executor_template(settings: Settings) -> ExecutorTemplate:
    return ExecutorTemplate(
        image=settings.executor_image,
        resources=_executor_resources(settings),
        engine=settings.engine_spec(),
        git_protocols=settings.git_protocols,
        grace_period=settings.kill_grace_period,
        network=settings.executor_network,
        force_pull=settings.executor_force_pull,
        docker_socket=settings.docker_socket,
        volume_driver=settings.volume_driver,
        volume_options=settings.volume_driver_options(),
        volume_prefix=settings.volume_prefix,
        cache_path=settings.cache_path,
        cache_sharing=settings.cache_sharing,
        staging_tag=settings.staging_tag,
        pids_limit=settings.pids_limit,
        idle=settings.executor_idle,
        upload_url=settings.reachable_url() or "",
    )


def _executor_resources(settings: Settings) -> Resources:
    return Resources(settings.executor_cpus, settings.executor_mem, 0.0)


def _loop_policy(
    settings: Settings, template: ExecutorTemplate, store: SqlStore, switch: Switch
) -> LoopPolicy:
    return LoopPolicy(
        machine=MachinePolicy(
            staging_timeout=settings.staging_timeout,
            unreachable_timeout=settings.unreachable_timeout,
            kill_retry=settings.kill_grace_period + 5.0,
            retry=RetryPolicy(
                first_backoff=settings.retry_backoff, launch_patience=settings.launch_patience
            ),
        ),
        executor_resources=_executor_resources(settings),
        slots_per_agent=settings.slots_per_agent,
        cache_patience=settings.cache_patience,
        executor_idle=settings.executor_idle,
        dedupe_window=settings.dedupe_window,
        kind=lambda build: kind(build, template),
        running_limits=RunningLimits(lambda: catalog(store), time.monotonic),
        scheduling=switch.current,
    )


def _webhooks(settings: Settings, store: SqlStore, instruments: Instruments) -> Webhooks | None:
    """None with nobody to tell: what cannot be signed is not sent."""
    keys = settings.webhook_keys()
    if not keys and not settings.targets:
        return None
    receivers = Receivers(tuple(map(Secret, settings.webhooks)), settings.targets, settings.reach())
    return Webhooks(store.outbox, keys, Poster(), receivers, instruments=instruments)


def _told(settings: Settings, store: SqlStore) -> Told:
    """Who hears of the end of a deployment."""
    announcer = settings.announcer()

    def told(deployment: Deployment, now: float) -> Sequence[Delivery]:
        return announcer.deployed(store.get(deployment.build_id), deployment, now)

    return told


def _sweeps(settings: Settings, store: SqlStore, logs: Logs) -> dict[str, tuple[float, Sweep]]:
    """What is removed, and after how many seconds. Whoever asks for the same as a build that may
    still be given to him shall find it: none goes within `dedupe_window`.
    """
    old = SqlRetention(store, logs.remove)
    sweeps: dict[str, tuple[float, Sweep]] = {}
    if settings.retention_log_days:
        sweeps["logs"] = (settings.retention_log_days * DAY, old.remove_logs)
    if settings.retention_days:
        kept = max(settings.retention_days * DAY, settings.dedupe_window)
        sweeps["builds"] = (kept, old.remove_builds)
    if settings.retention_audit_days:
        audit = SqlAudit(store)
        sweeps["entries of the audit trail"] = (settings.retention_audit_days * DAY, audit.forget)
    return sweeps
