"""TVM's tracker protocol, from the side of whoever asks: small JSON messages, with time limits and size limits.

TVM's own functions for this (tvm.rpc.base) wait without limit, believe any length, and need all of tvm imported.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Protocol, Self

from dscompile.farm.address import Address

RPC_MAGIC = 0xFF271
TRACKER_MAGIC = 0x2F271
CODE_SUCCESS = RPC_MAGIC
CODE_MISMATCH = RPC_MAGIC + 2
SUCCESS = 0
PING = 1
PUT = 3
REQUEST = 4
UPDATE_INFO = 5
SUMMARY = 6
GET_PENDING_MATCHKEYS = 7
MAX_MESSAGE_BYTES = 16 << 20  # a summary of a hundred thousand devices

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class Waitable(Protocol):
    """What select takes."""

    def fileno(self) -> int:
        """The number of the file descriptor."""
        ...


class ProtocolError(OSError):
    """The peer does not speak the protocol."""


class TrackerConnection:
    """A connection to a tracker. Everything raises OSError if the tracker cannot be reached, or is none."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Connects and shakes hands within `timeout_s`."""
        self._socket = socket.create_connection((address.host, address.port), timeout=timeout_s)
        try:
            keep_alive(self._socket)
            self._socket.sendall(struct.pack("<i", TRACKER_MAGIC))
            if receive_number(self._socket, deadline(timeout_s)) != TRACKER_MAGIC:
                raise ProtocolError(f"{address} is no TVM tracker")
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing can be asked afterwards."""
        self._socket.close()

    def fileno(self) -> int:
        """For select: readable when the tracker has gone."""
        return self._socket.fileno()

    def ask(self, message: list[object], timeout_s: float) -> object:
        """Sends a message and waits for the answer, at most `timeout_s`."""
        end = deadline(timeout_s)
        data = json.dumps(message).encode()
        self._socket.settimeout(timeout_s)
        self._socket.sendall(struct.pack("<i", len(data)) + data)
        size = receive_number(self._socket, end)
        if not 0 < size <= MAX_MESSAGE_BYTES:
            raise ProtocolError(f"the tracker announces a message of {size} B")
        try:
            answer: object = json.loads(receive(self._socket, size, end))
        except ValueError as error:
            raise ProtocolError("the tracker's answer is no JSON") from error
        return answer

    def command(self, message: list[object], timeout_s: float) -> None:
        """Sends a message that the tracker only acknowledges."""
        if self.ask(message, timeout_s) != SUCCESS:
            raise ProtocolError("the tracker refused a message")


def keep_alive(sock: socket.socket) -> None:
    """Lets the system find out within half a minute that a peer has gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def deadline(timeout_s: float) -> float:
    """The moment that many seconds from now."""
    return time.monotonic() + timeout_s


def receive(sock: socket.socket, size: int, end: float) -> bytes:
    """Exactly `size` bytes. Raises OSError if they have not come at `end`, or the peer closes before."""
    parts = bytearray()
    while len(parts) < size:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the peer does not answer in time")
        sock.settimeout(left_s)
        part = sock.recv(min(size - len(parts), 1 << 16))
        if not part:
            raise ConnectionResetError("the peer closed the connection")
        parts += part
    return bytes(parts)


def receive_number(sock: socket.socket, end: float) -> int:
    """A 32-bit number, as `receive`."""
    number: int = struct.unpack("<i", receive(sock, 4, end))[0]
    return number
