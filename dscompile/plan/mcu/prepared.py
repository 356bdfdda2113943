"""Weights and constants of layers as kernels want them, made once for all drafts of a network."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Conv2D, Dense
from dscompile.plan.mcu.epilogues import Epilogue, FloatEpilogue
from dscompile.plan.mcu.held import HELD_DEPTH, fits_held
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.quantized import QuantizedWeights, quantized_weights, rows_weights, shifted_weights
from dscompile.plan.mcu.sets import vector_variant


def prepared_weights(
    lowering: McuLowering, layer: Layer, *, centered: bool
) -> tuple[Array, Epilogue, tuple[Array, ...]]:
    """Kernel [..., C_out], epilogue and its constants. `centered`: the kernel multiplies x less its zero point."""
    network = lowering.network
    if network.is_quantized_layer(layer):
        key = f"{layer.name}, centered" if centered else layer.name
        prepared = lowering.prepared.get(key)
        if prepared is None:
            narrow = any(each.variant == "m0plus" for each in lowering.sets)
            folded = vector_variant(lowering.sets) != "c99"
            prepared = quantized_weights(
                network,
                layer,
                centered=centered,
                affine=lowering.affine,
                narrow=narrow,
                folded=folded,
                floats=lowering.has_floats,
            )
            lowering.prepared[key] = prepared
        return prepared.kernel, prepared.epilogue, prepared.constants
    assert isinstance(layer.op, Conv2D | Dense)
    kernel = np.asarray(network.weight(layer, "kernel"), np.float32)
    bias = np.zeros(kernel.shape[-1], np.float32)
    if network.has_weight(layer, "bias"):
        bias = np.asarray(network.weight(layer, "bias"), np.float32)
    return kernel, FloatEpilogue(layer.op.activation), (bias,)


def depthwise_rows(lowering: McuLowering, layer: Layer) -> QuantizedWeights | None:
    """A depthwise layer made ready for an image in rows, if that can be."""
    if layer.name not in lowering.prepared_rows:
        lowering.prepared_rows[layer.name] = rows_weights(lowering.network, layer, floats=lowering.has_floats)
    return lowering.prepared_rows[layer.name]


def depthwise_shifted(lowering: McuLowering, layer: Layer) -> QuantizedWeights | None:
    """A depthwise layer whose weights can be shifted in advance, in a turned image or in planes, if there is one."""
    key = f"{layer.name}, shifted"
    if key not in lowering.prepared_rows:
        lowering.prepared_rows[key] = shifted_weights(
            lowering.network, layer, centered=True, floats=lowering.has_floats
        )
    return lowering.prepared_rows[key]


def columns_held(lowering: McuLowering, layer: Layer) -> QuantizedWeights | None:
    """A layer made ready for columns that stay in registers, if it can have them and that pays in the network."""
    network = lowering.network
    depth = network.weight(layer, "kernel").shape[2]
    if not lowering.has_short or not lowering.affine or depth > HELD_DEPTH:
        return None
    key = f"{layer.name}, held"
    if key not in lowering.prepared_rows:
        lowering.prepared_rows[key] = shifted_weights(network, layer, centered=False)
    found = lowering.prepared_rows[key]
    return found if found is not None and fits_held(found.kernel, found.epilogue.left) else None
