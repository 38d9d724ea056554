"""A Mesos master or agent as a process of its own: ``python -m devcluster.mesosd master|agent``.

The archive that libmesos comes in has no executables, but everything that ``mesos-local`` is made
of is exported: `mesos::internal::local::launch` starts a master and any number of agents in this
process, configured by ``MESOS_*`` in the environment. A master is a launch with no agent. An agent
is a launch with one, after which the idle master beside it is ended and the agent is pointed at the
real one. Written against libmesos 1.11.0 on x86-64 only (SHA-256 checked by `libmesos`), so the C++
calling convention and the sizes below are facts, not guesses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time
import urllib.request
from pathlib import Path

from devcluster.libmesos import LAUNCH, LibMesos

STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"  # std::string, C++11 ABI
LOAD = f"_ZN5flags9FlagsBase4loadERK6OptionI{STRING}EiPKPKcbb"
INITIALIZE = f"_ZN7process10initializeERK6OptionI{STRING}ES9_S9_"
UPID = f"_ZN7process4UPIDC1ERK{STRING}"
APPOINT = "_ZN5mesos6master8detector24StandaloneMasterDetector7appointERKN7process4UPIDE"
#: Larger than any object that is constructed in such a buffer.
ROOM = 1 << 16
#: How long to wait between looks at a master that does not answer.
RETRY_SECONDS = 0.2


class Library:
    """Calls into libmesos. Memory handed to it is kept for the life of the process."""

    def __init__(self, path: Path) -> None:
        # Lazy: many of its symbols (Python 2's, OpenSSL's) do not exist and are never called.
        self._dll = ctypes.CDLL(str(path), mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
        self._kept: list[object] = []

    def call(self, symbol: str, *arguments: int | None) -> None:
        function = self._dll[symbol]
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_void_p] * len(arguments)
        function(*arguments)

    def address_of(self, symbol: str) -> int:
        return ctypes.cast(self._dll[symbol], ctypes.c_void_p).value or 0

    def room(self, size: int = ROOM) -> int:
        """Zeroed memory of our own; its address."""
        buffer = ctypes.create_string_buffer(size)
        self._kept.append(buffer)
        return ctypes.addressof(buffer)

    def string(self, text: str, at: int | None = None) -> int:
        """A `const std::string` (pointer, length, capacity)."""
        data = ctypes.create_string_buffer(text.encode())
        self._kept.append(data)
        place = self.room(32) if at is None else at
        fields = struct.pack("<QQQQ", ctypes.addressof(data), len(text), len(text), 0)
        ctypes.memmove(place, fields, len(fields))
        return place

    def some(self, text: str) -> int:
        """An `Option<std::string>` that has a value (state SOME is 0)."""
        place = self.room(40)
        self.string(text, place + 8)
        return place

    def none(self) -> int:
        """An `Option<std::string>` without a value (state NONE is 1)."""
        place = self.room(40)
        ctypes.memmove(place, struct.pack("<Q", 1), 8)
        return place

    def upid(self, text: str) -> int:
        """A `process::UPID` such as ``master@10.0.0.1:5050``."""
        place = self.room(1024)
        self.call(UPID, place, self.string(text))
        return place


def word(address: int) -> int:
    return int.from_bytes(ctypes.string_at(address, 8), "little", signed=True)


def base_object(address: int, slot: int) -> int:
    """A virtual base of the object at `address`; its offset is in the vtable, below the pointer."""
    return address + word(word(address) - slot)


def launch(library: Library, delegate: str) -> None:
    """What ``mesos-local`` does: flags from the environment, libprocess, master, agents."""
    flags = library.room()
    library.call("_ZN5mesos8internal5local5FlagsC1Ev", flags)
    name = (ctypes.c_char_p * 1)(b"mesos-local")
    argv = ctypes.cast(name, ctypes.c_void_p).value
    warnings = library.room(4096)
    ignore_unknown, refuse_duplicates = 1, 0
    prefix = library.some("MESOS_")
    flags_base = base_object(flags, 32)
    library.call(LOAD, warnings, flags_base, prefix, 1, argv, ignore_unknown, refuse_duplicates)
    library.call(INITIALIZE, library.some(delegate), library.none(), library.none())
    version = library.room()
    library.call("_ZN5mesos8internal14VersionProcessC1Ev", version)
    process = base_object(version, 24)
    library.call("_ZN7process5spawnEPNS_11ProcessBaseEb", library.room(4096), process, 0)
    library.call(LAUNCH, library.room(4096), flags, 0)


def end_idle_master(library: Library, address: str) -> None:
    """Ends the master that `launch` also started in an agent's process."""
    master = library.upid(f"master@{address}")
    library.call("_ZN7process9terminateERKNS_4UPIDEb", master, 0)
    five_seconds = ctypes.c_int64(5 * 10**9)
    library.call("_ZN7process4waitERKNS_4UPIDERK8Duration", master, ctypes.addressof(five_seconds))


def appoint(library: Library, detector: int, master: str) -> None:
    """Tells the agent who leads; it (re-)registers at once, also with the master it knew."""
    library.call(APPOINT, detector, library.upid(f"master@{master}"))


def wait_for_master(master: str) -> socket.socket:
    """Returns a connection to the master as soon as it answers."""
    host, _, port = master.rpartition(":")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((host, int(port)), timeout=5)
            with opener.open(f"http://{master}/version", timeout=5):
                connection.settimeout(None)
                return connection
        time.sleep(RETRY_SECONDS)


def follow_master(library: Library, detector: int, master: str) -> None:
    """Appoints the master now and again whenever it comes back.

    An agent that lost its master tries it again only after up to 75 s. An idle connection that
    breaks says at once that the master's process has ended.
    """
    while True:
        with wait_for_master(master) as connection:
            appoint(library, detector, master)
            try:
                while connection.recv(1024):
                    pass
            except OSError:
                continue


def main() -> None:
    role, *rest = sys.argv[1:]
    mesos = LibMesos.read(Path(os.environ["BUILDER_LIBMESOS"]))
    os.environ["MESOS_NUM_SLAVES"] = "1" if role == "agent" else "0"
    library = Library(mesos.path)
    if role == "master":
        launch(library, "master")
    else:
        (master,) = rest
        launch(library, "slave(1)")
        loaded_at = library.address_of(LAUNCH) - mesos.addresses["launch"]
        detector = word(loaded_at + mesos.addresses["detector"])
        own = f"{os.environ['LIBPROCESS_IP']}:{os.environ['LIBPROCESS_PORT']}"
        end_idle_master(library, own)
        arguments = (library, detector, master)
        threading.Thread(target=follow_master, args=arguments, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
