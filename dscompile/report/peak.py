"""The FMA peak of a core, measured by a small C program in the same process as what it is compared with."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

from dscompile.data import data_directory
from dscompile.target import Target
from dscompile.toolchain import find_toolchain

_ROUNDS = 200_000  # about a millisecond


class PeakProbe:
    """Measures GFLOP/s of fused multiply-adds on one core; the median of its samples is the peak."""

    def __init__(self, target: Target) -> None:
        self._measure = _compiled(target)
        self._samples: list[float] = []

    def sample(self) -> float:
        """One measurement of about a millisecond, in GFLOP/s; it is remembered."""
        sink = ctypes.c_float()
        gflops = self._measure(_ROUNDS, ctypes.byref(sink))
        self._samples.append(gflops)
        return gflops

    @property
    def gflops(self) -> float:
        """Median of the samples taken so far."""
        return median(self._samples)


@cache
def _compiled(target: Target) -> Callable[..., float]:
    """The probe built for `target`. Raises ToolError if the C compiler is missing or refuses."""
    source = data_directory("templates") / "report" / "peak.c"
    with tempfile.TemporaryDirectory(prefix="dscompile-peak-") as directory:
        library = Path(directory) / "peak.so"
        flags = ["-O2", "-ffp-contract=fast", "-fPIC", "-shared", f"-DVECTOR_BYTES={target.vector_bytes}"]
        toolchain = find_toolchain(target)
        toolchain.compile([*flags, "-o", str(library), str(source)], Path(directory), "compiling the peak probe")
        function = ctypes.CDLL(str(library)).dscompile_peak_gflops
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_float)]
    return function
