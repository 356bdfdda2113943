"""Random int8 networks: random float networks, quantized by the ranges of one run. Not a good quantizer, an odd one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dscompile import oracle
from dscompile.ir.network import Array, Layer, Network, NetworkBuilder
from dscompile.ir.ops import (
    NONE,
    ROUNDED_AS,
    Activate,
    Activation,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    RoundedAs,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.passes.pipeline import PASSES
from tests.networks import STEPS, random_inputs, random_network
from tests.towers import random_tower

INT8_STEPS = sorted(STEPS.keys() - {"prelu", "spelled_hard_swish", "batch_norm", "quotient"})
SOFTMAX = Quantization((1 / 256,), -128)


def random_int8_network(
    seed: int, rounding: Rounding = "tflite", *, max_layers: int = 8, steps: Sequence[str] = INT8_STEPS
) -> Network:
    """A valid int8 network; every third one has float borders."""
    rng = np.random.default_rng(seed)
    source = _folded(random_network(seed, max_layers=max_layers, steps=steps, nchw_borders=False))
    return Quantizer(source, rng, rounding, float_borders=seed % 3 == 2).run()


def quantized_tower(seed: int, rounding: Rounding = "tflite") -> Network:
    """A random tower of convolutions (tests/towers.py) in int8; every third one has float borders."""
    source = _folded(random_tower(seed))
    return Quantizer(source, np.random.default_rng(seed), rounding, float_borders=seed % 3 == 2).run()


def quantized(network: Network, seed: int, rounding: Rounding = "tflite") -> Network:
    """A float network in int8, from border to border."""
    return Quantizer(_folded(network), np.random.default_rng(seed), rounding, float_borders=False).run()


def _folded(network: Network) -> Network:
    """As `canonicalize` makes it, but transposed convolutions stay: they have an int8 form of their own."""
    while True:
        before = network
        for run in PASSES:
            network = run(network)
        if network is before:
            return network


class Quantizer:
    """Rebuilds a float network layer by layer in int8."""

    def __init__(self, source: Network, rng: np.random.Generator, rounding: Rounding, *, float_borders: bool) -> None:
        self.source = source
        self.rng = rng
        self.forms = rng.spawn(1)[0]  # its own, so that what it decides changes no other number of a network
        self.float_borders = float_borders
        self.values = oracle.run_all(source, random_inputs(source, 0))
        self.builder = NetworkBuilder(source.name, rounding)
        self.made: dict[str, str] = {}

    def run(self) -> Network:
        for name in self.source.inputs:
            tensor = self.source.tensor(name)
            if self.float_borders:
                given = self.builder.input(tensor)
                self.made[name] = self.builder.add(
                    f"{name}.q", Quantize(), [given], dtype="int8", quantization=self.range_of(name)
                )
            else:
                self.made[name] = self.builder.input(
                    Tensor(name, tensor.shape, "int8", self.range_of(name), tensor.border)
                )
        for layer in self.source.layers:
            self.made[layer.output] = self.layer(layer)
        outputs = [self.made[name] for name in self.source.outputs]
        if self.float_borders:
            outputs = [self.builder.add(f"{name}.real", Dequantize(), [name]) for name in outputs]
        return self.builder.build(outputs)

    def range_of(self, name: str) -> Quantization:
        """Sometimes too narrow, so that values saturate."""
        values = self.values[name].astype(np.float64)
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        scale = float(np.float32(max(high - low, 1e-3) / 255 * self.rng.choice([0.6, 1.0, 1.3])))
        return Quantization((scale,), int(np.clip(round(-128 - low / scale), -128, 127)))

    def quantization(self, name: str) -> Quantization:
        found = self.builder.tensors[name].quantization
        assert found is not None
        return found

    def layer(self, layer: Layer) -> str:
        inputs = [self.made[name] for name in layer.inputs]
        op = layer.op
        match op:
            case Conv2D() | ConvTranspose() | Dense():
                return self.weighted(layer, inputs, op)
            case Constant():
                quantization = self.range_of(layer.output)
                real = self.source.weight(layer, "value").astype(np.float64)
                value = np.clip(np.rint(real / quantization.scale) + quantization.zero_point, -128, 127)
                return self.builder.add(
                    layer.name, op, [], dtype="int8", quantization=quantization, value=value.astype(np.int8)
                )
            case Softmax():
                return self.builder.add(layer.name, op, inputs, quantization=SOFTMAX)
            case Concat():
                return self.builder.add(layer.name, op, self.at_one_scale(layer, inputs))
            case Pool(kind="average", kernel=(0, 0)) if self.rng.random() < 0.5:
                mean = self.builder.add(layer.name, Mean(), inputs, quantization=self.range_of(layer.output))
                return self.activated(layer.name, mean, op.activation, layer.output)
            case Pool():
                plain = replace(op, activation=self.fused(op.activation), count_pads=op.count_pads and not op.pads)
                result = self.builder.add(layer.name, plain, inputs)
                return self.activated(layer.name, result, op.activation, layer.output)
            case Binary(kind="max" | "min"):
                result = self.builder.add(
                    layer.name, replace(op, activation=self.fused(op.activation)), self.at_one_scale(layer, inputs)
                )
                return self.activated(layer.name, result, op.activation, layer.output)
            case Binary():
                plain_binary = replace(op, activation=self.fused(op.activation), rounded_as=self.rounded_as(op))
                result = self.builder.add(layer.name, plain_binary, inputs, quantization=self.range_of(layer.output))
                return self.activated(layer.name, result, op.activation, layer.output)
            case Activate() if self.forms.random() < 0.2:
                table = self.forms.integers(-128, 128, 256).astype(np.int8)
                return self.builder.add(
                    layer.name, Lookup(), inputs, quantization=self.range_of(layer.output), table=table
                )
            case Activate():
                return self.builder.add(layer.name, op, inputs, quantization=self.range_of(layer.output))
            case Pad() | Resize() | Reshape() | Transpose() | Slice() | Shuffle() | DepthToSpace() | SpaceToDepth():
                return self.builder.add(layer.name, op, inputs)
            case _:
                raise ValueError(f"no int8 form of {op}")

    def at_one_scale(self, layer: Layer, inputs: list[str]) -> list[str]:
        """The inputs of a layer, all with the quantization of the first."""
        common = self.quantization(inputs[0])
        return [
            name
            if self.quantization(name) == common
            else self.builder.add(f"{layer.name}.in{i}", Quantize(), [name], dtype="int8", quantization=common)
            for i, name in enumerate(inputs)
        ]

    def rounded_as(self, op: Binary) -> RoundedAs:
        return ROUNDED_AS[self.forms.integers(len(ROUNDED_AS))]

    def fused(self, activation: Activation) -> Activation:
        return activation if activation.kind in ("none", "clip") else NONE

    def activated(self, name: str, result: str, activation: Activation, output: str) -> str:
        if self.fused(activation) == activation:
            return result
        return self.builder.add(f"{name}.act", Activate(activation), [result], quantization=self.range_of(output))

    def weighted(self, layer: Layer, inputs: list[str], op: Conv2D | ConvTranspose | Dense) -> str:
        kernel = self.source.weight(layer, "kernel").astype(np.float64)
        scales = np.maximum(np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0), 1e-4) / 127
        scales = scales.astype(np.float32)
        integers = np.clip(np.rint(kernel / scales), -127, 127).astype(np.int8)
        bias: Array | None = None
        if self.source.has_weight(layer, "bias"):
            unit = self.quantization(inputs[0]).scale * scales.astype(np.float64)
            bias = np.clip(np.rint(self.source.weight(layer, "bias") / unit), -(2**24), 2**24).astype(np.int32)
        plain = replace(op, activation=self.fused(op.activation))
        result = self.builder.add(
            layer.name,
            plain,
            inputs,
            quantization=self.range_of(layer.output),
            kernel=integers,
            kernel_scale=scales,
            bias=bias,
        )
        return self.activated(layer.name, result, op.activation, layer.output)
