"""The kernels of a GPU as JSON: how each is launched, what it moves and what it takes."""

from __future__ import annotations

from dscompile.artifact.fields import Fields, Json
from dscompile.artifact.manifest import KernelInfo, KernelTraffic, KernelUse


def kernel_to_json(kernel: KernelInfo) -> Json:
    """A kernel as one object."""
    return {
        "symbol": kernel.symbol,
        "kind": kernel.kind,
        "layers": list(kernel.layers),
        "grid": list(kernel.grid),
        "block": list(kernel.block),
        "planned": None if kernel.planned is None else dict(vars(kernel.planned)),
        "use": None if kernel.use is None else dict(vars(kernel.use)),
    }


def kernel_from_json(fields: Fields) -> KernelInfo:
    """The kernel in an object; nonsense where `fields.problems` has entries afterwards."""
    return KernelInfo(
        symbol=fields.text("symbol"),
        kind=fields.text("kind"),
        layers=fields.texts("layers"),
        grid=_pair(fields, "grid"),
        block=_pair(fields, "block"),
        planned=_traffic(fields.child("planned")) if fields.has_value("planned") else None,
        use=_use(fields.child("use")) if fields.has_value("use") else None,
    )


def _pair(fields: Fields, key: str) -> tuple[int, int]:
    values = fields.wholes(key)
    if len(values) != 2 or min(values) < 1:
        fields.problems.append(f"'{fields.where}{key}' must be two positive numbers")
        return (1, 1)
    return (values[0], values[1])


def _traffic(fields: Fields) -> KernelTraffic:
    return KernelTraffic(
        input_bytes=fields.whole("input_bytes"),
        residual_bytes=fields.whole("residual_bytes"),
        output_bytes=fields.whole("output_bytes"),
        weight_bytes=fields.whole("weight_bytes"),
    )


def _use(fields: Fields) -> KernelUse:
    return KernelUse(
        registers=fields.whole("registers"),
        stack_bytes=fields.whole("stack_bytes"),
        spill_store_bytes=fields.whole("spill_store_bytes"),
        spill_load_bytes=fields.whole("spill_load_bytes"),
        shared_bytes=fields.whole("shared_bytes"),
        occupancy=fields.number("occupancy"),
        limiter=fields.text("limiter"),
    )
