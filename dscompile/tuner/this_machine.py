"""What this machine measures candidates with: its own cores, or an emulator that counts instructions."""

from __future__ import annotations

import os

from dscompile.errors import ToolError
from dscompile.target import Target, runs_here
from dscompile.tuner.counting_device import CountingDevice
from dscompile.tuner.devices import DevicePool
from dscompile.tuner.local_device import LocalDevice


def local_devices(target: Target) -> DevicePool:
    """Devices for the candidates of a target. Raises ToolError if this machine has none, or QEMU is missing."""
    cores = sorted(os.sched_getaffinity(0))
    if runs_here(target):
        return DevicePool([LocalDevice(cores[-1] if len(cores) > 1 else None)], "us")
    if target.family == "arm64":
        return DevicePool([CountingDevice() for _ in cores], "instructions")
    raise ToolError(
        f"candidates for {target.name} do not run on this machine",
        help="tune on a farm that has such devices: --farm HOST:PORT --key KEY (docs/farm.md)",
    )
