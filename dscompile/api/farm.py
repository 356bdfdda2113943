"""The device farm: its tracker, its devices, and how it does. Its client is dscompile.farm.client.FarmDevices."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from dscompile.errors import ToolError, UsageError

if TYPE_CHECKING:
    from dscompile.farm.address import Address
    from dscompile.farm.status import FarmStatus

    Ready = Callable[[Address], None]

Log = Callable[[str], None]

TRACKER_PORT = 9190
_DEVICE_PORTS = range(9091, 9190)
_KEY = re.compile(r"[\w.+-]{1,100}")


def farm_tracker(host: str, port: int | None = None, *, insecure: bool = False, ready: Ready, log: Log) -> None:
    """Runs a tracker until KeyboardInterrupt. `ready` is called with its address when it listens.

    Raises UsageError if `host` is not loopback and `insecure` is not set, ToolError if it cannot listen or an extra is
    not installed.
    """
    from dscompile.farm.address import listen

    try:
        from dscompile.farm.tracker import run_tracker
    except ImportError as error:
        raise ToolError(
            f"the farm's tracker needs {error.name}, which is not installed", help="pip install 'dscompile[tune]'"
        ) from error
    port = TRACKER_PORT if port is None else port
    listener, address = listen(host, range(port, port + 1), insecure)
    ready(address)
    run_tracker(listener, log)


def farm_device(
    tracker: str,
    key: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    announce: str | None = None,
    time_limit_s: float = 60.0,
    memory_limit_bytes: int | None = None,
    insecure: bool = False,
    ready: Ready,
    log: Log,
) -> None:
    """Offers this machine to the tracker at `tracker` (host:port) under `key`, until KeyboardInterrupt.

    A tracker that is away is waited for. Raises UsageError for a wrong address or key, and where `host` is not loopback
    and `insecure` is not set; ToolError if it cannot listen or make its temporary directory.
    """
    from dscompile.farm.address import is_loopback, listen, parse_address
    from dscompile.farm.device import DeviceSettings, run_device
    from dscompile.farm.limits import Limits, default_memory_bytes

    if not _KEY.fullmatch(key):
        raise UsageError(f"'{key}' is no key", help="letters, digits, '_', '.', '+' and '-'")
    limits = Limits(time_limit_s, default_memory_bytes() if memory_limit_bytes is None else memory_limit_bytes)
    settings = DeviceSettings(parse_address(tracker), key, limits, announce)
    ports = _DEVICE_PORTS if port is None else range(port, port + 1)
    listener, address = listen(host, ports, insecure)
    ready(address)
    if announce is None and is_loopback(host) and not is_loopback(settings.tracker.host):
        log(f"only this machine reaches {address}: clients on another one need an ssh tunnel (docs/farm.md)")
    run_device(listener, settings, log)


def farm_status(tracker: str) -> FarmStatus:
    """What the tracker at `tracker` (host:port) knows, and what is wrong.

    Raises UsageError for a wrong address, ToolError if the tracker cannot be asked.
    """
    from dscompile.farm.address import parse_address
    from dscompile.farm.status import farm_status as ask

    return ask(parse_address(tracker))
