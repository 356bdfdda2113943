"""Sizes and rates as target files and net.yaml write them."""

from __future__ import annotations

import math
import re
from typing import Literal

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)?\s*$")
_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kMGT]?)(Hz|B/s)\s*$")
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9}


def parse_size(text: object) -> int:
    """Bytes in "20 KiB", "1.5 MiB", "512 B" or a plain whole number. Raises ValueError with advice."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"'{text}' is not a size; write for example 20 KiB, 1 MiB or 512 B")
    size = float(match[1]) * _UNITS[match[2]]
    if not math.isfinite(size) or size != int(size):
        raise ValueError(f"'{text}' is not a whole number of bytes")
    return int(size)


def parse_rate(text: object, unit: Literal["Hz", "B/s"]) -> float:
    """Hz in "1410 MHz", or bytes per second in "1555 GB/s". Raises ValueError with advice."""
    match = _RATE.match(text) if isinstance(text, str) else None
    if match is None or match[3] != unit:
        example = {"Hz": "a clock; write for example 1410 MHz", "B/s": "a rate; write for example 1555 GB/s"}[unit]
        raise ValueError(f"'{text}' is not {example}")
    rate = float(match[1]) * _PREFIXES[match[2]]
    if not math.isfinite(rate):
        raise ValueError(f"'{text}' is faster than anything")
    return rate
