"""Interval analysis of int8 networks: what every channel and every accumulator can be, whatever the input is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dscompile.errors import BadInputError, Diagnostic
from dscompile.ir.fixed_point import (
    Integers,
    layer_clamp,
    layer_factors,
    requantize_layer,
    tensor_quantization,
)
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    Concat,
    Constant,
    Conv2D,
    Dense,
    DepthToSpace,
    Pad,
    Pool,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Transpose,
)
from dscompile.ir.tensor import INTEGER_RANGES, Tensor

_INT32 = (-(1 << 31), (1 << 31) - 1)


_MOST_MOVED = 1 << 25  # elements of a tensor whose channels are followed when they are moved


@dataclass(frozen=True)
class Interval:
    """Smallest and largest integer, [C] each, of the channels of a tensor or of accumulators."""

    low: Integers
    high: Integers

    @property
    def is_constant(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[C]: whether only one integer is possible."""
        return np.asarray(self.low == self.high)


def channel_intervals(network: Network) -> Mapping[str, Interval]:
    """Tensor -> the interval of each channel (last axis), for every int8 and uint8 tensor.

    Inputs have their type's whole range. Convolutions and dense layers are analyzed weight by weight; pools, resizes
    and layers that move elements, if not tens of millions, hand intervals on; others count as able to make anything.
    """
    found: dict[str, Interval] = {}
    for name in network.inputs:
        if network.tensor(name).dtype in INTEGER_RANGES:
            found[name] = _everything(network.tensor(name))
    for layer in network.layers:
        tensor = network.tensor(layer.output)
        if tensor.dtype in INTEGER_RANGES:
            found[layer.output] = _result(network, layer, found)
    return found


def accumulator_interval(network: Network, layer: Layer, given: Interval) -> Interval:
    """What the sums of a Conv2D or Dense can be, bias included, when its input's channels lie in `given`."""
    zero_point = tensor_quantization(network, layer.inputs[0]).zero_point
    low, high = given.low - zero_point, given.high - zero_point
    kernel = network.weight(layer, "kernel").astype(np.int64)
    if isinstance(layer.op, Conv2D) and layer.op.pads:  # a padded tap counts as the zero point
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    channels = kernel.shape[-1]
    if isinstance(layer.op, Conv2D):
        # [C_in / groups, C_out]: the inputs that each output channel reads
        groups, per_group = layer.op.groups, kernel.shape[2]
        group = np.arange(channels) // (channels // groups)
        inputs = group[None, :] * per_group + np.arange(per_group)[:, None]
        low, high = low[inputs], high[inputs]
    else:
        low, high = low[:, None], high[:, None]
    terms = kernel * low, kernel * high
    bias = network.weight(layer, "bias").astype(np.int64) if network.has_weight(layer, "bias") else np.int64(0)
    axes = tuple(range(kernel.ndim - 1))
    return Interval(np.minimum(*terms).sum(axis=axes) + bias, np.maximum(*terms).sum(axis=axes) + bias)


def check_accumulators(network: Network) -> None:
    """Proves that no accumulator of a Conv2D or Dense leaves 32 bits, also after the shift to the left of its factor.

    Raises BadInputError naming every layer and channel that can.
    """
    intervals = channel_intervals(network) if network.is_quantized else {}
    problems = []
    for layer in network.layers:
        if isinstance(layer.op, Conv2D | Dense) and network.is_quantized_layer(layer):
            problems.extend(
                _overflows(network, layer, accumulator_interval(network, layer, intervals[layer.inputs[0]]))
            )
    if problems:
        raise BadInputError(problems)


def _overflows(network: Network, layer: Layer, sums: Interval) -> list[Diagnostic]:
    shifts = np.zeros(len(sums.low), np.int64)
    if network.rounding != "float32":
        shifts = np.array([max(0, factor.shift) for factor in layer_factors(network, layer)], np.int64)
    low, high = sums.low << shifts, sums.high << shifts
    bad = np.flatnonzero((low < _INT32[0]) | (high > _INT32[1]))
    if not bad.size:
        return []
    channel = int(bad[0])
    more = f" (and {bad.size - 1} more channels)" if bad.size > 1 else ""
    return [
        Diagnostic(
            f"the sums of output channel {channel}{more} can be from {low[channel]} to {high[channel]}, "
            "which overflows 32 bits",
            layer=layer.name,
            help="its weights or its bias are damaged, or it sums up too many products; split the layer",
        )
    ]


def _everything(tensor: Tensor) -> Interval:
    low, high = INTEGER_RANGES[tensor.dtype]
    channels = tensor.shape[-1]
    return Interval(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def _result(network: Network, layer: Layer, found: Mapping[str, Interval]) -> Interval:
    given = [found[name] for name in layer.inputs if name in found]
    match layer.op:
        case Conv2D() | Dense():
            sums = accumulator_interval(network, layer, given[0])
            return Interval(requantize_layer(network, layer, sums.low), requantize_layer(network, layer, sums.high))
        case Pool():
            clamp = layer_clamp(network, layer)
            return Interval(np.clip(given[0].low, clamp.low, clamp.high), np.clip(given[0].high, clamp.low, clamp.high))
        case Constant():
            value = network.weight(layer, "value").astype(np.int64).reshape(-1, network.shape(layer.output)[-1])
            return Interval(value.min(axis=0), value.max(axis=0))
        case Reshape() | Transpose() | Concat() | Slice() | Shuffle():
            if network.tensor(layer.output).elements > _MOST_MOVED:
                return _everything(network.tensor(layer.output))
            return Interval(
                _moved(network, layer, [interval.low for interval in given]).min(axis=0),
                _moved(network, layer, [interval.high for interval in given]).max(axis=0),
            )
        case Resize() | Pad(mode="reflect" | "symmetric" | "edge" | "wrap"):
            return given[0]
        case DepthToSpace() as op:
            return _per_pixel(op, given[0])
        case Pad(mode="constant", value=0.0):
            zero_point = tensor_quantization(network, layer.output).zero_point
            return Interval(np.minimum(given[0].low, zero_point), np.maximum(given[0].high, zero_point))
        case _:
            return _everything(network.tensor(layer.output))


def _per_pixel(op: DepthToSpace, given: Interval) -> Interval:
    """What a channel of the result can be: anything that one of the channels that become it can be."""
    places = op.block[0] * op.block[1]
    shape, axis = ((places, -1), 0) if op.order == "dcr" else ((-1, places), 1)
    return Interval(given.low.reshape(shape).min(axis=axis), given.high.reshape(shape).max(axis=axis))


def _moved(network: Network, layer: Layer, bounds: list[Integers]) -> Integers:
    """Bounds per channel, moved as the layer moves elements: [elements / C, C] of the result."""
    whole = [
        np.broadcast_to(bound.astype(np.int16), network.shape(name))
        for name, bound in zip(layer.inputs, bounds, strict=True)
    ]
    shape = network.shape(layer.output)
    match layer.op:
        case Transpose(permutation=permutation):
            moved = whole[0].transpose(permutation)
        case Concat(axis=axis):
            moved = np.concatenate(whole, axis=axis)
        case Slice() as op:
            moved = whole[0][op.box]
        case Shuffle(groups=groups):
            moved = whole[0].reshape(*shape[:-1], groups, -1).swapaxes(-1, -2)
        case _:
            moved = whole[0].reshape(shape)
    return moved.reshape(-1, shape[-1]).astype(np.int64)
