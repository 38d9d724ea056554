"""A real ZooKeeper: who leads the masters, and who leads the framework's processes.

The embedded Mesos cannot announce itself there, so these tests write what a master writes.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from builder_framework.addresses import Address, ZooKeeperAddress
from builder_framework.election.zookeeper import ZooKeeperElection
from builder_framework.mesos.detector import announced, leading
from devcluster import Cluster
from devcluster.zookeeper import ZooKeeper
from tests.integration.harness import Framework, master_info
from tests.unit.drivers import BOTH, Callbacks, MakeDriver, ours, running
from tests.unit.scripted_master import ScriptedMaster
from tests.unit.waiting import until

pytestmark = pytest.mark.integration

PATIENCE = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ZooKeeper(tmp_path_factory.mktemp("zookeeper"), port=port)
    server.start()
    yield server
    server.resume()
    server.kill()


@pytest.fixture
def zookeeper(server: ZooKeeper) -> Iterator[ZooKeeper]:
    """Running when a test begins, and when it ends."""
    yield server
    server.resume()
    server.start()


@pytest.fixture
def client(zookeeper: ZooKeeper) -> Iterator[KazooClient]:
    """The hand of these tests, which lasts as long as the test does."""
    made = KazooClient(zookeeper.address, timeout=10)
    made.start()
    yield made
    made.stop()
    made.close()


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    made = ScriptedMaster()
    yield made
    made.close()


@pytest.fixture
def place() -> str:
    """A path that no other test uses."""
    return f"/mesos-{uuid.uuid4().hex[:8]}"


def announce(client: KazooClient, place: str, address: str, label: str = "json.info_") -> str:
    """As a master does; the node's path."""
    path: str = client.create(
        f"{place}/{label}", master_info(address), ephemeral=True, sequence=True, makepath=True
    )
    return path


def expire(client: KazooClient) -> None:
    """End a session as ZooKeeper ends that of a process it has not heard of."""
    twin = KazooClient(client.hosts[0][0] + f":{client.hosts[0][1]}", client_id=client.client_id)
    twin.start()
    twin.stop()
    twin.close()


# -- who leads the masters -------------------------------------------------------------------------


@BOTH
def test_p15_masters_may_come_after_the_framework(
    make: MakeDriver, zookeeper: ZooKeeper, client: KazooClient, master: ScriptedMaster, place: str
) -> None:
    """Stock stays alive and deaf when the path does not exist at its start."""
    with running(make(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
        time.sleep(1.0)
        announce(client, place, master.address)
        until(lambda: driver.connected, 4)


@BOTH
def test_p16_only_announcements_of_masters_count(
    make: MakeDriver, zookeeper: ZooKeeper, client: KazooClient, master: ScriptedMaster, place: str
) -> None:
    """The master that was first leads, whatever else lives there."""
    client.create(f"{place}/aaa", b"somebody else's", makepath=True)
    announce(client, place, "127.0.0.1:1", label="info_")
    announce(client, place, master.address)
    announce(client, place, "127.0.0.1:2")
    with running(make(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
        until(lambda: driver.connected, 4)


@BOTH
def test_p16_zookeeper_may_ask_for_a_password(
    make: MakeDriver, zookeeper: ZooKeeper, client: KazooClient, master: ScriptedMaster, place: str
) -> None:
    acl = [make_digest_acl("mesos", "pass:word", all=True)]
    client.add_auth("digest", "mesos:pass:word")
    client.create(place, b"", acl=acl)
    client.create(f"{place}/json.info_", master_info(master.address), acl=acl, sequence=True)
    uri = f"zk://mesos:pass%3Aword@{zookeeper.address}{place}"
    with running(make(Callbacks(), uri)) as driver:
        until(lambda: driver.connected, 5)


@BOTH
def test_p16_the_end_of_the_driver_is_the_end_of_its_session(
    make: MakeDriver, zookeeper: ZooKeeper, client: KazooClient, place: str
) -> None:
    """Stock keeps the sockets of a client that it stopped."""
    before = zookeeper.connections()
    with running(make(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
        until(lambda: zookeeper.connections() == before + 1)
        detector = driver.detector
        driver.stop(True)
        until(lambda: zookeeper.connections() == before)
        kazoo = detector._client if hasattr(detector, "_client") else detector.zk
        until(lambda: kazoo._connection._write_sock is None, 3)


def test_m2_the_next_master_in_line_is_followed(
    zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    next_master = ScriptedMaster()
    try:
        first = announce(client, place, master.address)
        announce(client, place, next_master.address)
        with running(ours(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
            until(lambda: driver.connected and driver.master == master.address)
            client.delete(first)
            until(lambda: driver.connected and driver.master == next_master.address)
    finally:
        next_master.close()


def test_p31_a_master_that_announces_itself_anew_is_subscribed_to_anew(
    zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    node = announce(client, place, master.address)
    with running(ours(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
        until(lambda: driver.connected)
        client.delete(node)
        announce(client, place, master.address)
        master.wait_for("SUBSCRIBE", 2)
        until(lambda: driver.connected)


def test_while_nobody_leads_a_living_stream_is_kept(
    zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    callbacks = Callbacks()
    node = announce(client, place, master.address)
    with running(ours(callbacks, f"zk://{zookeeper.address}{place}")) as driver:
        until(lambda: driver.connected)
        client.delete(node)
        time.sleep(1.0)
        assert driver.connected
        assert callbacks.disconnections == 0


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_m14_without_zookeeper_the_known_master_is_kept(
    fault: str, zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    """And is subscribed to again; a leader that comes later is found."""
    next_master = ScriptedMaster()
    node = client.create(
        f"{place}/json.info_", master_info(master.address), sequence=True, makepath=True
    )
    try:
        with running(ours(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
            until(lambda: driver.connected)
            zookeeper.kill() if fault == "killed" else zookeeper.pause()
            master.hang_up()
            master.wait_for("SUBSCRIBE", 2)
            until(lambda: driver.connected)
            zookeeper.start() if fault == "killed" else zookeeper.resume()
            until(lambda: client.connected, PATIENCE)
            client.delete(node)
            announce(client, place, next_master.address)
            until(lambda: driver.connected and driver.master == next_master.address, PATIENCE)
    finally:
        next_master.close()


def test_m14_a_session_that_ended_is_replaced(
    zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    callbacks = Callbacks()
    next_master = ScriptedMaster()
    node = announce(client, place, master.address)
    try:
        with running(ours(callbacks, f"zk://{zookeeper.address}{place}")) as driver:
            until(lambda: driver.connected)
            expire(driver.detector._client)
            time.sleep(1.0)
            assert callbacks.disconnections == 0
            client.delete(node)
            announce(client, place, next_master.address)
            until(lambda: driver.connected and driver.master == next_master.address, PATIENCE)
    finally:
        next_master.close()


def test_m14_zookeeper_may_come_after_the_framework(
    zookeeper: ZooKeeper, client: KazooClient, place: str, master: ScriptedMaster
) -> None:
    client.create(f"{place}/json.info_", master_info(master.address), sequence=True, makepath=True)
    zookeeper.kill()
    with running(ours(Callbacks(), f"zk://{zookeeper.address}{place}")) as driver:
        time.sleep(1.0)
        assert not driver.connected
        zookeeper.start()
        until(lambda: driver.connected, PATIENCE)


def test_the_framework_finds_its_master_in_zookeeper(
    cluster: Cluster, zookeeper: ZooKeeper, client: KazooClient, tmp_path: Path, place: str
) -> None:
    """The whole process, on greenlets; ZooKeeper dies, and the master with its stream as well."""
    node = f"{place}/json.info_"
    client.create(node, master_info(cluster.master.address), sequence=True, makepath=True)
    settings = {"BUILDER_MESOS_MASTER": f"zk://{zookeeper.address}{place}"}
    framework = Framework(cluster, tmp_path / "framework", 8181, settings)
    framework.start()
    try:
        zookeeper.kill()
        cluster.master.kill()
        until(lambda: not framework.is_ready(), PATIENCE)
        cluster.master.start()
        framework.wait_ready()
    finally:
        framework.end(signal.SIGTERM)


# -- who leads the framework -----------------------------------------------------------------------


class Candidate:
    """An election, campaigned for on a thread."""

    def __init__(self, zookeeper: ZooKeeper, place: str) -> None:
        address = ZooKeeperAddress(zookeeper.address, place)
        self.election = ZooKeeperElection(address, session_timeout=2.0)
        self.stopping = threading.Event()
        self.answer: bool | None = None
        self.thread = threading.Thread(target=self._campaign, daemon=True)
        self.thread.start()

    def _campaign(self) -> None:
        self.answer = self.election.campaign(self.stopping)

    def end(self) -> None:
        self.stopping.set()
        self.thread.join(10)
        self.election.resign()


@pytest.fixture
def candidate(zookeeper: ZooKeeper, place: str) -> Iterator[Callable[[], Candidate]]:
    made: list[Candidate] = []

    def make() -> Candidate:
        made.append(Candidate(zookeeper, place))
        return made[-1]

    yield make
    for each in made:
        each.end()


MakeCandidate = Callable[[], Candidate]


def test_one_leads_until_it_resigns(candidate: MakeCandidate) -> None:
    first = candidate()
    until(first.election.held)
    second = candidate()
    time.sleep(1.0)
    assert (first.answer, second.answer) == (True, None)
    assert not second.election.held()
    first.election.resign()
    assert not first.election.held()
    until(second.election.held)
    assert second.answer is True


def test_a_candidate_that_is_told_to_stop_stands_no_more(candidate: MakeCandidate) -> None:
    first = candidate()
    until(first.election.held)
    second, third = candidate(), candidate()
    time.sleep(0.5)
    second.end()
    assert second.answer is False
    first.election.resign()
    until(third.election.held)


def test_candidates_wait_for_zookeeper_and_through_its_absence(
    candidate: MakeCandidate, zookeeper: ZooKeeper
) -> None:
    first = candidate()
    until(first.election.held)
    second = candidate()
    time.sleep(0.5)
    zookeeper.kill()
    third = candidate()
    time.sleep(1.0)
    # Nobody can know better as long as ZooKeeper is away.
    assert first.election.held()
    zookeeper.start()
    candidates = [first, second, third]
    while candidates:
        until(lambda: any(each.election.held() for each in candidates), PATIENCE)
        time.sleep(0.5)
        (leader,) = [each for each in candidates if each.election.held()]
        leader.election.resign()
        candidates.remove(leader)


def test_whoever_lost_its_session_leads_no_more(candidate: MakeCandidate) -> None:
    first = candidate()
    until(first.election.held)
    second = candidate()
    time.sleep(0.5)
    expire(first.election._client)
    until(second.election.held, PATIENCE)
    until(lambda: not first.election.held(), PATIENCE)


def test_a_candidate_ends_while_zookeeper_is_frozen(
    candidate: MakeCandidate, zookeeper: ZooKeeper
) -> None:
    first = candidate()
    until(first.election.held)
    second = candidate()
    time.sleep(0.5)
    zookeeper.pause()
    second.end()
    assert second.answer is False
    zookeeper.resume()


# -- what masters announce -------------------------------------------------------------------------


def test_the_lowest_number_leads() -> None:
    names = ["log_replicas", "info_0000000001", "json.info_0000000010", "json.info_0000000009", "x"]
    assert leading(names) == "json.info_0000000009"
    assert leading(names[:2]) is None


def test_certificates_are_for_names() -> None:
    data = master_info("10.0.0.1:5050")
    assert announced(data, by_name=False) == Address("10.0.0.1", 5050)
    assert announced(data, by_name=True) == Address("m.example", 5050)
