"""Webhooks of a real framework process: none is lost, whatever is killed and whoever is slow."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, until
from tests.unit import receivers
from tests.unit.receivers import Receiver, answers, receiving

pytestmark = pytest.mark.integration

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = {"cpus": 64, "mem": 64}


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Iterator[Framework]:
    """A framework of this test's own: it is killed, and its webhooks go to this test."""
    running = Framework(cluster, tmp_path, PORT + 7, {"BUILDER_WEBHOOK_SECRET": SECRET})
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def deliveries(framework: Framework, build_id: str, receiver: Receiver) -> list[Any]:
    """Those that go to `receiver`."""
    answer = framework.call("GET", f"/api/v1/builds/{build_id}/deliveries")
    assert answer.status_code == 200, answer.text
    found = answer.json()["deliveries"]
    return [one for one in found if one["url"] == f"http://127.0.0.1:{receiver.port}/***"]


def delivered(framework: Framework, build_id: str, receiver: Receiver) -> bool:
    found = deliveries(framework, build_id, receiver)
    return bool(found) and all(one["state"] == "DELIVERED" for one in found)


def test_a_build_is_told_while_another_receiver_answers_nobody(
    own: Framework, cluster: Cluster, name: str
) -> None:
    with receiving(answers("200 OK")) as good, receiving(receivers.holds) as slow:
        own.settings["BUILDER_WEBHOOKS"] = slow.url
        own.settings["BUILDER_WEBHOOK_HOSTS"] = f"http://127.0.0.1:{good.port}"
        own.settings["BUILDER_WEBHOOK_NETWORKS"] = "127.0.0.0/8"
        own.start()
        dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\n"
        repository = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
        build_id = own.submit(repository, f"{name}:1", webhooks=[good.url])
        build = own.succeeded(build_id)
        until(lambda: delivered(own, build_id, good), "the good receiver was not told")
        told = [request.json() for request in good.requests]
        assert [one["type"] for one in told] == ["build.queued", "build.started", "build.finished"]
        assert [one["data"]["sequence"] for one in told] == [1, 2, 3]
        last = told[-1]["data"]
        assert (last["state"], last["digest"]) == ("SUCCEEDED", build["result"]["digest"])
        assert last["commit"] == build["result"]["commit"]
        until(
            lambda: deliveries(own, build_id, slow)[0]["tries"] != [],
            "the slow receiver was not given up in time",
        )
        first = deliveries(own, build_id, slow)[0]
        assert first["tries"][0]["error"] == "no answer within 15 s"
        text = own.log_file.read_text()
        assert cluster.registry.password not in str(told)
        assert "t0ken" not in text


def test_chat_and_forge_see_what_became_of_a_build(
    own: Framework, cluster: Cluster, name: str, tmp_path: Path
) -> None:
    with receiving(answers("200 OK")) as chat, receiving(answers("201 Created")) as forge:
        file = tmp_path / "notify.toml"
        file.write_text(
            f'[chat]\nkind = "rocketchat"\nurl = "{chat.url}"\n'
            f'[gitlab]\nkind = "gitlab"\nurl = "http://{cluster.address}"\ntoken = "gl-t0ken"\n'
            f'api = "http://127.0.0.1:{forge.port}/api/v4"\n'
        )
        own.settings["BUILDER_NOTIFY_FILE"] = str(file)
        own.settings["BUILDER_WEBUI_URL"] = "https://builder.example.org"
        own.start()
        dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\n"
        cluster.git.create_repository(name, {"Dockerfile": dockerfile})
        # A repository in a group, as forges have them.
        repository = cluster.git.clone_url(name, pause=0.1)
        build_id = own.submit(repository, f"{name}:1")
        build = own.succeeded(build_id)
        until(lambda: bool(chat.requests) and len(forge.requests) == 2, "not everybody was told")
    page = f"https://builder.example.org/ui/builds/{build_id}"
    (message,) = chat.requests[0].json()["attachments"]
    assert message["title_link"] == page
    assert " succeeded after " in message["title"]
    fields = {field["title"]: field["value"] for field in message["fields"]}
    assert fields["Digest"] == build["result"]["digest"]
    commit = build["result"]["commit"]
    for request in forge.requests:
        path = f"/api/v4/projects/slow%2F0.1%2F{name}/statuses/{commit}"
        assert request.line == f"POST {path} HTTP/1.1"
        assert request.headers["private-token"] == "gl-t0ken"
        assert request.json()["target_url"] == page
    assert [one.json()["state"] for one in forge.requests] == ["running", "success"]
    assert "t0ken" not in own.log_file.read_text()


def test_killed_between_sending_and_noting_it_sends_the_same_message_again(
    own: Framework, cluster: Cluster, name: str
) -> None:
    arrived, killed = threading.Event(), threading.Event()

    def lets_the_sender_die(receiver: Receiver, connection: socket.socket) -> None:
        request = receiver.take(connection)
        if request.json()["type"] == "build.finished" and not killed.is_set():
            arrived.set()
            killed.wait(30)
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with receiving(lets_the_sender_die) as receiver:
        own.settings["BUILDER_WEBHOOKS"] = receiver.url
        own.start()
        url = cluster.git.clone_url("app")
        build_id = own.submit(url, f"{name}:1", resources=NOWHERE)
        own.cancel(build_id)
        assert arrived.wait(30)
        own.end(signal.SIGKILL)
        killed.set()
        own.start()
        until(lambda: delivered(own, build_id, receiver), "the message was not sent again")
    finished = [one for one in receiver.requests if one.json()["type"] == "build.finished"]
    assert len(finished) == 2
    assert len({one.headers["webhook-id"] for one in finished}) == 1
    assert len({one.body for one in finished}) == 1


def test_what_was_stored_before_a_kill_is_sent_after_it(
    own: Framework, cluster: Cluster, name: str
) -> None:
    with receiving(answers("200 OK")) as gone:
        pass
    own.settings["BUILDER_WEBHOOKS"] = gone.url
    own.start()
    url = cluster.git.clone_url("app")
    build_id = own.submit(url, f"{name}:1", resources=NOWHERE)
    own.cancel(build_id)
    own.end(signal.SIGKILL)
    with receiving(answers("200 OK"), port=gone.port) as back:
        own.start()
        until(lambda: delivered(own, build_id, back), "the messages were not sent")
    types = {request.json()["type"] for request in back.requests}
    assert types == {"build.queued", "build.finished"}
    assert len({request.headers["webhook-id"] for request in back.requests}) == 2
