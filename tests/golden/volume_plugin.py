"""A Docker volume driver with directories of a test's own.

https://docs.docker.com/engine/extend/plugins_volume/#volume-plugin-protocol
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PLUGINS = Path("/run/docker/plugins")
"""Where every engine of this machine looks for them."""


class VolumePlugin:
    """`made`: the options of each volume that an engine asked for."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.made: dict[str, dict[str, str]] = {}
        self._folder = folder

    def answer(self, call: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("Name", "")
        path = self._folder / name
        known = {"Name": name, "Mountpoint": str(path)}
        match call:
            case "Plugin.Activate":
                return {"Implements": ["VolumeDriver"]}
            case "VolumeDriver.Create":
                path.mkdir(exist_ok=True)
                self.made[name] = asked.get("Opts") or {}
            case "VolumeDriver.Mount" | "VolumeDriver.Path":
                return {"Mountpoint": str(path), "Err": ""}
            case "VolumeDriver.Get":
                found = name in self.made
                return {"Volume": known, "Err": ""} if found else {"Err": "there is none"}
            case "VolumeDriver.List":
                return {"Volumes": [{"Name": each} for each in self.made], "Err": ""}
            case "VolumeDriver.Capabilities":
                return {"Capabilities": {"Scope": "local"}}
            case "VolumeDriver.Remove":
                self.made.pop(name, None)
            case _:
                pass
        return {"Err": ""}

    @contextlib.contextmanager
    def serving(self) -> Iterator[VolumePlugin]:
        """Engines find it while the block runs."""
        plugin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = plugin.answer(self.path.strip("/"), json.loads(body or b"{}"))
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.docker.plugins.v1.1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def address_string(self) -> str:
                return "engine"

            def log_message(self, *_: object) -> None:
                pass

        PLUGINS.mkdir(parents=True, exist_ok=True)
        path = PLUGINS / f"{self.name}.sock"
        with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown()
                path.unlink()
