"""Improves an int8 network layer after layer, each on what the improved layers before it give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D, Dense
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.conversion import dequantize_array
from dscompile.quantization.kernels import Int8Kernel
from dscompile.quantization.measure import quantize_sample
from dscompile.quantization.settings import Sample
from dscompile.quantization.single_layer import layer_alone, run_layer

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class LayerPair:
    """A convolution or dense layer in the float32 and the int8 network, and what it reads in both, batch by batch."""

    real: Network
    integer: Network
    theirs: Layer
    ours: Layer
    real_inputs: tuple[Array, ...]
    integer_inputs: tuple[Array, ...]

    @property
    def op(self) -> Conv2D | Dense:
        """What both layers do."""
        assert isinstance(self.theirs.op, Conv2D | Dense)
        return self.theirs.op

    @property
    def kernel(self) -> Int8Kernel:
        """The kernel that the int8 layer has so far."""
        kernel, scale, bias = (self.integer.weight(self.ours, role) for role in ("kernel", "kernel_scale", "bias"))
        return Int8Kernel(kernel.astype(np.int8), scale.astype(np.float32), bias.astype(np.int32))

    def inputs(self) -> Iterator[tuple[Reals, Reals]]:
        """What float32 and int8 read in each batch, [n, ...], both as reals."""
        given = self.integer.tensor(self.ours.inputs[0]).quantization
        for real, integer in zip(self.real_inputs, self.integer_inputs, strict=True):
            yield real.astype(np.float64), dequantize_array(integer, given)


Improve = Callable[[LayerPair], Mapping[str, Array]]
"""Role -> weight, for the weights of the int8 layer that shall be others."""


def improve_layers(real: Network, integer: Network, samples: Sequence[Sample], improve: Improve) -> Network:
    """`integer` with the weights that `improve` gives its layers, first to last.

    Both networks have the same layers. `samples` are float32 inputs; what all of them make of the tensors that are
    still to be read is kept in memory.
    """
    weights = dict(integer.weights)
    batches = list(in_batches(real, samples))
    counts = {batch.count for batch in batches}
    reals = {count: batched(real, count) for count in counts}
    integers = {count: batched(integer, count) for count in counts}
    real_values: list[dict[str, Array]] = [dict(batch.sample) for batch in batches]
    integer_values: list[dict[str, Array]] = [dict(quantize_sample(integer, batch.sample)) for batch in batches]
    last_use = {name: index for index, layer in enumerate(real.layers) for name in layer.inputs}
    for index, (ours, theirs) in enumerate(zip(integer.layers, real.layers, strict=True)):
        if isinstance(ours.op, Conv2D | Dense):
            pair = LayerPair(
                real,
                replace(integer, weights=weights),
                theirs,
                ours,
                tuple(values[theirs.inputs[0]] for values in real_values),
                tuple(values[ours.inputs[0]] for values in integer_values),
            )
            weights |= {f"{ours.name}.{role}": array for role, array in improve(pair).items()}
        alone = {
            count: (
                layer_alone(reals[count], reals[count].layers[index]),
                layer_alone(replace(integers[count], weights=weights), integers[count].layers[index]),
            )
            for count in counts
        }
        for batch, wanted, got in zip(batches, real_values, integer_values, strict=True):
            original, improved = alone[batch.count]
            wanted[theirs.output] = run_layer(original, wanted)
            got[ours.output] = run_layer(improved, got)
        for name in ours.inputs:
            if last_use[name] == index:
                for values in (*real_values, *integer_values):
                    values.pop(name, None)
    return replace(integer, weights=weights)
