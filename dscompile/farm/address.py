"""Where trackers and devices listen; beyond loopback only when asked for."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass

from dscompile.errors import ToolError, UsageError

INSECURE = (
    "TVM's RPC has no authentication and no encryption: whoever can connect to {address} runs native code on this "
    "machine as this user. The key is a name, not a secret. Let only a private network reach it; ssh tunnels need no "
    "open port (docs/farm.md)"
)
_HOST_PORT = re.compile(r"(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9a-fA-F:.%\w]+\]):(?P<port>\d{1,5})")
_BACKLOG = 64


@dataclass(frozen=True)
class Address:
    """A host, by name or number, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address in `host:port` or `[ipv6]:port`. Raises UsageError for anything else."""
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no address", help="write host:port, for example 127.0.0.1:9190")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise UsageError(f"'{text}': a port is a number from 1 to 65535")
    return Address(match["host"].strip("[]"), port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`. Raises ToolError if it has no address."""
    return all(ipaddress.ip_address(place[4][0].split("%")[0]).is_loopback for place in _resolve(host, 0))


def listen(host: str, ports: range, insecure: bool) -> tuple[socket.socket, Address]:
    """A socket that listens on the first free port of `ports`, and its address; port 0 is any free port.

    Raises UsageError if `host` is not this machine's loopback and `insecure` is not set, and ToolError if there is no
    such address or no port is free.
    """
    if not insecure and not is_loopback(host):
        raise UsageError(
            f"listening on {host} lets other machines connect",
            help="keep 127.0.0.1 and use ssh tunnels (docs/farm.md), or say --insecure-listen",
        )
    family, _, _, _, place = _resolve(host, ports.start)[0]
    for port in ports:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((place[0], port, *place[2:]))
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise ToolError(f"cannot listen on {Address(host, port)}: {error.strerror}") from error
            continue
        return sock, Address(host, sock.getsockname()[1])
    tried = str(ports.start) if len(ports) == 1 else f"{ports.start} to {ports.stop - 1}"
    raise ToolError(f"cannot listen on {host}: port {tried} is in use", help="choose another with --port")


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, int, int, str, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ToolError(f"there is no address '{host}': {error.strerror}") from error
    return found  # type: ignore[return-value]  # of TCP
