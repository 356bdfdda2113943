"""One-operator TFLite models with SAME padding, so that LiteRT can say where it pads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema

from dscompile.ir.network import Array
from dscompile.ir.ops import Pair

Kind = Literal["conv", "depthwise", "average", "max"]


@dataclass(frozen=True)
class Window:
    """A sliding window as TFLite describes it, with SAME padding."""

    kind: Kind
    kernel: Pair
    stride: Pair
    dilation: Pair = (1, 1)


def run_litert(window: Window, x: Array, weights: Array | None, result_shape: tuple[int, ...]) -> Array:
    """What LiteRT makes of x [1, H, W, C]; `weights` is OHWI for conv and 1HWO for depthwise, bias is zero."""
    runner = interpreter.Interpreter(model_content=_model(window, x.shape, weights, result_shape), num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    result: Array = runner.get_tensor(runner.get_output_details()[0]["index"])
    return result


def _model(window: Window, shape: tuple[int, ...], weights: Array | None, result_shape: tuple[int, ...]) -> bytes:
    buffers, tensors = [schema.BufferT()], []

    def tensor(name: str, shape: tuple[int, ...], values: Array | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.buffer = len(buffers)
            buffers.append(buffer)
        tensors.append(made)
        return len(tensors) - 1

    inputs = [tensor("x", shape)]
    if weights is not None:
        inputs.append(tensor("weights", weights.shape, weights))
        inputs.append(tensor("bias", result_shape[-1:], np.zeros(result_shape[-1:], np.float32)))

    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = inputs, [tensor("y", result_shape)]
    code = schema.OperatorCodeT()
    code.builtinCode, operator.builtinOptionsType, operator.builtinOptions = _options(window)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 2

    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], operator.outputs, [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _options(window: Window) -> tuple[int, int, object]:
    """(operator, type of its options, options)"""
    if window.kind in ("average", "max"):
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = window.kernel
        operator = "AVERAGE_POOL_2D" if window.kind == "average" else "MAX_POOL_2D"
        kind = schema.BuiltinOptions.Pool2DOptions
    elif window.kind == "depthwise":
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
        operator, kind = "DEPTHWISE_CONV_2D", schema.BuiltinOptions.DepthwiseConv2DOptions
    else:
        options = schema.Conv2DOptionsT()
        operator, kind = "CONV_2D", schema.BuiltinOptions.Conv2DOptions
    if window.kind in ("conv", "depthwise"):
        options.dilationHFactor, options.dilationWFactor = window.dilation
    options.padding = schema.Padding.SAME
    options.strideH, options.strideW = window.stride
    return getattr(schema.BuiltinOperator, operator), kind, options
