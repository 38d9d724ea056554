"""The dev cluster itself: what every other integration test stands on is really there."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster, ClusterConfig, ClusterError, Ports, httpclient, pytest_plugin
from devcluster.cluster import leftover_mounts
from devcluster.config import Credentials
from devcluster.daemon import start_time, wait_until
from devcluster.git import Files, LfsFile, Submodule
from devcluster.ssh import make_key

pytestmark = pytest.mark.integration

#: Re-registration is waited for; the issue asks for two seconds, a busy machine may need more.
PATIENCE = 20
#: Of clusters that a test makes for itself; people use the small ones.
SPARE_INDEX = 254


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def processes_naming(text: str) -> list[str]:
    """Command lines of living processes that mention `text` (a path of the cluster)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and f"/{os.getpid()}/" not in str(entry):
            found.append(line)
    return found


def clone(url: str, target: Path, *credentials: str) -> subprocess.CompletedProcess[str]:
    if credentials:
        username, password = credentials
        url = url.replace("http://", f"http://{username}:{password}@")
    return subprocess.run(
        ["git", "clone", "--quiet", url, str(target)],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )


def agent_ids(cluster: Cluster) -> dict[str, str]:
    return {str(agent["pid"]): str(agent["id"]) for agent in cluster.master.agents()}


def wait_for_agents(cluster: Cluster) -> None:
    wait_until(lambda: len(agent_ids(cluster)) == 2, PATIENCE, "the agents did not come back")


def test_two_agents_with_their_attributes_and_resources_are_registered(cluster: Cluster) -> None:
    agents = cluster.master.agents()
    assert {agent["attributes"]["rack"] for agent in agents} == {"a", "b"}  # type: ignore[index]
    for agent in agents:
        resources = agent["resources"]
        assert isinstance(resources, dict)
        assert (resources["cpus"], resources["mem"]) == (4, 4096)
    assert [agent.attributes["rack"] for agent in cluster.agents] == ["a", "b"]


def test_a_killed_master_comes_back_with_its_agents_under_their_ids(cluster: Cluster) -> None:
    before = agent_ids(cluster)
    cluster.master.kill()
    cluster.master.start()
    wait_for_agents(cluster)
    assert agent_ids(cluster) == before


def test_a_killed_agent_comes_back_under_its_id(cluster: Cluster) -> None:
    before = agent_ids(cluster)
    agent = cluster.agents[0]
    agent.kill()
    agent.start()
    wait_until(
        lambda: (
            httpclient.status_of(f"{agent.url}/slave(1)/state") == 200
            and agent_ids(cluster) == before
        ),
        PATIENCE,
        "the agent did not come back under its id",
    )


def test_a_paused_master_answers_again_when_resumed(cluster: Cluster) -> None:
    cluster.master.pause()
    try:
        assert httpclient.status_of(f"{cluster.master.url}/version", seconds=0.5) is None
    finally:
        cluster.master.resume()
    cluster.master.wait_ready()
    wait_for_agents(cluster)


def test_the_public_sample_has_main_a_branch_and_a_tag(cluster: Cluster, tmp_path: Path) -> None:
    assert clone(f"{cluster.git.url}/app.git", tmp_path / "app").returncode == 0
    names = subprocess.run(
        ["git", "-C", str(tmp_path / "app"), "for-each-ref", "--format=%(refname)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"refs/heads/main", "refs/remotes/origin/feature", "refs/tags/v1.0.0"} <= set(names)
    assert "FROM " + cluster.base_image in (tmp_path / "app" / "Dockerfile").read_text()


def test_a_private_repository_wants_the_right_password(cluster: Cluster, tmp_path: Path) -> None:
    url = f"{cluster.git.url}/private.git"
    assert clone(url, tmp_path / "without").returncode != 0
    assert clone(url, tmp_path / "wrong", cluster.git.username, "wrong").returncode != 0
    right = clone(url, tmp_path / "right", cluster.git.username, cluster.git.password)
    assert right.returncode == 0, right.stderr


def test_commits_can_be_made_and_fetched_by_their_id(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.git.create_repository("made-by-test", {"one.txt": "1\n", "run.sh": "#!/bin/sh\n"})
    first = cluster.git.head("made-by-test")
    second = cluster.git.commit("made-by-test", {"deep/two.txt": b"2\n"}, branch="next", tag="t2")
    assert first != second
    assert cluster.git.head("made-by-test", "t2") == second
    target = str(tmp_path / "by-id")
    for words in (["init", "--quiet", target], ["-C", target, "fetch", "--quiet", url, first]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    assert clone(url, tmp_path / "all").returncode == 0
    assert os.access(tmp_path / "all" / "run.sh", os.X_OK)


@pytest.mark.parametrize(
    "path",
    [
        "/app.git/HEAD",  # the "dumb" protocol
        "/app.git/info/refs",
        "/app.git/info/refs?service=git-receive-pack",
        "/../secrets.json",
        "/app.git/../../secrets.json",
        "/slow/1/../app.git/info/refs?service=git-upload-pack",
        "/slow/9e9/app.git/info/refs?service=git-upload-pack",
        "/nothing.git/info/refs?service=git-upload-pack",
    ],
)
def test_the_git_server_serves_nothing_but_fetches(cluster: Cluster, path: str) -> None:
    assert httpclient.status_of(cluster.git.url + path) in (403, 404)


def test_a_slow_clone_url_holds_the_pack_back(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.git.clone_url("app", pause=30)
    slow = subprocess.Popen(["git", "clone", "--quiet", url, str(tmp_path / "slow")])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            slow.wait(timeout=2)
    finally:
        slow.kill()
        slow.wait()
    assert clone(cluster.git.clone_url("app", pause=0.2), tmp_path / "soon").returncode == 0


def ssh_options(folder: Path, key: str, known_hosts: str) -> str:
    """A GIT_SSH_COMMAND that uses this key and trusts these hosts only."""
    (folder / "key").write_text(key)
    (folder / "key").chmod(0o600)
    (folder / "known_hosts").write_text(known_hosts)
    return (
        f"ssh -F /dev/null -oBatchMode=yes -oIdentitiesOnly=yes -oIdentityAgent=none "
        f"-oStrictHostKeyChecking=yes -oUserKnownHostsFile={folder}/known_hosts -i {folder}/key"
    )


def clone_over_ssh(cluster: Cluster, folder: Path, ssh: str, target: str = "out") -> str:
    """Clones the private sample with this ssh; what git says when it cannot, else nothing."""
    done = subprocess.run(
        ["git", "clone", "--quiet", cluster.git.ssh_url("private"), str(folder / target)],
        env={**os.environ, "GIT_SSH_COMMAND": ssh},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_the_repositories_are_there_over_ssh(cluster: Cluster, tmp_path: Path) -> None:
    """For the cluster's key only; the server proves itself with the known host key."""
    right = ssh_options(tmp_path, cluster.git.ssh_key, cluster.git.known_hosts)
    assert clone_over_ssh(cluster, tmp_path, right) == ""
    assert (tmp_path / "out" / "Dockerfile").exists()
    other = tmp_path / "other"
    other.mkdir()
    make_key(other / "new")
    stranger = ssh_options(other, (other / "new").read_text(), cluster.git.known_hosts)
    assert "Permission denied" in clone_over_ssh(cluster, other, stranger)
    unknown = ssh_options(other, cluster.git.ssh_key, "")
    assert "Host key verification failed" in clone_over_ssh(cluster, other, unknown)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "id",
        "git-receive-pack '/app.git'",
        "git-upload-pack '/../secrets.json'",
        "git-upload-pack /app.git; id",
        "git-upload-pack $(id)",
        "git-lfs-authenticate app.git upload",
    ],
)
def test_the_ssh_server_runs_nothing_but_fetches(
    cluster: Cluster, tmp_path: Path, command: str
) -> None:
    ssh = ssh_options(tmp_path, cluster.git.ssh_key, cluster.git.known_hosts)
    port = str(cluster.config.ports.ssh)
    done = subprocess.run(
        [*ssh.split(), "-p", port, f"{cluster.git.ssh.user}@{cluster.address}", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "only git fetch" in done.stderr


@pytest.mark.parametrize("way", ["http", "http with a password", "ssh"])
def test_lfs_objects_come_over_http_and_ssh(cluster: Cluster, tmp_path: Path, way: str) -> None:
    """git-lfs itself fetches them, from a private repository with its login."""
    content = bytes(range(256)) * 4
    private = way != "http"
    files: Files = {"big.bin": LfsFile(content), "small.txt": "small\n"}
    url = cluster.git.create_repository("with-lfs", files, private=private)
    if way == "http with a password":
        login = f"{cluster.git.username}:{cluster.git.password}"
        url = url.replace("http://", f"http://{login}@")
    if way == "ssh":
        url = cluster.git.ssh_url("with-lfs")
    ssh = ssh_options(tmp_path, cluster.git.ssh_key, cluster.git.known_hosts)
    lfs = ["-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.required=true"]
    subprocess.run(
        ["git", *lfs, "clone", "--quiet", url, str(tmp_path / "out")],
        env={**os.environ, "GIT_SSH_COMMAND": ssh, "GIT_TERMINAL_PROMPT": "0"},
        check=True,
    )
    assert (tmp_path / "out" / "big.bin").read_bytes() == content
    pointer = cluster.git.read("with-lfs", "big.bin")
    assert pointer is not None
    assert "size 1024" in pointer


def test_lfs_objects_are_as_private_as_their_repository(cluster: Cluster) -> None:
    git = cluster.git
    git.create_repository("with-lfs", {"big.bin": LfsFile(b"big")}, private=True)
    pointer = git.read("with-lfs", "big.bin") or ""
    oid = pointer.partition("sha256:")[2].split()[0]
    asked = {"operation": "download", "objects": [{"oid": oid, "size": 3}]}
    batch = f"{git.url}/with-lfs.git/info/lfs/objects/batch"
    place = f"{git.url}/with-lfs.git/info/lfs/objects/{oid}"
    user = Credentials(git.username, git.password)
    assert httpclient.status_of(batch, sent=asked) == 401
    assert httpclient.status_of(batch, user, sent=asked) == 200
    assert httpclient.status_of(batch, user, sent={**asked, "operation": "upload"}) == 422
    assert httpclient.status_of(place) == 401
    assert httpclient.get(place, user) == b"big"


def test_refs_of_merge_and_pull_requests_can_be_made(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.git.create_repository("with-requests", {"one.txt": "1\n"})
    commit = cluster.git.commit("with-requests", {"two.txt": "2\n"}, branch="theirs")
    refs = ("refs/merge-requests/1/head", "refs/pull/2/head")
    for ref in refs:
        cluster.git.create_ref("with-requests", ref, commit)
    assert clone(url, tmp_path / "out").returncode == 0
    for ref in refs:
        assert cluster.git.head("with-requests", ref) == commit
        fetch = ["git", "-C", str(tmp_path / "out"), "fetch", "--quiet", "origin", ref]
        subprocess.run(fetch, check=True)


def test_submodules_can_be_committed(cluster: Cluster, tmp_path: Path) -> None:
    """With a URL relative to the repository's own, and with a whole one."""
    git = cluster.git
    library = git.create_repository("a-library", {"lib.txt": "library\n"})
    commit = git.head("a-library")
    files = {
        "near": Submodule("../a-library.git", commit),
        "deep/far": Submodule(library, commit),
    }
    url = git.create_repository("with-submodules", files)
    argv = ["git", "clone", "--quiet", "--recurse-submodules", url, str(tmp_path / "out")]
    subprocess.run(argv, check=True, capture_output=True)
    for name in files:
        assert (tmp_path / "out" / name / "lib.txt").read_text() == "library\n"


def test_the_second_registry_has_a_user_and_an_authority_of_its_own(cluster: Cluster) -> None:
    second = cluster.second_registry
    url = f"{second.url}/v2/"
    user = Credentials(second.username, second.password)
    assert httpclient.status_of(url, user) is None, "an authority that nobody trusts"
    assert httpclient.status_of(url, ca_file=second.ca_file) == 401
    assert httpclient.status_of(url, cluster.secrets.registry, ca_file=second.ca_file) == 401
    assert httpclient.status_of(url, user, ca_file=second.ca_file) == 200
    assert second.tags("nothing") == []


def test_the_registry_wants_its_password(cluster: Cluster) -> None:
    registry = cluster.registry
    url = f"http://{registry.address}/v2/"
    assert httpclient.status_of(url) == 401
    assert httpclient.status_of(url, Credentials(registry.username, "wrong")) == 401
    assert httpclient.status_of(url, Credentials(registry.username, registry.password)) == 200
    assert registry.username in registry.log_path.read_text()


def test_the_engine_is_our_own_and_made_no_docker0(cluster: Cluster) -> None:
    had_docker0 = "docker0" in links()
    assert "docker0" not in cluster.engine.docker("network", "inspect", "bridge")
    networks = cluster.engine.docker("run", "--rm", cluster.base_image, "ip", "-4", "addr")
    assert str(cluster.config.subnet).rsplit(".", 1)[0] in networks
    assert ("docker0" in links()) == had_docker0


def test_a_privileged_container_runs_an_engine_of_its_own(cluster: Cluster) -> None:
    """The nested engine starts on a volume and builds from the cluster's registry."""
    address = cluster.registry.address
    had_docker0 = "docker0" in links()
    script = f"""
        set -e
        mkdir -p /etc/docker
        echo '{{"insecure-registries": ["{address}"]}}' > /etc/docker/daemon.json
        dockerd --add-runtime limited=/usr/local/bin/runc-without-sys-resource \
                --default-runtime limited > /var/log/dockerd.log 2>&1 &
        tries=0
        until docker version > /dev/null 2>&1; do
            tries=$((tries + 1)); [ $tries -lt 300 ] || {{ cat /var/log/dockerd.log; exit 1; }}
            sleep 0.1
        done
        echo "$PASSWORD" | docker login --username "$USERNAME" --password-stdin {address} >&2
        printf 'FROM {cluster.base_image}\\nRUN echo built > /proof\\n' > /Dockerfile
        docker build --quiet --tag nested / >&2
        docker run --rm nested cat /proof
    """
    output = cluster.engine.docker(
        *("run", "--rm", "--privileged", "--volume=/var/lib/docker"),
        *("--env", f"USERNAME={cluster.registry.username}"),
        *("--env", f"PASSWORD={cluster.registry.password}"),
        *(cluster.executor_image, "sh", "-c", script),
    )
    assert output.strip() == "built"
    assert ("docker0" in links()) == had_docker0


def test_up_changes_nothing_when_all_of_it_runs(cluster: Cluster) -> None:
    before = [(part.name, part.pid) for part in cluster.parts()]
    cluster.up()
    assert [(part.name, part.pid) for part in cluster.parts()] == before
    assert all(part.healthy for part in cluster.parts())


@pytest.fixture
def small_cluster(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster beside the session's, on a subnet of its own."""
    config = ClusterConfig.named("other", state_dir=tmp_path / "state", index=SPARE_INDEX)
    other = Cluster(config)
    yield other
    other.down()


def test_a_taken_port_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        config = ClusterConfig.named(
            "a", state_dir=tmp_path, index=SPARE_INDEX, ports=Ports(registry=port)
        )
        with pytest.raises(ClusterError) as refusal:
            Cluster(config).up()
    assert f"port {port}" in str(refusal.value)
    assert "PORTS=registry=" in str(refusal.value)
    assert config.bridge not in links()


def test_another_cluster_of_the_same_index_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    config = ClusterConfig.named("thief", state_dir=tmp_path, index=cluster.config.index)
    with pytest.raises(ClusterError, match="belongs to"):
        Cluster(config).up()


def test_the_tests_of_another_checkout_take_a_free_index(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUILDER_TEST_INDEX", raising=False)
    assert pytest_plugin.cluster_index() == cluster.config.index
    monkeypatch.setattr(pytest_plugin, "STATE_DIR", tmp_path)
    free = pytest_plugin.cluster_index()
    assert free != cluster.config.index
    assert f"bfdev{free}" not in links()


def test_down_leaves_no_process_mount_link_or_rule(small_cluster: Cluster) -> None:
    """Also with a container and its volume still there, after the engine itself was killed."""
    other = small_cluster
    other.bridge.up()
    other.engine.start()
    for service in (other.registry, other.second_registry, other.git, other.git.ssh):
        service.start()
    pids = [part.pid for part in other.parts() if part.pid is not None]
    archive = other.config.state_dir / "image.tar"
    subprocess.run(["tar", "-cf", str(archive), "-C", "/", "bin/busybox"], check=True)
    other.engine.docker("import", str(archive), "sleeper")
    other.engine.docker("run", "--detach", "sleeper", "/bin/busybox", "sleep", "600")
    other.engine.dockerd.kill()
    other.down()
    assert other.config.bridge not in links()
    assert not other.bridge.rules()
    assert not [pid for pid in pids if start_time(pid) is not None]
    assert not leftover_mounts(other.config.state_dir, other.config.run_dir)
    assert not processes_naming(str(other.config.run_dir))
    assert not processes_naming(str(other.config.state_dir))
    assert not other.config.run_dir.exists()
