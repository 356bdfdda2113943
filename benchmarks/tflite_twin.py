"""Writes a network as a .tflite file, so that LiteRT can run exactly the weights of an .onnx model, float32 or int8.

The twin takes and gives channels-last tensors, which is what LiteRT is fastest with. Activations that TFLite can fuse
are fused. Paddings that are not TFLite's SAME become a PAD operator before a VALID convolution: XNNPACK, LiteRT's
default on CPUs, joins the two again.

Tables of 256 entries, which int8 networks have for activations, become the operators of TFLite that they stand for.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.table_function import FUNCTIONS, function_of
from benchmarks.tflite_graph import TfliteGraph
from dscompile.errors import UnsupportedError
from dscompile.ir.fixed_point import layer_clamp, tensor_quantization
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    NONE,
    RELU,
    RELU6,
    Activate,
    Activation,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Dequantize,
    Lookup,
    Mean,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Shuffle,
    Slice,
    Softmax,
)
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Quantization

_FUSED = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}


def write_twin(network: Network, path: Path) -> None:
    """Writes the canonical form of `network` (dscompile.passes.canonicalize) to `path`.

    Raises UnsupportedError naming the first layer that has no counterpart here.
    """
    path.write_bytes(_Writer(network).model())


class _Writer:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._graph = TfliteGraph()
        self._index: dict[str, int] = {}

    def model(self) -> bytes:
        network = self._network
        for name in network.inputs:
            self._result(name, network.shape(name))
        for layer in network.layers:
            self._layer(layer)
        inputs, outputs = ([self._index[name] for name in names] for names in (network.inputs, network.outputs))
        return self._graph.model(network.name, inputs, outputs)

    def _layer(self, layer: Layer) -> None:
        sources = [self._index[name] for name in layer.inputs]
        match layer.op:
            case Conv2D() as op:
                self._convolution(layer, op, sources[0])
            case Dense() as op:
                options = schema.FullyConnectedOptionsT()
                weights = self._kernel(layer, self._weight(layer, "kernel").T, 0)
                self._activated(layer, "FULLY_CONNECTED", options, [sources[0], weights, self._bias(layer)], op)
            case Mean():
                self._mean(layer, sources[0])
            case Lookup():
                self._table(layer, sources[0])
            case Quantize():
                self._graph.operator("QUANTIZE", schema.QuantizeOptionsT(), sources, self._output(layer))
            case Dequantize():
                self._graph.operator("DEQUANTIZE", schema.DequantizeOptionsT(), sources, self._output(layer))
            case Constant():
                self._index[layer.output] = self._graph.constant(
                    self._weight(layer, "value"), self._network.tensor(layer.output).quantization
                )
            case Slice() as op if not op.steps:
                boxes = [self._graph.constant(np.array(box, np.int32)) for box in (op.begins, op.sizes)]
                self._graph.operator("SLICE", schema.SliceOptionsT(), [sources[0], *boxes], self._output(layer))
            case Shuffle() as op:
                self._shuffle(layer, op, sources[0])
            case Pool() as op:
                self._pool(layer, op, sources[0])
            case Binary() as op:
                options = schema.AddOptionsT() if op.kind == "add" else schema.MulOptionsT()
                self._activated(layer, op.kind.upper(), options, sources, op)
            case Activate() as op:
                self._activation(op.activation, sources[0], layer.output)
            case Reshape() as op:
                self._reshape(sources[0], op.shape, self._output(layer))
            case Concat() as op:
                options = schema.ConcatenationOptionsT()
                options.axis = op.axis
                self._graph.operator("CONCATENATION", options, sources, self._output(layer))
            case Softmax() as op:
                options = schema.SoftmaxOptionsT()
                options.beta = op.beta
                self._graph.operator("SOFTMAX", options, sources, self._output(layer))
            case op:
                raise UnsupportedError(f"the TFLite twin has no {type(op).__name__}", layer=layer.name)

    def _convolution(self, layer: Layer, op: Conv2D, source: int) -> None:
        _, height, width, channels = self._network.shape(layer.inputs[0])
        kernel = self._weight(layer, "kernel")
        is_depthwise = op.is_depthwise(channels)
        if is_depthwise:
            # [kh, kw, 1, C_out] is already TFLite's order for depthwise kernels, with its axes 2 and 0 exchanged.
            options = schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = op.out_channels // channels
            weights = kernel.transpose(2, 0, 1, 3)
        elif op.groups == 1:
            options = schema.Conv2DOptionsT()
            weights = kernel.transpose(3, 0, 1, 2)
        else:
            raise UnsupportedError("the TFLite twin has no grouped convolution", layer=layer.name)
        options.strideH, options.strideW = op.stride
        options.dilationHFactor, options.dilationWFactor = op.dilation
        options.padding = schema.Padding.VALID
        if op.pads and op.pads == same_pads(height, width, op.kernel, op.stride, op.dilation):
            options.padding = schema.Padding.SAME
        elif op.pads:
            source = self._padded(source, op.pads, (1, height, width, channels))
        operator = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
        weights = self._kernel(layer, weights, 3 if is_depthwise else 0)
        self._activated(layer, operator, options, [source, weights, self._bias(layer)], op)

    def _kernel(self, layer: Layer, values: np.ndarray, axis: int) -> int:
        """A kernel of float32, or of int8 with a scale for each output along `axis`."""
        if not self._network.is_quantized_layer(layer):
            return self._graph.constant(values)
        return self._graph.constant(values, Quantization(tuple(self._scales(layer))), axis)

    def _scales(self, layer: Layer) -> list[float]:
        return [float(scale) for scale in self._weight(layer, "kernel_scale")]

    def _mean(self, layer: Layer, source: int) -> None:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axes = self._graph.constant(np.array([1, 2], np.int32))
        self._graph.operator("MEAN", options, [source, axes], self._output(layer))

    def _reshape(self, source: int, shape: tuple[int, ...], target: int) -> None:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self._graph.operator("RESHAPE", options, [source, self._graph.constant(np.array(shape, np.int32))], target)

    def _shuffle(self, layer: Layer, op: Shuffle, source: int) -> None:
        """Channels as [groups, C / groups], transposed, and joined again."""
        *pixels, channels = self._network.shape(layer.output)
        quantization = self._network.tensor(layer.output).quantization
        split, swapped = (*pixels, op.groups, channels // op.groups), (*pixels, channels // op.groups, op.groups)
        groups = self._graph.tensor(f"{layer.output}:groups", split, quantization)
        self._reshape(source, split, groups)
        order = self._graph.constant(np.array([*range(len(pixels)), len(pixels) + 1, len(pixels)], np.int32))
        mixed = self._graph.tensor(f"{layer.output}:mixed", swapped, quantization)
        self._graph.operator("TRANSPOSE", schema.TransposeOptionsT(), [groups, order], mixed)
        self._reshape(mixed, self._network.shape(layer.output), self._output(layer))

    def _table(self, layer: Layer, source: int) -> None:
        """What a table is: a known function between the scales of its two tensors."""
        given, made = (tensor_quantization(self._network, name) for name in (layer.inputs[0], layer.output))
        name = function_of(self._weight(layer, "table"), given, made)
        shape = self._network.shape(layer.output)
        match name:
            case "requantize":
                self._graph.operator("QUANTIZE", schema.QuantizeOptionsT(), [source], self._output(layer))
            case "hard_swish":
                self._graph.operator("HARD_SWISH", schema.HardSwishOptionsT(), [source], self._output(layer))
            case "sigmoid" | "swish":
                gate = self._graph.tensor(f"{layer.output}:gate", shape, Quantization((1 / 256,), -128))
                self._graph.operator("LOGISTIC", None, [source], gate)
                if name == "swish":
                    self._graph.operator("MUL", schema.MulOptionsT(), [source, gate], self._output(layer))
                else:  # TFLite's LOGISTIC has that one scale
                    self._graph.operator("QUANTIZE", schema.QuantizeOptionsT(), [gate], self._output(layer))
            case "hard_sigmoid":
                shifted = schema.AddOptionsT()
                shifted.fusedActivationFunction = schema.ActivationFunctionType.RELU6
                clipped = self._graph.tensor(f"{layer.output}:clipped", shape, Quantization((6 / 255,), -128))
                three = self._graph.constant(np.array([127], np.int8), Quantization((3 / 127,)))
                self._graph.operator("ADD", shifted, [source, three], clipped)
                sixth = self._graph.constant(np.array([127], np.int8), Quantization((1 / 762,)))
                self._graph.operator("MUL", schema.MulOptionsT(), [clipped, sixth], self._output(layer))
            case _:
                known = ", ".join(FUNCTIONS)
                raise UnsupportedError(f"the TFLite twin has no such table; it knows {known}", layer=layer.name)

    def _pool(self, layer: Layer, op: Pool, source: int) -> None:
        _, height, width, _ = self._network.shape(layer.inputs[0])
        window = op.window(height, width)
        if op.kind == "average" and window == (height, width) and not op.pads:
            self._mean(layer, source)
            return
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = window
        options.strideH, options.strideW = op.stride
        options.padding = schema.Padding.VALID
        if op.pads and op.pads == same_pads(height, width, window, op.stride) and not op.count_pads:
            options.padding = schema.Padding.SAME
        elif op.pads and op.kind == "max" and self._is_lowest_zero(layer.inputs[0]):
            source = self._padded(source, op.pads, self._network.shape(layer.inputs[0]))
        elif op.pads:
            raise UnsupportedError("the TFLite twin has no pool with such padding", layer=layer.name)
        self._activated(layer, "AVERAGE_POOL_2D" if op.kind == "average" else "MAX_POOL_2D", options, [source], op)

    def _is_lowest_zero(self, name: str) -> bool:
        """Whether no element of a tensor is below zero, so that padding with zeros changes no maximum."""
        quantization = self._network.tensor(name).quantization
        if quantization is not None:
            return quantization.zero_point == -128
        producer = self._network.producers.get(name)
        return producer is not None and getattr(producer.op, "activation", NONE) in (RELU, RELU6)

    def _activated(self, layer: Layer, operator: str, options: object, sources: list[int], op: object) -> None:
        """An operator and its activation: fused where TFLite can, else as operators of their own behind it."""
        activation: Activation = getattr(op, "activation", NONE)
        if self._network.is_quantized_layer(layer):
            activation = self._clamp(layer)
        if activation.name in _FUSED:
            options.fusedActivationFunction = _FUSED[activation.name]
            self._graph.operator(operator, options, sources, self._output(layer))
            return
        before = self._result(f"{layer.output}:linear", self._network.shape(layer.output))
        self._graph.operator(operator, options, sources, before)
        self._activation(activation, before, layer.output)

    def _activation(self, activation: Activation, source: int, name: str) -> None:
        shape = self._graph.shape(source)
        match activation.name:
            case "relu" | "relu6" as kind:
                self._graph.operator(kind.upper(), None, [source], self._result(name, shape))
            case "hard_swish":
                self._graph.operator("HARD_SWISH", schema.HardSwishOptionsT(), [source], self._result(name, shape))
            case "sigmoid":
                self._graph.operator("LOGISTIC", None, [source], self._result(name, shape))
            case "tanh":
                self._graph.operator("TANH", None, [source], self._result(name, shape))
            case "swish":
                gate = self._result(f"{name}:gate", shape)
                self._graph.operator("LOGISTIC", None, [source], gate)
                self._graph.operator("MUL", schema.MulOptionsT(), [source, gate], self._result(name, shape))
            case "hard_sigmoid" if math.isclose(activation.alpha, 1 / 6, rel_tol=1e-6):
                # clip(x / 6 + 1/2, 0, 1) = relu6(x + 3) / 6
                shifted = schema.AddOptionsT()
                shifted.fusedActivationFunction = schema.ActivationFunctionType.RELU6
                clipped = self._result(f"{name}:clipped", shape)
                self._graph.operator("ADD", shifted, [source, self._graph.constant(np.float32([3.0]))], clipped)
                sixth = self._graph.constant(np.float32([1 / 6]))
                self._graph.operator("MUL", schema.MulOptionsT(), [clipped, sixth], self._result(name, shape))
            case other:
                raise UnsupportedError(f"the TFLite twin has no activation {other}", layer=name)

    def _clamp(self, layer: Layer) -> Activation:
        """The activation of TFLite that leaves the same integers, or what the layer has, which TFLite cannot fuse."""
        limits = layer_clamp(self._network, layer)
        made = tensor_quantization(self._network, layer.output)
        zero, six = made.zero_point, made.zero_point + round(6 / made.scale)
        known = {(-128, 127): NONE, (max(-128, zero), 127): RELU, (max(-128, zero), min(127, six)): RELU6}
        return known.get((limits.low, limits.high), layer.op.activation)

    def _padded(self, source: int, pads: Pads, shape: tuple[int, int, int, int]) -> int:
        amounts = np.array([[0, 0], [pads.top, pads.bottom], [pads.left, pads.right], [0, 0]], np.int32)
        batch, height, width, channels = shape
        result = (batch, height + pads.top + pads.bottom, width + pads.left + pads.right, channels)
        target = self._graph.like(source, "padded", result)
        self._graph.operator("PAD", schema.PadOptionsT(), [source, self._graph.constant(amounts)], target)
        return target

    def _output(self, layer: Layer) -> int:
        return self._result(layer.output, self._network.shape(layer.output))

    def _result(self, name: str, shape: tuple[int, ...]) -> int:
        known = self._network.tensors.get(name)
        self._index[name] = self._graph.tensor(name, shape, None if known is None else known.quantization)
        return self._index[name]

    def _weight(self, layer: Layer, role: str) -> np.ndarray:
        return np.asarray(self._network.weight(layer, role))

    def _bias(self, layer: Layer) -> int:
        quantized = self._network.is_quantized_layer(layer)
        values = np.zeros(self._network.shape(layer.output)[-1], np.int32 if quantized else np.float32)
        if self._network.has_weight(layer, "bias"):
            values = self._weight(layer, "bias")
        if not quantized:
            return self._graph.constant(values)
        given = tensor_quantization(self._network, layer.inputs[0]).scale
        return self._graph.constant(values, Quantization(tuple(given * scale for scale in self._scales(layer))))
