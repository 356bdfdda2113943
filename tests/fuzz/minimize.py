"""From a failing input to a small one that fails in the same way."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.samples import Sample


def minimized(sample: Sample, fails: Callable[[Sample], bool], trials: int = 300) -> Sample:
    """Takes ever smaller pieces out of the file for as long as it fails without them; at most so many `trials`."""
    size = max(1, len(sample.data) // 2)
    while trials > 0:
        start, shorter = 0, False
        while start < len(sample.data) and trials > 0:
            smaller = sample.with_data(sample.data[:start] + sample.data[start + size :])
            trials -= 1
            if fails(smaller):
                sample, shorter = smaller, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return sample
