"""Writes a float network as a .tflite file, so that LiteRT can run exactly the weights of an .onnx model.

The twin takes and gives channels-last tensors, which is what LiteRT is fastest with. Activations that TFLite can fuse
are fused. Paddings that are not TFLite's SAME become a PAD operator before a VALID convolution: XNNPACK, LiteRT's
default on CPUs, joins the two again.
"""

from __future__ import annotations

import math
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    NONE,
    Activate,
    Activation,
    Binary,
    Concat,
    Conv2D,
    Dense,
    Pads,
    Pool,
    Reshape,
    Shuffle,
    Slice,
    Softmax,
)
from dscompile.ir.shapes import same_pads

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
        self._buffers = [schema.BufferT()]
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._codes: list[int] = []
        self._index: dict[str, int] = {}

    def model(self) -> bytes:
        network = self._network
        for name in network.inputs:
            self._result(name, network.shape(name))
        for layer in network.layers:
            self._layer(layer)
        graph = schema.SubGraphT()
        graph.name = network.name
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs = [self._index[name] for name in network.inputs]
        graph.outputs = [self._index[name] for name in network.outputs]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _layer(self, layer: Layer) -> None:
        sources = [self._index[name] for name in layer.inputs]
        match layer.op:
            case Conv2D() as op:
                self._convolution(layer, op, sources[0])
            case Dense() as op:
                options = schema.FullyConnectedOptionsT()
                weights = self._weight(layer, "kernel").T
                self._activated(
                    layer, "FULLY_CONNECTED", options, [sources[0], self._constant(weights), self._bias(layer)], op
                )
            case Pool() as op:
                self._pool(layer, op, sources[0])
            case Binary() as op:
                options = schema.AddOptionsT() if op.kind == "add" else schema.MulOptionsT()
                self._activated(layer, op.kind.upper(), options, sources, op)
            case Activate() as op:
                self._activation(op.activation, sources[0], layer.output)
            case Reshape() as op:
                self._reshaped(sources[0], layer.output, op.shape)
            case Concat() as op:
                options = schema.ConcatenationOptionsT()
                options.axis = op.axis
                self._operator("CONCATENATION", options, sources, self._output(layer))
            case Slice() as op if not op.steps:
                begins, sizes = (self._constant(np.array(values, np.int32)) for values in (op.begins, op.sizes))
                self._operator("SLICE", schema.SliceOptionsT(), [sources[0], begins, sizes], self._output(layer))
            case Shuffle() as op:
                self._shuffle(layer, op, sources[0])
            case Softmax() as op:
                options = schema.SoftmaxOptionsT()
                options.beta = op.beta
                self._operator("SOFTMAX", options, sources, self._output(layer))
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
        self._activated(layer, operator, options, [source, self._constant(weights), self._bias(layer)], op)

    def _shuffle(self, layer: Layer, op: Shuffle, source: int) -> None:
        """Channels as [groups, channels of a group] are transposed."""
        *pixels, channels = self._network.shape(layer.output)
        shape = (math.prod(pixels), op.groups, channels // op.groups)
        turned = (shape[0], shape[2], shape[1])
        apart = self._reshaped(source, f"{layer.output}:groups", shape)
        order = self._constant(np.array((0, 2, 1), np.int32))
        transposed = self._result(f"{layer.output}:transposed", turned)
        self._operator("TRANSPOSE", schema.TransposeOptionsT(), [apart, order], transposed)
        self._reshaped(transposed, layer.output, (*pixels, channels))

    def _reshaped(self, source: int, name: str, shape: tuple[int, ...]) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        target = self._result(name, shape)
        self._operator("RESHAPE", options, [source, self._constant(np.array(shape, np.int32))], target)
        return target

    def _pool(self, layer: Layer, op: Pool, source: int) -> None:
        _, height, width, _ = self._network.shape(layer.inputs[0])
        window = op.window(height, width)
        if op.kind == "average" and window == (height, width) and not op.pads:
            options = schema.ReducerOptionsT()
            options.keepDims = True
            axes = self._constant(np.array([1, 2], np.int32))
            self._operator("MEAN", options, [source, axes], self._output(layer))
            return
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = window
        options.strideH, options.strideW = op.stride
        options.padding = schema.Padding.VALID
        if op.pads and op.pads == same_pads(height, width, window, op.stride) and not op.count_pads:
            options.padding = schema.Padding.SAME
        elif op.kind == "max" and self._is_positive(layer.inputs[0]):
            source = self._padded(source, op.pads, self._network.shape(layer.inputs[0]))
        elif op.pads:
            raise UnsupportedError("the TFLite twin has no pool with such padding", layer=layer.name)
        self._activated(layer, "AVERAGE_POOL_2D" if op.kind == "average" else "MAX_POOL_2D", options, [source], op)

    def _is_positive(self, name: str) -> bool:
        """Whether a tensor is clipped at 0 or above, so that zeros around it are never a maximum."""
        producer = self._network.producers.get(name)
        activation: Activation = getattr(producer.op, "activation", NONE) if producer is not None else NONE
        return activation.kind == "clip" and activation.low >= 0.0

    def _activated(self, layer: Layer, operator: str, options: object, sources: list[int], op: object) -> None:
        """An operator and its activation: fused where TFLite can, else as operators of their own behind it."""
        activation: Activation = getattr(op, "activation", NONE)
        if activation.name in _FUSED:
            options.fusedActivationFunction = _FUSED[activation.name]
            self._operator(operator, options, sources, self._output(layer))
            return
        before = self._result(f"{layer.output}:linear", self._network.shape(layer.output))
        self._operator(operator, options, sources, before)
        self._activation(activation, before, layer.output)

    def _activation(self, activation: Activation, source: int, name: str) -> None:
        shape = tuple(self._tensors[source].shape)
        match activation.name:
            case "relu" | "relu6" as kind:
                self._operator(kind.upper(), None, [source], self._result(name, shape))
            case "hard_swish":
                self._operator("HARD_SWISH", schema.HardSwishOptionsT(), [source], self._result(name, shape))
            case "sigmoid":
                self._operator("LOGISTIC", None, [source], self._result(name, shape))
            case "tanh":
                self._operator("TANH", None, [source], self._result(name, shape))
            case "swish":
                gate = self._result(f"{name}:gate", shape)
                self._operator("LOGISTIC", None, [source], gate)
                self._operator("MUL", schema.MulOptionsT(), [source, gate], self._result(name, shape))
            case "hard_sigmoid" if math.isclose(activation.alpha, 1 / 6, rel_tol=1e-6):
                # clip(x / 6 + 1/2, 0, 1) = relu6(x + 3) / 6
                shifted = schema.AddOptionsT()
                shifted.fusedActivationFunction = schema.ActivationFunctionType.RELU6
                clipped = self._result(f"{name}:clipped", shape)
                self._operator("ADD", shifted, [source, self._constant(np.float32([3.0]))], clipped)
                sixth = self._constant(np.float32([1 / 6]))
                self._operator("MUL", schema.MulOptionsT(), [clipped, sixth], self._result(name, shape))
            case other:
                raise UnsupportedError(f"the TFLite twin has no activation {other}", layer=name)

    def _padded(self, source: int, pads: Pads, shape: tuple[int, int, int, int]) -> int:
        amounts = np.array([[0, 0], [pads.top, pads.bottom], [pads.left, pads.right], [0, 0]], np.int32)
        batch, height, width, channels = shape
        result = (batch, height + pads.top + pads.bottom, width + pads.left + pads.right, channels)
        target = self._tensor(f"pad{len(self._tensors)}", result)
        self._operator("PAD", schema.PadOptionsT(), [source, self._constant(amounts)], target)
        return target

    def _operator(self, name: str, options: object, sources: list[int], target: int) -> None:
        code = getattr(schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = sources, [target]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)

    def _output(self, layer: Layer) -> int:
        return self._result(layer.output, self._network.shape(layer.output))

    def _result(self, name: str, shape: tuple[int, ...]) -> int:
        self._index[name] = self._tensor(name, shape)
        return self._index[name]

    def _weight(self, layer: Layer, role: str) -> np.ndarray:
        return np.asarray(self._network.weight(layer, role))

    def _bias(self, layer: Layer) -> int:
        if self._network.has_weight(layer, "bias"):
            return self._constant(self._weight(layer, "bias"))
        return self._constant(np.zeros(self._network.shape(layer.output)[-1], np.float32))

    def _constant(self, values: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
        return self._tensor(f"constant{len(self._tensors)}", values.shape, kind, len(self._buffers) - 1)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _operator_code(code: int) -> schema.OperatorCodeT:
    result = schema.OperatorCodeT()
    result.builtinCode, result.version = code, 1
    result.deprecatedBuiltinCode = min(code, 127)
    return result
