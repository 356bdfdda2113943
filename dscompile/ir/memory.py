"""Memory modes of standalone C: what a plan may give for a smaller arena (plan/mcu/memory.py)."""

from __future__ import annotations

from typing import Literal

MemoryMode = Literal["fast", "balanced", "stream"]
MEMORY_MODES: tuple[MemoryMode, ...] = ("fast", "balanced", "stream")
