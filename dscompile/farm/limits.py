"""What a session may take of a device, and what happens to it when the device's server goes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PAGE_BYTES = resource.getpagesize()
# Address space that is reserved but not used costs nothing, and threads and allocators reserve a lot of it.
_UNUSED_BYTES = 16 << 30
_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Of one session: seconds by the wall clock, and bytes of memory beyond those of a session that does nothing."""

    time_s: float
    memory_bytes: int


def default_memory_bytes() -> int:
    """Half of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES // 2


def apply_limits(limits: Limits, parent: int) -> None:
    """Limits this process, and lets it die with `parent`.

    Its resident memory is watched by the parent (`resident_bytes`), which can say so when it is too much; what is set
    here bounds what a candidate may do between two looks, and makes it the first that a system without memory kills.
    """
    die_with(parent)
    processor_s = int(limits.time_s * (os.cpu_count() or 1)) + 2
    _limit(resource.RLIMIT_AS, _statm()[0] + limits.memory_bytes + _UNUSED_BYTES)
    _limit(resource.RLIMIT_CPU, processor_s)
    _limit(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # a container may forbid it; nothing else depends on it


def die_with(parent: int) -> None:
    """Lets this process be killed when the thread of its parent ends that has started it, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before it could have been noticed


def resident_bytes(pid: int | str = "self") -> int:
    """The memory that a process has in use; 0 if it has just ended."""
    try:
        return _statm(pid)[1]
    except OSError:
        return 0


def _statm(pid: int | str = "self") -> tuple[int, int]:
    """Bytes of address space, and of them in memory (proc(5))."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        fields = file.read().split()
    return int(fields[0]) * _PAGE_BYTES, int(fields[1]) * _PAGE_BYTES


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bounded, bounded))
