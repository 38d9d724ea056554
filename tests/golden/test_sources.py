"""Git sources on a real cluster, seen in the image: keys, submodules, LFS, history."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from devcluster.git import Files, LfsFile, Submodule
from devcluster.ssh import make_key
from tests.integration.harness import Framework, pull

pytestmark = pytest.mark.integration


def files(cluster: Cluster, name: str, *lines: str) -> dict[str, str]:
    """A Dockerfile that puts the whole context into the image, as `src`."""
    steps = [f"FROM {cluster.base_image}", f"ENV TEST={name}", "COPY . /src/", *lines, ""]
    return {"Dockerfile": "\n".join(steps)}


def create(cluster: Cluster, name: str, more: Files, *, private: bool = False) -> str:
    """A repository of such files and more; its clone URL."""
    return cluster.git.create_repository(name, {**files(cluster, name), **more}, private=private)


def ssh(cluster: Cluster, **others: str) -> dict[str, Any]:
    return {"ssh_key": cluster.git.ssh_key, "known_hosts": cluster.git.known_hosts, **others}


def built(framework: Framework, cluster: Cluster, url: str, name: str, **source: Any) -> Any:
    """The build of this source, and the files of the image."""
    build = framework.succeeded(framework.submit(url, f"{name}:1", source=source))
    return build, pull(cluster, name, "1").files


def test_branch_tag_commit_and_short_commit(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """Each is resolved to its commit, and that is what is in the image."""
    url = create(cluster, name, {"a.txt": "first"})
    git = cluster.git
    tagged = git.commit(name, {"a.txt": "tagged"}, tag="v1.0")
    middle = git.commit(name, {"a.txt": "middle"})
    branch = git.commit(name, {"a.txt": "branch"}, branch="feature/x")
    head = git.commit(name, {"a.txt": "head"})
    refs = {
        "feature/x": (branch, b"branch"),
        "v1.0": (tagged, b"tagged"),
        "refs/tags/v1.0": (tagged, b"tagged"),
        middle: (middle, b"middle"),
        middle[:10]: (middle, b"middle"),
        None: (head, b"head"),
    }
    ids = [
        framework.submit(url, f"{name}:{number}", source={"ref": ref})
        for number, ref in enumerate(refs)
    ]
    found = [framework.succeeded(build_id)["result"]["commit"] for build_id in ids]
    texts = [pull(cluster, name, str(number)).files["src/a.txt"] for number in range(len(ids))]
    assert list(zip(found, texts, strict=True)) == list(refs.values())


def test_context_and_dockerfile_may_lie_deeper(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """The Dockerfile beside the context or in it; nothing else of the repository is to be had."""
    dockerfile = f"FROM {cluster.base_image}\nCOPY . /src/\n"
    places = {"docker/web.Dockerfile": dockerfile, "web/Dockerfile": f"{dockerfile}ENV IN=web\n"}
    url = cluster.git.create_repository(name, {**places, "web/data.txt": "web", "a.txt": "a"})
    ids = [
        framework.submit(url, f"{name}:{tag}", context="web", dockerfile=file)
        for tag, file in (("beside", "docker/web.Dockerfile"), ("in", "Dockerfile"))
    ]
    for build_id in ids:
        framework.succeeded(build_id)
    beside, within = (pull(cluster, name, tag) for tag in ("beside", "in"))
    assert beside.files["src/data.txt"] == within.files["src/data.txt"] == b"web"
    assert "src/a.txt" not in {**beside.files, **within.files}
    assert "IN=web" in within.config["config"]["Env"]
    assert "IN=web" not in beside.config["config"]["Env"]


def test_a_private_repository_with_its_password(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = create(cluster, name, {"a.txt": "a"}, private=True)
    login = {"username": cluster.git.username, "password": cluster.git.password}
    build, image = built(framework, cluster, url, name, **login)
    assert image["src/a.txt"] == b"a"
    for text in (framework.log(build["id"]), str(build)):
        assert cluster.git.password not in text
        assert cluster.registry.password not in text


def test_a_private_repository_over_ssh(framework: Framework, cluster: Cluster, name: str) -> None:
    create(cluster, name, {"a.txt": "a"}, private=True)
    build, image = built(framework, cluster, cluster.git.ssh_url(name), name, **ssh(cluster))
    assert image["src/a.txt"] == b"a"
    assert build["result"]["commit"] == cluster.git.head(name)
    shown = build["source"]["git"]
    assert (shown["ssh_key"], shown["known_hosts"]) == ("***", cluster.git.known_hosts)
    key_lines = cluster.git.ssh_key.splitlines()[1:-1]
    log = framework.log(build["id"])
    assert not [line for line in key_lines if line in log + str(build)]


def test_an_unknown_and_a_wrong_host_key(
    framework: Framework, cluster: Cluster, name: str, tmp_path: Path
) -> None:
    make_key(tmp_path / "key")
    kind, key, *_ = (tmp_path / "key.pub").read_text().split()
    place = cluster.git.known_hosts.split()[0]
    keyscan = f"ssh-keyscan -p {cluster.config.ports.ssh} {cluster.address}"
    # Without known_hosts, what the executor image knows counts: nothing.
    sources = [ssh(cluster, known_hosts=f"{place} {kind} {key}"), ssh(cluster)]
    del sources[1]["known_hosts"]
    for source in sources:
        url = cluster.git.ssh_url("app")
        build_id = framework.submit(url, f"{name}:1", source=source)
        assert keyscan in framework.failed(build_id, "git_host_key_failed")["message"]


def test_a_wrong_key(framework: Framework, cluster: Cluster, name: str, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    source = ssh(cluster, ssh_key=(tmp_path / "key").read_text())
    build_id = framework.submit(cluster.git.ssh_url("app"), f"{name}:1", source=source)
    assert "ssh key" in framework.failed(build_id, "git_auth_failed")["message"]


def test_a_submodule_with_a_relative_url(framework: Framework, cluster: Cluster, name: str) -> None:
    cluster.git.create_repository(f"{name}-lib", {"lib.txt": "lib"}, private=True)
    lib = cluster.git.head(f"{name}-lib")
    url = create(cluster, name, {"libs/one": Submodule(f"../{name}-lib.git", lib)}, private=True)
    login = {"username": cluster.git.username, "password": cluster.git.password}
    _, image = built(framework, cluster, url, name, submodules=True, **login)
    assert image["src/libs/one/lib.txt"] == b"lib"
    assert not [path for path in image if "/.git/" in path]


def test_a_submodule_on_another_port_with_its_own_login(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    cluster.git.create_repository(f"{name}-lib", {"lib.txt": "lib"}, private=True)
    lib = Submodule(cluster.git.ssh_url(f"{name}-lib"), cluster.git.head(f"{name}-lib"))
    url = create(cluster, name, {"lib": lib})
    place = f"{cluster.address}:{cluster.config.ports.ssh}"
    source = {
        "submodules": True,
        "known_hosts": cluster.git.known_hosts,
        "logins": [{"host": place, "ssh_key": cluster.git.ssh_key}],
    }
    build, image = built(framework, cluster, url, name, **source)
    assert image["src/lib/lib.txt"] == b"lib"
    (login,) = build["source"]["git"]["logins"]
    assert login == {"host": place, "username": None, "password": None, "ssh_key": "***"}


@pytest.mark.parametrize("way", ["http", "ssh"])
def test_lfs_objects_are_in_the_image(
    framework: Framework, cluster: Cluster, name: str, way: str
) -> None:
    content = bytes(range(256)) * 1000
    url = create(cluster, name, {"big.bin": LfsFile(content)}, private=True)
    source: dict[str, Any] = {
        "username": cluster.git.username,
        "password": cluster.git.password,
    }
    if way == "ssh":
        url, source = cluster.git.ssh_url(name), ssh(cluster)
    _, image = built(framework, cluster, url, name, lfs=True, **source)
    assert image["src/big.bin"] == content


def test_pointers_are_told_of(framework: Framework, cluster: Cluster, name: str) -> None:
    url = create(cluster, name, {"big.bin": LfsFile(b"big")})
    build, image = built(framework, cluster, url, name)
    assert image["src/big.bin"].startswith(b"version https://git-lfs")
    assert "Git LFS pointers" in framework.log(build["id"])


def test_a_merge_requests_ref(framework: Framework, cluster: Cluster, name: str) -> None:
    url = create(cluster, name, {"a.txt": "a"})
    commit = cluster.git.commit(name, {"a.txt": "theirs"}, branch="theirs")
    ref = "refs/merge-requests/1/head"
    cluster.git.create_ref(name, ref, commit)
    build, image = built(framework, cluster, url, name, ref=ref)
    assert (build["result"]["commit"], image["src/a.txt"]) == (commit, b"theirs")


def test_history_for_those_who_keep_git(framework: Framework, cluster: Cluster, name: str) -> None:
    """As deep as asked for, as the build itself sees it; tags are there."""
    url = create(cluster, name, {"a.txt": "1"})
    cluster.git.commit(name, {"a.txt": "2"})
    head = cluster.git.commit(name, {"a.txt": "3"}, tag="v3")
    asked = {depth: {"depth": depth, "keep_git_dir": True} for depth in (1, 2, 0)}
    ids = [
        framework.submit(url, f"{name}:{depth}", source=source) for depth, source in asked.items()
    ]
    for build_id in ids:
        framework.succeeded(build_id)
    for depth, commits in ((1, 1), (2, 2), (0, 3)):
        image = pull(cluster, name, str(depth)).files
        assert image["src/.git/HEAD"].decode().strip() == head
        assert "src/.git/refs/tags/v3" in image
        # Few enough objects are kept one by one (fetch.unpackLimit).
        objects = [image[path] for path in image if re.match(r"src/\.git/objects/../", path)]
        found = sum(zlib.decompress(data).startswith(b"commit ") for data in objects)
        assert found == commits, f"depth {depth}"
        # A shallow repository lists where its history ends.
        assert ("src/.git/shallow" in image) is (commits < 3)
        assert cluster.git.password.encode() not in b"".join(image.values())
