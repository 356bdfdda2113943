"""Int8 convolutions and dense layers before any kernel: what their sums can be, and what becomes of each sum."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import Diagnostic, UnsupportedError
from dscompile.ir.fixed_point import (
    Clamp,
    layer_clamp,
    layer_float_factors,
    layer_requantization,
    tensor_quantization,
)
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D, Dense
from dscompile.plan.requantization import Integers, Range, Staircase, constant_channels

_INT32_MAX = (1 << 31) - 1
_MOST_ANSWERS = 512  # of one kind, each of some kilobytes


_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class LayerSums:
    """A Conv2D or Dense as sums of kernel * x: kernel [..., C_out] int8, the sums' ranges, and what is added to them.

    Sums are of x as it is stored, or less its zero point (`centered`); `bias` [C_out] then contains the rest.
    """

    network: Network
    layer: Layer
    kernel: Array
    sums: Range
    bias: Integers

    @cached_property
    def staircase(self) -> Staircase:
        """Sums [..., C_out] -> the layer's result."""
        requantize = layer_requantization(self.network, self.layer)
        return lambda sums: requantize(sums + self.bias)

    @property
    def slopes(self) -> NDArray[np.float64]:
        """Levels of the result per unit of the sum, [C_out]."""
        return layer_float_factors(self.network, self.layer).astype(np.float64)

    @property
    def clamp(self) -> Clamp:
        """Smallest and largest result."""
        return layer_clamp(self.network, self.layer)

    @property
    def zero_point(self) -> int:
        """Of the result."""
        return tensor_quantization(self.network, self.layer.output).zero_point

    @cached_property
    def question(self) -> Hashable:
        """All that `staircase`, `sums`, `slopes`, `clamp` and `zero_point` are made of."""
        network, layer = self.network, self.layer
        arrays = (network.weight(layer, "kernel_scale"), self.sums.low, self.sums.high, self.bias)
        return (
            network.rounding,
            isinstance(layer.op, Dense),
            tensor_quantization(network, layer.inputs[0]).scale,
            tensor_quantization(network, layer.output),
            self.clamp,
            *((array.dtype.str, array.tobytes()) for array in arrays),
        )

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """[C_out]: channels that give the same level whatever their sum; their weights may be 0."""
        return constant_channels(self.staircase, self.sums)


def answered(answers: dict[Hashable, _Answer], question: Hashable, search: Callable[[], _Answer]) -> _Answer:
    """What `search` finds, from `answers` if the same was asked before: for another target, or for a second plan.

    Of more than _MOST_ANSWERS the oldest is forgotten.
    """
    if question in answers:
        return answers[question]
    found = search()
    if len(answers) >= _MOST_ANSWERS:
        answers.pop(next(iter(answers)))
    answers[question] = found
    return found


def layer_sums(network: Network, layer: Layer, *, centered: bool) -> LayerSums:
    """The sums of a layer. Raises UnsupportedError naming the channels whose sums could leave 32 bits."""
    kernel = network.weight(layer, "kernel")
    channels = kernel.shape[-1]
    wide = kernel.astype(np.int64).reshape(-1, channels)
    bias = np.zeros(channels, np.int64)
    if network.has_weight(layer, "bias"):
        bias = network.weight(layer, "bias").astype(np.int64)
    zero = tensor_quantization(network, layer.inputs[0]).zero_point
    centered_sums = _range(wide, zero, padded=isinstance(layer.op, Conv2D) and bool(layer.op.pads))
    _check_accumulators(layer, wide, zero, bias)
    shift = np.zeros(channels, np.int64) if centered else -zero * wide.sum(axis=0)
    return LayerSums(network, layer, kernel, Range(centered_sums.low - shift, centered_sums.high - shift), bias + shift)


def _range(kernel: Integers, zero: int, *, padded: bool) -> Range:
    """Smallest and largest sum of kernel * (x - zero) over any int8 x; padding contributes 0."""
    low, high = -128 - zero, 127 - zero
    if padded:
        low, high = min(low, 0), max(high, 0)
    products = np.stack([kernel * low, kernel * high])
    return Range(products.min(axis=0).sum(axis=0), products.max(axis=0).sum(axis=0))


def _check_accumulators(layer: Layer, kernel: Integers, zero: int, bias: Integers) -> None:
    """No partial sum in any order, with or without the zero point and the bias, may leave 32 bits."""
    largest = np.abs(kernel).sum(axis=0) * (255 + abs(zero)) + np.abs(bias)
    problems = [
        Diagnostic(
            f"channel {channel} can sum up to {int(largest[channel])}, which does not fit into 32 bits",
            layer=layer.name,
            help="use smaller kernels or fewer input channels, or a smaller bias",
        )
        for channel in np.flatnonzero(largest > _INT32_MAX)
    ]
    if problems:
        raise UnsupportedError(problems)
