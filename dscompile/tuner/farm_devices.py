"""The devices of a farm, for the tuner (dscompile/farm)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from dscompile.farm import candidate as farm
from dscompile.farm.client import FarmDevices
from dscompile.tuner.devices import Measurement, Unit
from dscompile.tuner.runnable import Form, Runnable

_POISON = b"\xff"
_SESSION_S = 30.0  # a slow board runs a whole network in turns with itself


class FarmPool:
    """All devices of one key at a tracker. Candidates travel as libraries and are timed there."""

    form: Form = "library"
    unit: Unit = "us"

    def __init__(self, tracker: str, key: str, log: Callable[[str], None]) -> None:
        """Raises ToolError if the tracker cannot be reached, UsageError if `tracker` is no HOST:PORT."""
        self.name = f"devices '{key}' of {tracker}"
        self._devices = FarmDevices(tracker, key, session_s=_SESSION_S, log=log)

    @property
    def count(self) -> int:
        """See `Devices`."""
        return max(1, self._devices.workers)

    @property
    def busy_share(self) -> float:
        """See `Devices`."""
        return self._devices.usage().busy_share

    def submit(self, candidate: Runnable) -> Future[Measurement]:
        """See `Devices`."""
        memory = candidate.image + _POISON * (candidate.memory_bytes - len(candidate.image))
        timing = farm.Timing(number=1, repeat=1, min_repeat_ms=0) if candidate.times_itself else farm.Timing()
        submitted = self._devices.submit(farm.Candidate("candidate", candidate.code, memory, timing))
        result: Future[Measurement] = Future()

        def pass_on(done: Future[farm.Measurement]) -> None:
            if done.cancelled():
                result.cancel()
            elif (error := done.exception()) is not None:
                result.set_exception(error)
            else:
                result.set_result(_translated(done.result(), candidate))

        submitted.add_done_callback(pass_on)
        return result

    def close(self) -> None:
        """See `Devices`."""
        self._devices.close()


def _translated(measurement: farm.Measurement, candidate: Runnable) -> Measurement:
    if not measurement.ok:
        where = f" on {measurement.device}" if measurement.device else ""
        return Measurement(error=f"{measurement.error}{where}", lost=not measurement.is_verdict)
    memory = measurement.memory or b""
    begin = candidate.output_offset
    return Measurement(measurement.seconds, memory[begin : begin + candidate.output_bytes])
