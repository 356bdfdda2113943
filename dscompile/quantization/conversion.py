"""Puts the int8 network together: the float32 network's layers, with integers for reals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.ir.fixed_point import quantize_multiplier
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Activate, Constant, Conv2D, Dense, Quantize
from dscompile.ir.storage import Storage
from dscompile.ir.tensor import Quantization, Rounding
from dscompile.quantization.kernels import quantize_kernel


def int8_network(
    network: Network,
    scales: Mapping[str, Quantization],
    rounding: Rounding,
    *,
    least_error_kernels: bool,
    storage: Mapping[str, Storage] = MappingProxyType({}),
) -> Network:
    """A lowered float32 network as int8: inputs, outputs and all between them, with the parameters in `scales`.

    `storage` has the layers whose weights shall fit less than a byte each.

    Raises UnsupportedError where an accumulator could overflow 32 bits, or a scale cannot be reached in fixed point.
    """
    tensors = {
        name: tensor if tensor.dtype == "int32" else replace(tensor, dtype="int8", quantization=scales[name])
        for name, tensor in network.tensors.items()
    }
    weights: dict[str, Array] = {}
    layers = []
    for layer in network.layers:
        match layer.op:
            case Conv2D() | Dense():
                layer = replace(layer, storage=storage.get(layer.name, "plain"))
                weights |= _linear(network, layer, scales, least_error=least_error_kernels)
            case Constant():
                value = network.weight(layer, "value").astype(np.float64)
                weights[f"{layer.name}.value"] = quantize_array(value, scales[layer.output])
            case Activate() if layer.op.activation == NONE:
                layer = replace(layer, op=Quantize())
            case _:
                pass
        layers.append(layer)
    made = replace(network, tensors=tensors, layers=tuple(layers), weights=weights, rounding=rounding)
    return made.validate()


def _linear(
    network: Network, layer: Layer, scales: Mapping[str, Quantization], *, least_error: bool
) -> Mapping[str, Array]:
    kernel = network.weight(layer, "kernel").astype(np.float32)
    has_bias = network.has_weight(layer, "bias")
    bias = network.weight(layer, "bias").astype(np.float32) if has_bias else np.zeros(kernel.shape[-1], np.float32)
    given, made = scales[layer.inputs[0]].scale, scales[layer.output].scale
    integers = quantize_kernel(layer.name, kernel, bias, given, least_error=least_error, storage=layer.storage)
    try:
        quantize_multiplier(given * float(integers.kernel_scale.max()) / made)
    except UnsupportedError:
        raise UnsupportedError(
            f"its results stay within {made * 255:.3g}, far below its products; int8 cannot express both",
            layer=layer.name,
            help="the layer gives almost nothing on the calibration data: use more data, or remove it",
        ) from None
    return {
        f"{layer.name}.kernel": integers.kernel,
        f"{layer.name}.kernel_scale": integers.kernel_scale,
        f"{layer.name}.bias": integers.bias,
    }


def quantize_array(values: Array, quantization: Quantization) -> Array:
    """Reals -> int8: round(x / scale) + zero point, halves to even, clamped."""
    scaled = np.rint(values.astype(np.float64) / quantization.scale) + quantization.zero_point
    integers: NDArray[np.int8] = np.clip(scaled, -128, 127).astype(np.int8)
    return integers


def dequantize_array(integers: Array, quantization: Quantization | None) -> NDArray[np.float64]:
    """Int8 -> reals: scale * (q - zero point), float64; an array without quantization is real already."""
    wide = integers.astype(np.float64)
    if quantization is None:
        return wide
    return np.asarray(quantization.scale * (wide - quantization.zero_point))
