"""A Mesos agent for tests of the executor: it can lose, repeat and refuse what it likes."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeAgent

    def do_POST(self) -> None:
        agent = self.server
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        agent.paths.add(self.path)
        agent.authorizations.add(self.headers.get("Authorization"))
        if call["type"] != "SUBSCRIBE":
            take = agent.take_message if call["type"] == "MESSAGE" else agent.take_update
            taken = take(call)
            if taken is None:
                self.close_connection = True
            else:
                agent.answer(self, taken)
            return
        agent.subscriptions.append((time.monotonic(), call["subscribe"]))
        status = agent.subscribe_status()
        if status != 200:
            agent.answer(self, status)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        events.put(agent.subscribed())
        agent.streams.append(events)
        with contextlib.suppress(ConnectionError):  # the executor has hung up
            while (event := events.get()) is not None:
                self.send_event(event)
        self.close_connection = True

    def send_event(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode()
        record = b"%d\n%s" % (len(data), data)
        # In two pieces, so that a record's borders are not the chunks'.
        for piece in (record[:5], record[5:]):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


class FakeAgent(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.paths: set[str] = set()
        self.authorizations: set[str | None] = set()
        self.subscriptions: list[tuple[float, dict[str, Any]]] = []
        self.streams: list[queue.Queue[dict[str, Any] | None]] = []
        self.updates: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.acknowledge = True
        self.update_status: Callable[[], int] = lambda: 202
        self.message_status: Callable[[], int | None] = lambda: 202
        self.subscribe_status: Callable[[], int] = lambda: 200
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{self.server_address[0]!s}:{self.server_address[1]}"

    def answer(self, handler: Handler, status: int) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def subscribed(self) -> dict[str, Any]:
        return {
            "type": "SUBSCRIBED",
            "subscribed": {
                "executor_info": {"executor_id": {"value": "e"}},
                "framework_info": {
                    "id": {"value": "f"},
                    "capabilities": [{"type": "TASK_KILLING_STATE"}],
                },
                "agent_info": {"hostname": "agent.example"},
            },
        }

    def send(self, **event: Any) -> None:
        (kind,) = event
        self.streams[-1].put({"type": kind.upper(), kind: event[kind]})

    def launch(self, task_id: str, data: bytes = b"") -> None:
        task = {"task_id": {"value": task_id}, "data": base64.b64encode(data).decode()}
        self.send(launch={"task": task})

    def take_update(self, call: dict[str, Any]) -> int:
        status = self.update_status()
        if status == 202:
            update = call["update"]["status"]
            self.updates.append(update)
            if self.acknowledge:
                self.acknowledge_update(update)
        return status

    def take_message(self, call: dict[str, Any]) -> int | None:
        """The status to answer with; None: hang up without a word."""
        status = self.message_status()
        if status == 202:
            self.messages.append(call["message"])
        return status

    def acknowledge_update(self, update: dict[str, Any]) -> None:
        self.send(acknowledged={"task_id": update["task_id"], "uuid": update["uuid"]})

    def drop_connection(self) -> None:
        self.streams[-1].put(None)

    def close(self) -> None:
        """As the death of an agent: every stream ends, and nobody listens any more."""
        for stream in self.streams:
            stream.put(None)
        self.shutdown()
        self.server_close()

    def environment(self) -> dict[str, str]:
        """What this agent tells its executors."""
        return {
            "MESOS_AGENT_ENDPOINT": self.endpoint,
            "MESOS_SLAVE_PID": f"slave(1)@{self.endpoint}",
            "MESOS_FRAMEWORK_ID": "f",
            "MESOS_EXECUTOR_ID": "e",
            "MESOS_CHECKPOINT": "1",
            "MESOS_RECOVERY_TIMEOUT": "15mins",
            "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "7secs",
        }

    def states(self) -> list[str]:
        return [update["state"] for update in self.updates]
