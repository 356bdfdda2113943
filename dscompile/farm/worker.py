"""A process of the client: measures one candidate after the other on whatever device the tracker gives it.

TVM's client waits without limit in C++, and a session that breaks may take its process along. So it is a process of
its own, which the client ends when it takes too long. Started as `python -m dscompile.farm.worker DESCRIPTOR`, of a
connection that carries a `Task` and gives back any number of `Stage`s and a `Report`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from dscompile.farm import wire
from dscompile.farm.address import Address
from dscompile.farm.endings import decode
from dscompile.farm.tasks import Report, Stage, Task

if TYPE_CHECKING:
    from tvm import rpc

_FUNCTIONS = ("prepare", "main", "finish")
_CONNECT_S = 5.0
_SLEEP_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # between attempts to reach a tracker; the last one repeats
_ERROR_LENGTH = 400
_CLOSED = "code=kShutdown"  # what TVM says of a connection that the peer has closed


def main(descriptor: int) -> None:
    """Works on tasks until the client closes its end."""
    connection = Connection(descriptor)
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    import tvm.rpc  # noqa: F401  # before the first task is timed

    connection.send(Stage("ready"))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_work(task, connection.send))


def _work(task: Task, tell: Callable[[Stage], None]) -> Report:
    """Waits for a device and measures there."""
    tell(Stage("waiting"))
    try:
        device, match_key = _ask_for_device(task)
    except OSError as error:
        return Report("lost", error=str(error))
    tell(Stage("connecting", str(device)))
    from tvm import rpc

    try:
        session = rpc.connect(device.host, device.port, match_key, session_timeout=task.session_s)
    except Exception as error:
        told = decode(str(error))
        if told is not None:
            return Report("refused", error=told[1])
        return Report("lost", error=f"cannot connect to device {device}: {_last_line(error)}")
    tell(Stage("running", str(device)))
    try:
        return _measure(session, task)
    except Exception as error:
        return _broken(error)


def _ask_for_device(task: Task) -> tuple[Address, str]:
    """Waits until the tracker gives a device. Raises OSError, with the reason as its text, after `patience_s`."""
    end = wire.deadline(task.patience_s)
    attempt = 0
    while True:
        reason = ""
        try:
            with wire.TrackerConnection(task.tracker, _CONNECT_S) as tracker:
                attempt = 0
                answer = tracker.ask([wire.REQUEST, task.key, "", 1], max(0.1, end - time.monotonic()))
            return _offer(answer)
        except TimeoutError:
            reason = f"no device of key '{task.key}' was free for {task.patience_s:g} s"
        except OSError as error:
            reason = f"the tracker at {task.tracker} does not answer: {error.strerror or error}"
        sleep_s = _SLEEP_S[min(attempt, len(_SLEEP_S) - 1)]
        if time.monotonic() + sleep_s > end:
            raise OSError(f"{reason}; 'dscompile farm status --tracker {task.tracker}' shows the farm")
        time.sleep(sleep_s)
        attempt += 1


def _offer(answer: object) -> tuple[Address, str]:
    """The device in the tracker's answer. Raises OSError if there is none."""
    match answer:
        case [wire.SUCCESS, [str(host), int(port), str(match_key)]]:
            return Address(host, port), match_key
        case _:
            raise wire.ProtocolError("its answer is not understood")


def _measure(session: rpc.RPCSession, task: Task) -> Report:
    """Uploads the library, runs its functions once, fetches the memory, then times `main`.

    A zero-byte tensor is none that TVM sends: the memory has at least one byte on the device.
    """
    import numpy as np
    from tvm import runtime

    file_name = f"{re.sub('[^A-Za-z0-9_.-]', '_', task.name)[:100]}.so"
    session.upload(bytearray(task.library), file_name)
    module = session.load_module(file_name)
    cpu = session.cpu()
    image = np.frombuffer(task.memory or b"\0", dtype=np.uint8)
    memory = runtime.empty(image.shape, "uint8", cpu)
    memory.copyfrom(image)
    for name in _FUNCTIONS:
        answer = module.get_function(name)(memory)
        if isinstance(answer, int) and answer != 0:
            return Report("failed", error=f"its function '{name}' returned {answer}")
    result = memory.numpy().tobytes()[: len(task.memory)]
    timing = task.timing
    evaluator = module.time_evaluator(
        "main",
        cpu,
        number=timing.number,
        repeat=timing.repeat,
        min_repeat_ms=timing.min_repeat_ms,
        cache_flush_bytes=timing.flush_bytes,
    )
    seconds = evaluator(memory).results
    return Report("ok", tuple(float(value) for value in seconds), result)


def _broken(error: Exception) -> Report:
    """What an exception during a session means."""
    text = str(error)
    told = decode(text)
    if told is not None:
        return Report(told[0], error=told[1])
    if "Error caught from RPC call" in text:
        return Report("failed", error=_last_line(error))
    detail = "" if _CLOSED in text else f": {_last_line(error)}"
    return Report("lost", error=f"its session broke without a word{detail}", silent=True)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:_ERROR_LENGTH] if lines else type(error).__name__


if __name__ == "__main__":
    main(int(sys.argv[1]))
