"""Intrinsics of definitions as CUDA has them."""

from __future__ import annotations

from typing import Any

from tvm import tirx


def lower_intrinsics(module: Any, machine: Any) -> Any:
    with machine:
        return tirx.transform.LowerIntrin()(module)
