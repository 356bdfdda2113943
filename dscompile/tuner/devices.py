"""Devices: what candidates are measured on, one of them or a whole farm."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

from dscompile.tuner.runnable import Form, Runnable

Unit = Literal["us", "instructions"]


@dataclass(frozen=True)
class Measurement:
    """What came of a candidate: samples of its cost (seconds or instructions) and its output, or an error in words.

    `lost`: it was not measured for want of a device; that says nothing about the candidate.
    """

    samples: tuple[float, ...] = ()
    output: bytes = b""
    error: str = ""
    lost: bool = False


class Device(Protocol):
    """Measures one candidate at a time."""

    name: str
    form: Form

    def measure(self, candidate: Runnable) -> Measurement:
        """Runs a candidate once for its output, then measures it. Never raises for what the candidate does."""

    def close(self) -> None:
        """Ends what runs for this device."""


class Devices(Protocol):
    """Measures candidates, several at a time if there are several devices.

    `name` is for people, `form` what the devices run, `unit` what they measure: seconds, shown as us, or instructions.
    """

    name: str
    form: Form
    unit: Unit

    @property
    def count(self) -> int:
        """Devices that are there now, at least 1."""

    @property
    def busy_share(self) -> float:
        """The share of the time since the first candidate that devices had one."""

    def submit(self, candidate: Runnable) -> Future[Measurement]:
        """Measures a candidate when a device is free."""

    def close(self) -> None:
        """Ends everything; what still waits is cancelled."""


class DevicePool:
    """Devices of this machine."""

    def __init__(self, devices: Sequence[Device], unit: Unit) -> None:
        self.name = ", ".join(dict.fromkeys(device.name for device in devices))
        self.form: Form = devices[0].form
        self.unit: Unit = unit
        self._devices = tuple(devices)
        self._idle: queue.SimpleQueue[Device] = queue.SimpleQueue()
        for device in devices:
            self._idle.put(device)
        self._threads = ThreadPoolExecutor(len(devices), thread_name_prefix="device")
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._busy_s = 0.0

    @property
    def count(self) -> int:
        """See `Devices`."""
        return len(self._devices)

    @property
    def busy_share(self) -> float:
        """See `Devices`."""
        if self._begun is None:
            return 0.0
        return self._busy_s / max(time.monotonic() - self._begun, 1e-9) / len(self._devices)

    def submit(self, candidate: Runnable) -> Future[Measurement]:
        """See `Devices`."""
        if self._begun is None:
            self._begun = time.monotonic()
        return self._threads.submit(self._measure, candidate)

    def close(self) -> None:
        """See `Devices`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for device in self._devices:
            device.close()

    def _measure(self, candidate: Runnable) -> Measurement:
        device = self._idle.get()
        begun = time.monotonic()
        try:
            return device.measure(candidate)
        finally:
            with self._lock:
                self._busy_s += time.monotonic() - begun
            self._idle.put(device)
