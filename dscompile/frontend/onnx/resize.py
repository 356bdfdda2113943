"""ONNX's Resize and Upsample: sizes or factors, coordinates, rounding, as they changed from opset 7 to 22."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Operand, Value
from dscompile.frontend.import_lowering import as_weight, axis_of
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.constants import integers_argument
from dscompile.ir.ops import Resize, ResizeCoordinates, ResizeRounding

_METHODS = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear"}


def resize(call: Call) -> Value:
    """Resize of opset 10 (input, scales) and of 11 and up (input, roi, scales, sizes)."""
    if call.opset < 11:
        return _resized(call, _factors(call, 1), "asymmetric", "simple")
    mode = call.node.text("coordinate_transformation_mode", "half_pixel")
    coordinates = next((each for each in get_args(ResizeCoordinates) if each == mode), None)
    if coordinates is None:
        raise UnsupportedError(f"coordinate_transformation_mode '{mode}' is not supported")
    nearest = call.node.text("nearest_mode", "round_prefer_floor")
    rounding = next((each for each in get_args(ResizeRounding) if each == nearest and each != "simple"), None)
    if rounding is None:
        raise BadInputError(f"nearest_mode '{nearest}' does not exist")
    if call.node.integer("antialias", 0):
        raise UnsupportedError("antialias is not supported")
    sizes = integers_argument(call.node, call.operands, 3, "sizes") if _is_given(call.optional(3)) else None
    return _resized(call, _factors(call, 2) if sizes is None else sizes, coordinates, rounding)


def upsample(call: Call) -> Value:
    """Upsample, whose factors are an attribute (opset 7) or an input (opset 9): pixels repeated, or between corners."""
    if call.opset < 9:
        factors = call.node.reals("scales")
        if factors is None:
            raise BadInputError("attribute 'scales' is missing")
    else:
        factors = _factors(call, 1)
    return _resized(call, factors, "asymmetric", "simple")


def _is_given(operand: Operand | None) -> bool:
    """Whether an input is there; exporters write empty constants for those that are not."""
    return operand is not None and (isinstance(operand, Value) or operand.size > 0)


def _factors(call: Call, index: int) -> tuple[float, ...]:
    operand = call.optional(index)
    if operand is None or not _is_given(operand):
        raise BadInputError("neither scales nor sizes are given")
    factors = as_weight(operand, "scales").reshape(-1)
    return tuple(float(factor) for factor in factors)


@dataclass(frozen=True)
class _Axis:
    """An axis of the source that grows or shrinks: to how many elements, and its factor where that is given."""

    size: int
    factor: float | None


def _resized(
    call: Call, wanted: tuple[float, ...] | tuple[int, ...], coordinates: ResizeCoordinates, rounding: ResizeRounding
) -> Value:
    """`wanted` are sizes if they are integers, else factors."""
    mode = call.node.text("mode", "nearest")
    method = _METHODS.get(mode)
    if method is None:
        raise UnsupportedError(f"mode '{mode}' is not supported, only nearest and linear are")
    image = lower.image_of(call.operand(0))
    axes = call.node.integers("axes") or tuple(range(len(image.shape)))
    if len(wanted) != len(axes):
        raise BadInputError(f"{len(wanted)} numbers for {len(axes)} axes of {list(image.shape)}")
    along = [axis_of(axis, len(image.shape)) for axis in axes]
    resized = dict(zip(along, _axes(call, wanted, [image.shape[axis] for axis in along]), strict=True))
    for axis, each in resized.items():
        if axis < 2 and (each.size != image.shape[axis] or each.factor not in (None, 1.0)):
            raise UnsupportedError(f"resizes axis {axis} of {list(image.shape)}; only height and width can be resized")
    rows, columns = (resized.get(axis, _Axis(image.shape[axis], 1.0)) for axis in (2, 3))
    scale = None
    if rows.factor is not None and columns.factor is not None:
        scale = (rows.factor, columns.factor)
    size = (rows.size, columns.size)
    exact = all(
        np.float32(factor) == np.float32(made) / np.float32(given)
        for factor, made, given in zip(scale or (), size, image.shape[2:], strict=False)
    )
    op = Resize(
        size,
        "nearest" if method == "nearest" else "bilinear",
        coordinates,
        rounding if method == "nearest" else "round_prefer_floor",
        None if exact else scale,
    )
    return lower.regridded(call.graph, image, op)


def _axes(call: Call, wanted: tuple[float, ...] | tuple[int, ...], given: list[int]) -> list[_Axis]:
    if any(not (number > 0 and math.isfinite(number)) for number in wanted):
        raise BadInputError(f"sizes and scales must be positive, not {list(wanted)}")
    if not all(isinstance(number, int) for number in wanted):
        return [_Axis(_floor(size, number), float(number)) for size, number in zip(given, wanted, strict=True)]
    policy = call.node.text("keep_aspect_ratio_policy", "stretch")
    ratios = [np.float32(number) / np.float32(size) for size, number in zip(given, wanted, strict=True)]
    if policy == "stretch":
        factors = [1.0 if number == size else None for size, number in zip(given, wanted, strict=True)]
        return [_Axis(int(number), factor) for number, factor in zip(wanted, factors, strict=True)]
    if policy not in ("not_larger", "not_smaller"):
        raise BadInputError(f"keep_aspect_ratio_policy '{policy}' does not exist")
    factor = min(ratios) if policy == "not_larger" else max(ratios)
    return [_Axis(int(np.floor(factor * np.float32(size) + np.float32(0.5))), float(factor)) for size in given]


def _floor(size: int, factor: float) -> int:
    """floor(size * factor) in float32, as the format says."""
    made = int(np.floor(np.float32(size) * np.float32(factor)))
    if made < 1:
        raise BadInputError(f"scale {factor:g} leaves nothing of {size}")
    return made
