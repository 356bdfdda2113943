"""As much of GDB's remote serial protocol as it takes to stop a machine, and to read and write its memory.

Source: "GDB Remote Serial Protocol", appendix E of the GDB manual.
"""

from __future__ import annotations

import socket

_CHUNK = 1024  # bytes of memory per packet: QEMU takes packets of 4096 characters, two per byte
_RECEIVE = 65536


class ConnectionLost(Exception):  # noqa: N818 -- not an error by itself: the caller knows what it means
    """The other end has closed the connection or does not answer in time."""


class GdbConnection:
    """A connection to a stopped machine."""

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self._socket = connected
        self._socket.settimeout(timeout_s)
        self._buffer = b""
        self._acknowledges = True
        self._ask("QStartNoAckMode")
        self._acknowledges = False

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def set_breakpoint(self, address: int) -> None:
        """Execution stops before the instruction of two bytes at `address`."""
        self._expect("OK", f"Z0,{address:x},2")

    def clear_breakpoint(self, address: int) -> None:
        """The breakpoint at `address` is gone."""
        self._expect("OK", f"z0,{address:x},2")

    def step(self) -> None:
        """Executes one instruction."""
        self._ask("s")

    def proceed(self) -> None:
        """Runs to the next breakpoint."""
        self._ask("c")

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory. Raises ValueError if there is none."""
        parts = []
        for start in range(0, size, _CHUNK):
            answer = self._ask(f"m{address + start:x},{min(_CHUNK, size - start):x}")
            if answer.startswith("E"):
                raise ValueError(f"cannot read memory at 0x{address + start:08x}")
            parts.append(bytes.fromhex(answer))
        return b"".join(parts)

    def write(self, address: int, content: bytes) -> None:
        """Writes bytes into memory. Raises ValueError if there is none."""
        for start in range(0, len(content), _CHUNK):
            part = content[start : start + _CHUNK]
            self._expect("OK", f"M{address + start:x},{len(part):x}:{part.hex()}")

    def _expect(self, wanted: str, command: str) -> None:
        answer = self._ask(command)
        if answer != wanted:
            raise ValueError(f"the machine answered '{answer}' to '{command[:24]}'")

    def _ask(self, command: str) -> str:
        body = command.encode()
        try:
            self._socket.sendall(b"$" + body + b"#" + f"{sum(body) % 256:02x}".encode())
            return self._packet()
        except OSError as error:  # a timeout is one, too
            raise ConnectionLost(str(error)) from error

    def _packet(self) -> str:
        while True:
            begin = self._buffer.find(b"$")
            end = self._buffer.find(b"#", begin)
            if 0 <= begin < end and len(self._buffer) >= end + 3:
                body = self._buffer[begin + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                if self._acknowledges:
                    self._socket.sendall(b"+")
                return body.decode("ascii", "replace")
            received = self._socket.recv(_RECEIVE)
            if not received:
                raise ConnectionLost("the connection was closed")
            self._buffer += received
