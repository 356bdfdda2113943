"""Schedules: how kernels run on a family of targets. One readable function per kernel and family."""

from __future__ import annotations

from typing import Any

from dscompile.errors import UnsupportedError
from dscompile.plan.kernels import Kernel
from dscompile.plan.knobs import Knobs
from dscompile.target import Target


def scheduled(kernel: Kernel, knobs: Knobs | None, target: Target) -> Any:
    """The scheduled PrimFunc of `kernel`. Raises UnsupportedError for a family without schedules."""
    if target.family in ("x86", "arm64"):
        from dscompile.schedule import x86

        return x86.scheduled(kernel, knobs)
    raise UnsupportedError(f"there are no schedules for the family '{target.family}' of target '{target.name}'")
