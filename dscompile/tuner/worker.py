"""The process in which candidates run on this machine: python -m dscompile.tuner.worker [CORE].

Reads a line of JSON for every candidate, and answers with one. A candidate that crashes ends the process; whoever
started it says so and starts another. It imports little, so that this takes no time.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from dscompile.farm.limits import die_with

_ALIGNMENT = 64
_POISON = 0xFF
_SHORTEST_NS = 500_000  # of a sample
_MOST_SAMPLES = 1000
_FEWEST_SAMPLES = 3


@dataclass(frozen=True)
class Request:
    """A candidate to measure: `directory` holds `library` and the file image, and gets the file output.

    dlopen gives back what it once loaded under an old name, so every candidate's library has a new one. `seconds` is
    what its samples may take, 0 if it times itself; `limit_bytes` the memory that the process may have.
    """

    directory: str
    library: str
    memory_bytes: int
    output_offset: int
    output_bytes: int
    seconds: float
    limit_bytes: int


def main() -> None:
    """Answers until its input ends."""
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with(os.getppid())  # a candidate that never ends must not outlive a tuner that was killed
    for line in sys.stdin:
        print(json.dumps(_answer(Request(**json.loads(line)))), flush=True)


def _answer(request: Request) -> dict[str, object]:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (request.limit_bytes, hard))
    try:
        return {"samples": _measure(request)}
    except MemoryError:
        return {"error": "needs more memory than it may have"}
    except OSError as error:
        if error.errno is not None:  # of a file; dlopen has words only
            return {"error": f"cannot be measured: {error.strerror}", "lost": True}
        return {"error": f"cannot be loaded: {error}"}
    except ArithmeticError as error:
        return {"error": str(error)}


def _measure(request: Request) -> list[float]:
    """Seconds of one call of main(), several samples."""
    directory = Path(request.directory)
    library = ctypes.CDLL(str(directory / request.library))
    room = np.full(request.memory_bytes + _ALIGNMENT, _POISON, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    memory = room[start : start + request.memory_bytes]
    image = np.fromfile(directory / "image", np.uint8)
    memory[: image.size] = image
    pointer = ctypes.c_void_p(memory.ctypes.data)
    for name in ("prepare", "main", "finish"):
        status = getattr(library, f"candidate_{name}")(pointer)
        if status:
            raise ArithmeticError(f"{name}() returned {status}")
    output = memory[request.output_offset : request.output_offset + request.output_bytes]
    (directory / "output").write_bytes(output.tobytes())
    if not request.seconds:
        return [0.0]
    library.candidate_ns.restype = ctypes.c_int64
    library.candidate_ns.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    calls = 1
    while (took := library.candidate_ns(pointer, calls)) < _SHORTEST_NS:
        calls *= max(2, min(16, _SHORTEST_NS // max(took, 1) + 1))
    samples: list[float] = []
    deadline = perf_counter_ns() + int(request.seconds * 1e9)
    while len(samples) < _FEWEST_SAMPLES or (perf_counter_ns() < deadline and len(samples) < _MOST_SAMPLES):
        samples.append(library.candidate_ns(pointer, calls) / calls / 1e9)
    return samples


if __name__ == "__main__":
    main()
