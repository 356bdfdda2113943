"""The tracker of a farm: TVM's, made to live on whatever its peers send, and to say how long devices have been busy.

What TVM's own does wrong with bad peers (apache-tvm 0.27): text that is not UTF-8, a greeting that comes in two pieces
and one field of a wrong type raise where nobody catches, once for ever; a summary then fails for everybody. Requests
of clients that have gone count as pending, and running out of file descriptors makes it spin.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop
from tvm.rpc import tracker as tvm_tracker

from dscompile.farm import wire
from dscompile.farm.address import Address

Log = Callable[[str], None]

_KEY = re.compile(r"[\w.+:-]{1,200}")
_HANDSHAKE_S = 10.0
_MAX_CONNECTIONS = 4096
_MAX_UNREAD = 256  # answers that a peer leaves unread
_RETRY_S = 0.5


def run_tracker(listener: socket.socket, log: Log) -> None:
    """Serves devices and clients until it is interrupted (KeyboardInterrupt)."""
    logger = logging.getLogger("RPCTracker")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(_ToLog(log))
    asyncio.set_event_loop(asyncio.new_event_loop())
    tracker = _Tracker(listener, log)
    try:
        tracker.run()
    finally:
        listener.close()


class _ToLog(logging.Handler):
    """What TVM's tracker has to say, one line each."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage())


class _Connection(tvm_tracker.TCPEventHandler):  # type: ignore[misc]  # tvm carries no types
    """A device or a client."""

    put_values: list[tuple[Any, ...]]  # offers: connection, host, port, match key

    def __init__(self, tracker: _Tracker, sock: socket.socket, address: tuple[Any, ...]) -> None:
        super().__init__(tracker, sock, address)
        self.heard = time.monotonic()
        self.has_offered = False
        self.taken: float | None = None  # since when no offer of this device is open
        self._greeting = b""
        self._greeted = False
        self._farm: _Tracker = tracker
        self._ioloop.call_later(_HANDSHAKE_S, self._expect_greeting)

    def name(self) -> str:
        """host:port, for the log."""
        return str(Address(self._addr[0], self._addr[1]))

    def is_open(self) -> bool:
        return self._sock is not None

    def on_message(self, message: bytes) -> None:
        """Bytes from the peer; whatever they are, the worst that may happen is that it is sent away."""
        self.heard = time.monotonic()
        try:
            if not self._greeted:
                message = self._greet(message)
            if len(self._pending_write) > _MAX_UNREAD:
                raise ValueError("it does not read its answers")
            if message and self.is_open():
                super().on_message(message)
        except UnicodeDecodeError:
            self.send_away("its message is no text")
        except (OSError, ValueError) as error:
            self.send_away(str(error))

    def call_handler(self, message: object) -> None:
        """A message of the peer, who is sent away if it is none of the protocol's."""
        try:
            args = _checked(message)
        except ValueError as error:
            self.send_away(str(error))
            return
        if args[0] == wire.REQUEST:
            self._farm.request(args[1], args[2], args[3], self.deliver)
        else:
            super().call_handler(args)
        if args[0] == wire.PUT:
            self.has_offered = True
            self.put_values = [value for value in self.put_values if value[3] in self.pending_matchkeys]
        elif args[0] == wire.UPDATE_INFO:
            self._farm.log(f"device {self.name()} has joined as '{_device_key(args[1])}'")
        self._farm.note_offers()

    def deliver(self, offer: list[Any]) -> bool:
        """Gives a device to this client; False if it has gone."""
        if not self.is_open():
            return False
        try:
            self.ret_value([wire.SUCCESS, offer])
        except OSError:
            return False
        return self.is_open()

    def send_away(self, why: str) -> None:
        """Closes the connection of a peer that does not speak the protocol, and says so."""
        self._data.clear()
        if self.is_open():
            self._farm.log(f"sent {self.name()} away: {why}")
            self.close()

    def on_error(self, err: OSError) -> None:
        """The connection broke."""
        self.close()

    def on_close(self) -> None:
        super().on_close()
        if self._info:
            self._farm.log(f"device {self.name()} ('{_device_key(self._info)}') has left")

    def summary(self) -> dict[str, Any]:
        """What the device says about itself, and for how long it has been silent and busy, in seconds."""
        now = time.monotonic()
        busy = None if self.taken is None else round(now - self.taken, 1)
        return {**self._info, "silent_s": round(now - self.heard, 1), "busy_s": busy}

    def _greet(self, message: bytes) -> bytes:
        """Answers the greeting, which may come in pieces; returns what came after it."""
        self._greeting += message
        if len(self._greeting) < 4:
            return b""
        if struct.unpack("<i", self._greeting[:4])[0] != wire.TRACKER_MAGIC:
            raise ValueError("it does not speak TVM's tracker protocol")
        self._greeted = True
        self._init_req_nbytes = 0
        self.write_message(struct.pack("<i", wire.TRACKER_MAGIC), binary=True)
        return self._greeting[4:]

    def _expect_greeting(self) -> None:
        if not self._greeted:
            self.send_away("it said nothing")


class _Tracker(tvm_tracker.TrackerServerHandler):  # type: ignore[misc]  # tvm carries no types
    def __init__(self, listener: socket.socket, log: Log) -> None:
        super().__init__(listener, stop_key=object())  # no peer may stop it
        self.log = log

    def note_offers(self) -> None:
        """Remembers since when each device has had no open offer."""
        for connection in self._connections:
            if connection.pending_matchkeys or not connection.has_offered:
                connection.taken = None
            elif connection.taken is None:
                connection.taken = time.monotonic()

    def create_scheduler(self, key: str) -> _Queue:
        """The queue of a key."""
        return _Queue(key)

    def close(self, conn: _Connection) -> None:
        """A connection has been closed: its offers and requests go with it."""
        self._connections.discard(conn)
        for value in conn.put_values:
            queue = self._scheduler_map.get(value[3].rpartition(":")[0])
            if queue is not None:
                queue.remove(value)
        for key, queue in list(self._scheduler_map.items()):
            if queue.forget_gone():
                del self._scheduler_map[key]

    def _on_event(self, _: object) -> None:
        """Somebody connects."""
        try:
            while len(self._connections) < _MAX_CONNECTIONS:
                connection, address = self._sock.accept()
                wire.keep_alive(connection)
                _Connection(self, connection, address)
            self.log(f"{_MAX_CONNECTIONS} connections are open: no more are taken for now")
        except BlockingIOError:
            return
        except OSError as error:
            self.log(f"cannot accept a connection: {error.strerror}")
        self._pause()

    def _pause(self) -> None:
        """Stops listening for a moment, instead of being told about the same connection again and again."""
        self._ioloop.remove_handler(self._sock.fileno())
        self._ioloop.call_later(_RETRY_S, self._listen)

    def _listen(self) -> None:
        self._ioloop.add_handler(self._sock.fileno(), lambda _, events: self._on_event(events), IOLoop.READ)


class _Queue(tvm_tracker.PriorityScheduler):  # type: ignore[misc]  # tvm carries no types
    """Offers and requests of one key."""

    _requests: list[tuple[int, int, Any]]  # -priority, number, callback

    def forget_gone(self) -> bool:
        """Forgets the requests of clients that have gone; whether nothing is left."""
        self._requests = [item for item in self._requests if item[-1].__self__.is_open()]
        heapq.heapify(self._requests)
        return not self._requests and not self._values


def _checked(args: object) -> list[Any]:
    """The message. Raises ValueError if it is none that a device or client may send."""
    if not isinstance(args, list) or not args or not isinstance(args[0], int):
        raise ValueError("its message is no list that begins with a number")
    code, rest = args[0], args[1:]
    if code not in _MESSAGES:
        raise ValueError(f"it sent code {code}, which this tracker does not take")
    if not _MESSAGES[code](*rest[:4], *[None] * (4 - len(rest))):
        raise ValueError(f"its message of code {code} is incomplete or of wrong types")
    return args


def _is_offer(key: object, place: object, announce: object, _: object) -> bool:
    if not isinstance(place, list) or len(place) != 2 or not _is_key(key):
        return False
    port, match_key = place
    named = isinstance(match_key, str) and match_key.rpartition(":")[0] == key
    return named and _is_port(port) and (announce is None or isinstance(announce, str))


def _is_request(key: object, _user: object, priority: object, _: object) -> bool:
    return _is_key(key) and isinstance(priority, int)


def _is_introduction(info: object, *_: object) -> bool:
    if not isinstance(info, dict):
        return False
    key, place = info.get("key"), info.get("addr")
    if not isinstance(key, str) or not _is_key(key.removeprefix("server:")):
        return False
    return isinstance(place, list) and len(place) == 2 and isinstance(place[0], str | None) and _is_port(place[1])


def _is_key(key: object) -> bool:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _is_port(port: object) -> bool:
    return isinstance(port, int) and 0 < port < 65536


def _needs_nothing(*_: object) -> bool:
    return True


def _device_key(info: dict[str, Any]) -> str:
    key: str = info["key"]
    return key.removeprefix("server:")


_MESSAGES: dict[int, Callable[..., bool]] = {
    wire.PING: _needs_nothing,
    wire.PUT: _is_offer,
    wire.REQUEST: _is_request,
    wire.UPDATE_INFO: _is_introduction,
    wire.SUMMARY: _needs_nothing,
    wire.GET_PENDING_MATCHKEYS: _needs_nothing,
}
