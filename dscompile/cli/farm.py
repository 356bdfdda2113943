"""dscompile farm tracker | device | status."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.cli.settings import group as command_group
from dscompile.errors import ExitCode
from dscompile.farm.address import INSECURE, Address, is_loopback
from dscompile.farm.status import DeviceStatus, FarmStatus, QueueStatus
from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.api.farm import Ready

_MIB = 1 << 20

_host_option = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_insecure_option = click.option(
    "--insecure-listen",
    "insecure",
    is_flag=True,
    help="Allow an address that other machines reach. The protocol has no authentication and no encryption.",
)
_tracker_option = click.option(
    "--tracker", required=True, metavar="HOST:PORT", help="Where the farm's tracker listens."
)


@command_group("farm")
def command() -> None:
    """Devices that measure candidates for the tuner, over TVM's RPC.

    A tracker runs on one machine, a device on every board; 'dscompile tune --farm' asks the tracker for devices of a
    key (docs/farm.md).
    """


@command.add_command
@subcommand("tracker")
@_host_option
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port to listen on, 0 for any free one.  [default: 9190]"
)
@_insecure_option
def tracker_command(host: str, port: int | None, insecure: bool) -> None:
    """Run the tracker that devices join and clients ask, until Ctrl-C."""
    with _sigterm_as_ctrl_c():
        api.farm_tracker(host, port, insecure=insecure, ready=_announce("tracker"), log=_log)


@command.add_command
@subcommand("device")
@_tracker_option
@click.option("--key", required=True, help="What kind of device this is, for example rpi4; clients ask for it.")
@_host_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port to listen on, 0 for any free one.  [default: the first free one from 9091 to 9189]",
)
@click.option(
    "--announce", metavar="HOST", help="The host that clients connect to, if it is not the one that the tracker sees."
)
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest that a session may take.",
)
@click.option(
    "--memory-limit",
    "memory_limit_mib",
    type=click.IntRange(1),
    metavar="MIB",
    help="The most memory that a candidate may take.  [default: half of the machine's]",
)
@_insecure_option
def device_command(
    tracker: str,
    key: str,
    host: str,
    port: int | None,
    announce: str | None,
    time_limit_s: float,
    memory_limit_mib: int | None,
    insecure: bool,
) -> None:
    """Offer this machine to a tracker and measure candidates, until Ctrl-C."""
    with _sigterm_as_ctrl_c():
        api.farm_device(
            tracker,
            key,
            host,
            port,
            announce=announce,
            time_limit_s=time_limit_s,
            memory_limit_bytes=None if memory_limit_mib is None else memory_limit_mib * _MIB,
            insecure=insecure,
            ready=_announce("device"),
            log=_log,
        )


@command.add_command
@subcommand("status")
@_tracker_option
def status_command(tracker: str) -> int:
    """Show devices and requests, and say what is wrong; exit code 1 if something is."""
    status = api.farm_status(tracker)
    output.result(_status_text(status), _status_record(status))
    return int(ExitCode.CHECK_FAILED if status.problems else ExitCode.OK)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM ends the command as Ctrl-C does: cleanly."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _announce(what: str) -> Ready:
    def ready(address: Address) -> None:
        if not is_loopback(address.host):
            output.warning(INSECURE.format(address=address))
        output.result(f"{what} listens on {address}", {"listens": str(address)})
        sys.stdout.flush()

    return ready


def _log(line: str) -> None:
    if not current_settings().quiet:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _status_text(status: FarmStatus) -> str:
    parts = [f"tracker {status.tracker}"]
    if status.devices:
        rows = [(str(device.address), device.key, _state(device), device.machine or "") for device in status.devices]
        parts.append(text.table(("device", "key", "state", "machine"), rows))
    if status.queues:
        counts = [(queue.key, str(queue.devices), str(queue.free), str(queue.pending)) for queue in status.queues]
        parts.append(text.table(("key", "devices", "free", "pending requests"), counts))
    parts += [f"problem: {problem}" for problem in status.problems]
    return "\n\n".join(parts)


def _state(device: DeviceStatus) -> str:
    return f"busy for {device.busy_s:.0f} s" if device.state == "busy" and device.busy_s is not None else device.state


def _status_record(status: FarmStatus) -> output.JsonObject:
    return {
        "tracker": str(status.tracker),
        "devices": [_device_record(device) for device in status.devices],
        "keys": [_queue_record(queue) for queue in status.queues],
        "problems": list(status.problems),
    }


def _device_record(device: DeviceStatus) -> output.JsonObject:
    return {
        "address": str(device.address),
        "key": device.key,
        "state": device.state,
        "busy_s": device.busy_s,
        "silent_s": device.silent_s,
        "machine": device.machine,
    }


def _queue_record(queue: QueueStatus) -> output.JsonObject:
    return {"key": queue.key, "devices": queue.devices, "free": queue.free, "pending": queue.pending}
