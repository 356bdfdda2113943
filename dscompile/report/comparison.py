"""Whether outputs are what they should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array
from dscompile.ir.tensor import TOLERANCES, Precision
from dscompile.report.traffic import KernelBytes

TOLERANCE = TOLERANCES["float32"]
"""Largest allowed error of a float32 element, relative to the largest magnitude of its output over all vectors.

The oracle accumulates in float64, the artifact in float32 and in another order; see docs/commands.md for what
networks show.
"""


@dataclass(frozen=True)
class Check:
    """One comparison: with whom, over how many inputs and elements, and how far apart the two were.

    `max_rel_error` is relative to the scale of the output (see TOLERANCE). `detail` is a sentence for a failed check.
    """

    against: str
    inputs: int
    elements: int
    mismatches: int
    max_abs_error: float
    max_rel_error: float
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """All checks of an artifact, where it ran, and what one run did: its instructions, or the traffic of a GPU's
    kernels, where they are counted. `precision` is what the artifact multiplies, which decides on `tolerance`.
    """

    path: str
    runner: str
    checks: tuple[Check, ...]
    instructions: int | None = None
    traffic: tuple[KernelBytes, ...] = ()
    precision: Precision = "float32"

    @property
    def tolerance(self) -> float:
        """The largest error of a float element that passes, relative to its output's largest magnitude."""
        return TOLERANCES[self.precision]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def max_abs_error(self) -> float:
        """The largest of all checks."""
        return max((check.max_abs_error for check in self.checks), default=0.0)

    @property
    def max_rel_error(self) -> float:
        """The largest of all checks."""
        return max((check.max_rel_error for check in self.checks), default=0.0)


def compare(
    against: str,
    names: Sequence[str],
    got: Iterable[Sequence[Array]],
    want: Iterable[Sequence[Array]],
    tolerance: float = TOLERANCE,
    others: Sequence[Mapping[str, Array]] = (),
) -> Check:
    """Compares runs: `got` and `want` hold, for each input, the outputs in the order of `names`.

    Integers must be equal; where `others` (of every run, by name) has an index from 0 on, either side may have that
    instead, as two elements are equally large but for rounding. NaN and infinity match only themselves. An output that
    should be zero everywhere has the scale 1.
    """
    runs = list(zip(got, want, strict=True))
    elements = mismatches = 0
    max_abs = max_rel = 0.0
    worst = ""
    for index, name in enumerate(names):
        actual = np.stack([run[0][index] for run in runs]).astype(np.float64)
        expected = np.stack([run[1][index] for run in runs]).astype(np.float64)
        if others and name in others[0]:
            other = np.stack([run[name] for run in others])
            expected = np.where((actual == other) | (expected == other), actual, expected)
        error, scale = _errors(actual, expected)
        allowed = 0.0 if all(run[1][index].dtype.kind in "iu" for run in runs) else tolerance * scale
        elements += error.size
        mismatches += int(np.count_nonzero(~(error <= allowed)))
        if error.size and not float(error.max()) / scale <= max_rel:
            place = np.unravel_index(int(error.argmax()), error.shape)
            max_rel = float(error.max()) / scale
            worst = (
                f"output '{name}' {[int(i) for i in place[1:]]} of input {int(place[0]) + 1} "
                f"is {actual[place]:.9g}, it should be {expected[place]:.9g}"
            )
        max_abs = max(max_abs, float(error.max(initial=0.0)))
    ok = mismatches == 0
    return Check(against, len(runs), elements, mismatches, max_abs, max_rel, ok, "" if ok else worst)


def _errors(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Absolute errors (infinite where only one side is finite), and the scale they are judged by."""
    with np.errstate(invalid="ignore"):
        error = np.abs(actual - expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    error[same] = 0.0
    error[np.isnan(error)] = np.inf
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max(initial=0.0))
    return error, scale if scale > 0.0 else 1.0
