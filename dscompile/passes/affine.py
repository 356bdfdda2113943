"""Scaling and shifting the channels of a convolution's or dense layer's result, inside its weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Activation, Conv2D, ConvTranspose, Dense
from dscompile.passes.rewrite import as_weight, substitute

Channels = NDArray[np.float64]


def absorb_affine(
    network: Network, producer: Layer, follower: Layer, scale: Channels, shift: Channels, activation: Activation
) -> Network:
    """Replaces producer and follower by a producer that writes activation(scale * result + shift).

    scale, shift [C_out] float64. The producer is a Conv2D, ConvTranspose or Dense without activation and keeps its
    name: kernel[..., o] * scale[o], and bias[o] * scale[o] + shift[o]; a missing bias counts as 0.
    """
    op = producer.op
    assert isinstance(op, Conv2D | ConvTranspose | Dense)
    kernel = network.weight(producer, "kernel").astype(np.float64)
    bias = network.weight(producer, "bias").astype(np.float64) if network.has_weight(producer, "bias") else 0.0
    fused = replace(producer, op=replace(op, activation=activation), output=follower.output)
    return substitute(
        network,
        {producer.name: [fused], follower.name: []},
        {
            f"{producer.name}.kernel": as_weight(kernel * scale),
            f"{producer.name}.bias": as_weight(bias * scale + shift),
        },
    )


def takes_affine(layer: Layer | None) -> bool:
    """Whether `absorb_affine` can put a scale and a shift into this layer."""
    return layer is not None and isinstance(layer.op, Conv2D | ConvTranspose | Dense) and not layer.op.activation
