"""What a farm looks like from its tracker, and what is wrong with it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dscompile.errors import ToolError, did_you_mean
from dscompile.farm import wire
from dscompile.farm.address import Address

_ANSWER_S = 5.0
_PROBE_S = 2.0
_SILENT_S = 15.0  # a free device says something every two seconds
_BUSY_S = 300.0
_PROBES = 32


@dataclass(frozen=True)
class DeviceStatus:
    """A device that the tracker knows.

    `state` is free, busy, dead (nobody listens there), or unknown if the tracker does not tell: TVM's own, which has no
    `busy_s` and `silent_s` either. `limit_s` and `machine` are None if the device does not tell.
    """

    address: Address
    key: str
    state: str
    busy_s: float | None = None
    silent_s: float | None = None
    limit_s: float | None = None
    machine: str | None = None


@dataclass(frozen=True)
class QueueStatus:
    """Devices of one key, and the requests for them that wait."""

    key: str
    devices: int
    free: int
    pending: int


@dataclass(frozen=True)
class FarmStatus:
    """A farm in this moment; `problems` says in words what somebody should look at."""

    tracker: Address
    devices: tuple[DeviceStatus, ...]
    queues: tuple[QueueStatus, ...]
    problems: tuple[str, ...]


def farm_status(tracker: Address) -> FarmStatus:
    """Asks the tracker, and knocks at every device. Raises ToolError if the tracker cannot be asked."""
    summary = _summary(tracker)
    try:
        devices, counts = _read_devices(summary), _read_counts(summary)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError(f"the answer of the tracker at {tracker} is not understood: {error}") from error
    with ThreadPoolExecutor(_PROBES) as pool:
        devices = tuple(pool.map(_knock, devices))
    keys = sorted({device.key for device in devices} | {key for key, (_, pending) in counts.items() if pending})
    queues = tuple(_queue(key, devices, counts) for key in keys)
    return FarmStatus(tracker, devices, queues, tuple(_problems(devices, queues)))


def device_count(tracker: Address, key: str) -> int:
    """How many devices of a key the tracker knows. Raises ToolError if it cannot be asked."""
    return sum(device.key == key for device in _read_devices(_summary(tracker)))


def _summary(tracker: Address) -> dict[str, object]:
    try:
        with wire.TrackerConnection(tracker, _ANSWER_S) as connection:
            answer = connection.ask([wire.SUMMARY], _ANSWER_S)
    except OSError as error:
        raise unreachable(tracker, error) from error
    if not isinstance(answer, list) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise ToolError(f"the answer of the tracker at {tracker} is not understood: {str(answer)[:80]}")
    return answer[1]


def unreachable(tracker: Address, error: OSError) -> ToolError:
    """The error of a tracker that does not answer."""
    return ToolError(
        f"no tracker answers at {tracker}: {error.strerror or error}",
        help="start one there with 'dscompile farm tracker', or check the address and the ssh tunnel (docs/farm.md)",
    )


def _read_devices(summary: dict[str, object]) -> tuple[DeviceStatus, ...]:
    infos = summary["server_info"]
    if not isinstance(infos, list):
        raise ValueError("its devices are no list")
    devices = [_read_device(info) for info in infos]
    return tuple(sorted(devices, key=lambda device: (device.key, str(device.address))))


def _read_device(info: dict[str, object]) -> DeviceStatus:
    place, machine = info["addr"], info.get("machine")
    if not isinstance(place, list) or len(place) != 2:
        raise ValueError(f"{place} is no address")
    busy_s, silent_s, limit_s = (_number(info.get(name)) for name in ("busy_s", "silent_s", "limit_s"))
    return DeviceStatus(
        Address(str(place[0]), int(place[1])),
        str(info["key"]).removeprefix("server:"),
        "unknown" if "busy_s" not in info else "free" if busy_s is None else "busy",
        busy_s,
        silent_s,
        limit_s,
        machine if isinstance(machine, str) else None,
    )


def _read_counts(summary: dict[str, object]) -> dict[str, tuple[int, int]]:
    """Free devices and waiting requests by key."""
    queues = summary["queue_info"]
    if not isinstance(queues, dict):
        raise ValueError("its queues are no table")
    return {str(key): (int(queue["free"]), int(queue["pending"])) for key, queue in queues.items()}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _knock(device: DeviceStatus) -> DeviceStatus:
    """The device, as dead if nobody listens at its address."""
    try:
        socket.create_connection((device.address.host, device.address.port), timeout=_PROBE_S).close()
    except OSError:
        return DeviceStatus(
            device.address, device.key, "dead", device.busy_s, device.silent_s, device.limit_s, device.machine
        )
    return device


def _queue(key: str, devices: Iterable[DeviceStatus], counts: dict[str, tuple[int, int]]) -> QueueStatus:
    free, pending = counts.get(key, (0, 0))
    return QueueStatus(key, sum(device.key == key for device in devices), free, pending)


def _problems(devices: tuple[DeviceStatus, ...], queues: tuple[QueueStatus, ...]) -> Iterable[str]:
    if not devices:
        yield "no device has joined: start one with 'dscompile farm device --tracker HOST:PORT --key KEY'"
    for device in devices:
        yield from _device_problems(device)
    for queue in queues:
        alive = [device for device in devices if device.key == queue.key and device.state != "dead"]
        if queue.pending and not alive:
            known = sorted({device.key for device in devices} - {queue.key})
            advice = did_you_mean(queue.key, known) or f"start one with --key {queue.key}"
            yield f"key '{queue.key}': {_requests(queue.pending)}, and no device of that key is alive; {advice}"
        elif queue.pending and all((device.busy_s or 0.0) > _BUSY_S for device in alive):
            yield (
                f"key '{queue.key}': {_requests(queue.pending)}, and every device of it ({len(alive)}) has been busy "
                f"for more than {_BUSY_S / 60:g} min: look at the logs, and restart what hangs"
            )


def _device_problems(device: DeviceStatus) -> Iterable[str]:
    name = f"device {device.address} ('{device.key}')"
    if device.state == "dead":
        yield f"{name} is dead: the tracker knows it, but nobody listens there; restart it, or its ssh tunnel"
    elif device.state == "free" and device.silent_s is not None and device.silent_s > _SILENT_S:
        yield f"{name} has said nothing for {device.silent_s:.0f} s: it is frozen, or its network is gone"
    elif device.busy_s is not None and device.limit_s is not None and device.busy_s > 2 * device.limit_s + _SILENT_S:
        yield (
            f"{name} has been busy for {device.busy_s:.0f} s, though no session may last longer than "
            f"{device.limit_s:g} s: it hangs; restart it"
        )


def _requests(count: int) -> str:
    return "1 request waits" if count == 1 else f"{count} requests wait"
