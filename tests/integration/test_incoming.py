"""Events of a forge and orders from a chat, to a real framework process: images come of them."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import USER, Framework, pull, until
from tests.unit.forges import SECRET, gitlab, sent
from tests.unit.receivers import Receiver, answers, receiving

pytestmark = pytest.mark.integration

TOKEN = "of-rocket-chat-0123456789"
OWN_RULES = """\
version: 1
builds:
  - branches: [main]
    images: ["REGISTRY/{name}:{branch}-{short}"]
    build_args: {FROM_FILE: "yes"}
    supersede: queued
"""


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Iterator[Framework]:
    running = Framework(cluster, tmp_path / "data", PORT + 11)
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def hooks_file(path: Path, cluster: Cluster, name: str, forge: Receiver) -> Path:
    registry = cluster.registry
    login = f'{{username = "{registry.username}", password = "{registry.password}"}}'
    # A repository in a group, as forges have them; the dev cluster's server calls groups so.
    group = "slow/0.1"
    path.write_text(f"""
[forges.gitlab]
kind = "gitlab"
url = "http://{cluster.address}"
secret = "{SECRET}"
user = "{USER}"
token = "gl-t0ken"
api = "http://127.0.0.1:{forge.port}/api/v4"
files = true
file_images = ["{registry.address}/{{name}}"]
build = {{registry_auth = {login}}}

[[rules]]
repositories = ["{group}/*-ruled"]
tags = ["v*"]
images = ["{registry.address}/{{name}}:{{version}}", "{registry.address}/{{name}}:{{minor}}"]

[apps.app]
repository = "{cluster.git.clone_url(f"{name}-ruled", pause=0.1)}"
images = ["{registry.address}/{name}:{{ref}}"]
build = {{registry_auth = {login}}}

[chats.rocket]
kind = "rocketchat"
token = "{TOKEN}"
users = {{ann = "{USER}"}}
""")
    return path


def event(cluster: Cluster, name: str, ref: str, commit: str, pause: float = 0.1) -> dict[str, Any]:
    """What GitLab tells of a push to a repository of the dev cluster."""
    url = cluster.git.clone_url(name, pause=pause)
    told = gitlab(ref, checkout_sha=commit, commits=[])
    told["project"] |= {
        "path_with_namespace": urlsplit(url).path.strip("/").removesuffix(".git"),
        "git_http_url": url,
    }
    return told


def pushed(framework: Framework, event: dict[str, Any]) -> requests.Response:
    return requests.post(f"{framework.url}/hooks/gitlab", **sent("gitlab", event), timeout=30)


def say(framework: Framework, text: str, number: int) -> str:
    body = {"token": TOKEN, "user_name": "ann", "text": text, "message_id": f"m{number}"}
    answer = requests.post(f"{framework.url}/hooks/rocket", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def files_of(cluster: Cluster) -> Any:
    """GitLab's API of repositories' files, over those of the dev cluster's git server."""

    def behave(receiver: Receiver, connection: socket.socket) -> None:
        parts = urlsplit(receiver.take(connection).line.split()[1])
        match = re.fullmatch(r"/api/v4/projects/(\S+)/repository/files/(\S+)/raw", parts.path)
        assert match is not None, parts.path
        name = match[1].split("%2F")[-1]
        text = cluster.git.read(name, match[2], parse_qs(parts.query)["ref"][0])
        body = (text or "").encode()
        status = "200 OK" if text is not None else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return behave


def test_pushes_become_images(own: Framework, cluster: Cluster, name: str, tmp_path: Path) -> None:
    dockerfile = f"FROM {cluster.base_image}\nARG FROM_FILE=no\nRUN echo $FROM_FILE > /from\n"
    ruled, free = f"{name}-ruled", f"{name}-free"
    cluster.git.create_repository(ruled, {"Dockerfile": dockerfile})
    released = cluster.git.commit(ruled, {"a": "1"}, tag="v1.2.3")
    # The tag is what was pushed; the branch is elsewhere by the time it is built.
    cluster.git.commit(ruled, {"a": "2"})
    rules = OWN_RULES.replace("REGISTRY", cluster.registry.address)
    cluster.git.create_repository(free, {"Dockerfile": dockerfile, ".builder.yml": rules})
    with receiving(files_of(cluster)) as forge:
        file = hooks_file(tmp_path / "hooks.toml", cluster, name, forge)
        own.settings["BUILDER_HOOKS_FILE"] = str(file)
        own.start()
        tagged = pushed(own, event(cluster, ruled, "refs/tags/v1.2.3", released))
        assert tagged.status_code == 202, tagged.text
        again = pushed(own, event(cluster, ruled, "refs/tags/v1.2.3", released))
        assert again.json() == tagged.json(), "the event came twice, the build did not"
        (told,) = tagged.json()["builds"]
        build = own.succeeded(told["id"])
        assert build["result"]["commit"] == released
        digests = {pull(cluster, ruled, tag).digest for tag in ("1.2.3", "1.2")}
        assert digests == {build["result"]["digest"]}
        image = pull(cluster, ruled, "1.2.3")
        labels = image.config["config"]["Labels"]
        assert labels["org.opencontainers.image.ref.name"] == "v1.2.3"
        assert image.files["from"] == b"no\n"

        head = cluster.git.head(free)
        answer = pushed(own, event(cluster, free, "refs/heads/main", head))
        (told,) = answer.json()["builds"]
        assert told["images"] == [f"{cluster.registry.address}/{free}:main-{head[:8]}"]
        build = own.succeeded(told["id"])
        image = pull(cluster, free, f"main-{head[:8]}")
        assert (image.digest, image.files["from"]) == (build["result"]["digest"], b"yes\n")
        assert (build["labels"]["branch"], build["group"][-4:]) == ("main", "free")
        asked = [one.headers["private-token"] for one in forge.requests]
        assert asked == ["gl-t0ken"]
    secret = (own.log_file.read_text(), json.dumps(build))
    assert not any(SECRET in text or "gl-t0ken" in text for text in secret)


def test_orders_from_the_chat(own: Framework, cluster: Cluster, name: str, tmp_path: Path) -> None:
    dockerfile = (
        f"FROM {cluster.base_image}\nRUN echo it is {name}\nRUN test ! -e /slow || sleep 60\n"
    )
    ruled = f"{name}-ruled"
    cluster.git.create_repository(ruled, {"Dockerfile": dockerfile})
    slow = dockerfile.replace("RUN test", "COPY Dockerfile /slow\nRUN test")
    cluster.git.commit(ruled, {"Dockerfile": slow}, branch="feature/slow")
    with receiving(answers("404 Not Found")) as forge:
        file = hooks_file(tmp_path / "hooks.toml", cluster, name, forge)
        own.settings["BUILDER_HOOKS_FILE"] = str(file)
        own.start()
        build_id = say(own, "build app", 1).split("`")[1]
        build = own.succeeded(build_id)
        assert pull(cluster, name, "latest").digest == build["result"]["digest"]
        assert " succeeded after " in say(own, "status app", 2)
        until(lambda: own.get(build_id)["log"]["complete"], "the log does not end")
        last = own.log(build_id).splitlines()[-1]
        assert last in say(own, f"logs {build_id}", 3).replace("\u2060", "")

        build_id = say(own, "build app feature/slow", 4).split("`")[1]
        own.wait_for(build_id, lambda _: "test ! -e" in own.log(build_id), "in its last step")
        assert f"{name}:feature-slow is building" in say(own, "status", 5).replace("\u2060", "")
        assert build_id in say(own, f"cancel {build_id}", 6)
        assert own.wait_end(build_id)["state"] == "CANCELLED"
        assert " was cancelled after " in say(own, f"status {build_id}", 7)
    assert TOKEN not in own.log_file.read_text()
