"""A device of a farm: serves one client after the other, as TVM's RPC server does, and goes on whatever they do.

TVM's own server (tvm.rpc.server) stops for good after a candidate that crashes, waits for ever for a peer that says
nothing, and gives up a tracker that is away for a minute. This one speaks the same protocol to trackers and clients.
"""

from __future__ import annotations

import os
import platform
import secrets
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dscompile.farm import wire
from dscompile.farm.address import Address
from dscompile.farm.limits import Limits
from dscompile.farm.scratch import scratch_directory
from dscompile.farm.session import Session, serve

Log = Callable[[str], None]

_ANSWER_S = 5.0
_HANDSHAKE_S = 3.0
_PING_S = 2.0
_UNUSED_S = 6.0  # a client that was given the device and does not come
_MAX_KEY_BYTES = 1024
_TIMEOUT_OPTION = "-timeout="


@dataclass(frozen=True)
class DeviceSettings:
    """Which tracker a device belongs to, under which key, and what a session may take.

    `announce` is the host that clients connect to, if it is not the one that the tracker sees.
    """

    tracker: Address
    key: str
    limits: Limits
    announce: str | None = None


def run_device(listener: socket.socket, settings: DeviceSettings, log: Log) -> None:
    """Serves clients until it is interrupted (KeyboardInterrupt). Raises ToolError if there is no scratch directory."""
    load_runtime()
    with scratch_directory() as root:
        device = _Device(listener, settings, root, log)
        try:
            device.run()
        finally:
            device.close()


def load_runtime() -> None:
    """Imports what sessions need of tvm, so that each has it from its start: the runtime, and not the compiler."""
    if "tvm" in sys.modules:
        return
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    try:
        import tvm.rpc
        import tvm.runtime  # noqa: F401
    finally:
        del os.environ["TVM_USE_RUNTIME_LIB"]


class _Device:
    def __init__(self, listener: socket.socket, settings: DeviceSettings, root: Path, log: Log) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._port: int = listener.getsockname()[1]
        self._settings = settings
        self._root = root
        self._log = log
        self._tracker: wire.TrackerConnection | None = None
        self._complained = False
        self._match_key = ""

    def close(self) -> None:
        self._listener.close()
        if self._tracker is not None:
            self._tracker.close()

    def run(self) -> None:
        while True:
            try:
                if self._tracker is None:
                    self._tracker = self._join()
                connection, peer, limits = self._next_client(self._tracker)
            except OSError as error:
                self._leave(error)
                continue
            others = [self._listener.fileno(), self._tracker.fileno()]
            session = serve(connection, limits, self._root, others)
            self._log(_sentence(peer, session))

    def _join(self) -> wire.TrackerConnection:
        """Connects to the tracker and introduces this device. Raises OSError."""
        tracker = wire.TrackerConnection(self._settings.tracker, _ANSWER_S)
        try:
            info = {
                "key": f"server:{self._settings.key}",
                "addr": [self._settings.announce, self._port],
                "machine": platform.machine(),
                "limit_s": self._settings.limits.time_s,
            }
            tracker.command([wire.UPDATE_INFO, info], _ANSWER_S)
        except OSError:
            tracker.close()
            raise
        self._log(f"joined the tracker at {self._settings.tracker} as '{self._settings.key}'")
        self._complained = False
        return tracker

    def _leave(self, error: OSError) -> None:
        """The tracker does not answer: says so once, and lets some time pass."""
        if not self._complained:
            reason = error.strerror or str(error)
            self._log(
                f"the tracker at {self._settings.tracker} does not answer ({reason}): trying again every {_PING_S:g} s"
            )
            self._complained = True
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None
        time.sleep(_PING_S)

    def _next_client(self, tracker: wire.TrackerConnection) -> tuple[socket.socket, str, Limits]:
        """Offers this device to the tracker and waits for the client that is given it. Raises OSError."""
        self._offer(tracker)
        taken_since: float | None = None
        ping = wire.deadline(_PING_S)
        while True:
            wait_s = max(0.0, ping - time.monotonic())
            watched: list[wire.Waitable] = [self._listener, tracker]
            ready, _, _ = select.select(watched, [], [], wait_s)
            if self._listener in ready:
                client = self._accept()
                if client is not None:
                    return client
            if tracker in ready:
                raise ConnectionResetError("it closed the connection")
            if time.monotonic() < ping:
                continue
            ping = wire.deadline(_PING_S)
            offered = tracker.ask([wire.GET_PENDING_MATCHKEYS], _ANSWER_S)
            if isinstance(offered, list) and self._match_key in offered:
                taken_since = None
            elif taken_since is None:
                taken_since = time.monotonic()
            elif time.monotonic() - taken_since > _UNUSED_S:
                self._log("the client that was given this device did not come: offering it again")
                self._offer(tracker)
                taken_since = None

    def _offer(self, tracker: wire.TrackerConnection) -> None:
        self._match_key = f"{self._settings.key}:{secrets.token_hex(16)}"
        offer = [wire.PUT, self._settings.key, [self._port, self._match_key], self._settings.announce]
        tracker.command(offer, _ANSWER_S)

    def _accept(self) -> tuple[socket.socket, str, Limits] | None:
        """The client that was given this device; None for any other peer, which is sent away."""
        try:
            connection, place = self._listener.accept()
        except BlockingIOError:
            return None  # it has gone already
        except OSError as error:
            self._log(f"cannot accept a connection: {error.strerror}")
            time.sleep(_PING_S)
            return None
        peer = str(Address(place[0], place[1]))
        try:
            options = self._shake_hands(connection)
            limits = self._limits(options or [])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.keep_alive(connection)
        except (OSError, ValueError) as error:
            connection.close()
            self._log(f"sent {peer} away: {error}")
            return None
        if options is None:
            connection.close()
            return None
        return connection, peer, limits

    def _shake_hands(self, connection: socket.socket) -> list[str] | None:
        """The options of the right client; None for a peer that only looked whether somebody listens.

        Raises OSError or ValueError for any other.
        """
        end = wire.deadline(_HANDSHAKE_S)
        try:
            magic = wire.receive_number(connection, end)
        except ConnectionResetError:
            return None
        if magic != wire.RPC_MAGIC:
            raise wire.ProtocolError("it does not speak TVM's RPC")
        size = wire.receive_number(connection, end)
        if not 0 < size <= _MAX_KEY_BYTES:
            raise wire.ProtocolError(f"it announces a key of {size} B")
        words = wire.receive(connection, size, end).decode("utf-8").split()
        if not words or not secrets.compare_digest(words[0].encode(), f"client:{self._match_key}".encode()):
            connection.sendall(struct.pack("<i", wire.CODE_MISMATCH))
            raise wire.ProtocolError("the tracker has not given it this device")
        name = f"server:{self._settings.key}".encode()
        connection.sendall(struct.pack("<ii", wire.CODE_SUCCESS, len(name)) + name)
        return words[1:]

    def _limits(self, options: list[str]) -> Limits:
        """The device's limits, with less time if the client says so. Raises ValueError."""
        limits = self._settings.limits
        for option in options:
            if option.startswith(_TIMEOUT_OPTION):
                asked = float(option[len(_TIMEOUT_OPTION) :])
                return Limits(min(limits.time_s, asked) if asked > 0 else limits.time_s, limits.memory_bytes)
        return limits


def _sentence(peer: str, session: Session) -> str:
    """`client 127.0.0.1:4711, candidate c17.so: crashed with SIGSEGV after 0.31 s`."""
    what = f", candidate {', '.join(session.loaded)}" if session.loaded else ""
    lives = "; the device lives on" if session.ending.is_told else ""
    return f"client {peer}{what}: {session.ending.text} after {session.elapsed_s:.2f} s{lives}"
