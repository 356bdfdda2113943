"""Networks as ONNX models, so that onnxruntime can say what they compute.

Written from the ONNX operator specification, and plainly: images are transposed to NCHW before and back after every
operator that wants channels second.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import (
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Pad,
    Pads,
    Pool,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)

OPSET = 17


def run_onnxruntime(network: Network, inputs: dict[str, Array]) -> dict[str, Array]:
    """All outputs of `network` as onnxruntime computes them; everything in channels-last order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        as_onnx(network).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(network.outputs, session.run(list(network.outputs), dict(inputs)), strict=True))


def as_onnx(network: Network) -> onnx.ModelProto:
    """A checked ONNX model whose inputs and outputs are the network's, channels last."""
    writer = _Writer(network)
    for layer in network.layers:
        writer.layer(layer)
    graph = helper.make_graph(
        writer.nodes,
        network.name,
        [_value(network, name) for name in network.inputs],
        [_value(network, name) for name in network.outputs],
        writer.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _value(network: Network, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, network.shape(name))


class _Writer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def array(self, values: Array) -> str:
        name = f"array_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        result = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **attributes))
        return result

    def channels_second(self, x: str, rank: int) -> str:
        return self.node("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])

    def channels_last(self, x: str, rank: int) -> str:
        return self.node("Transpose", x, perm=[0, *range(2, rank), 1])

    def layer(self, layer: Layer) -> None:
        network, inputs = self.network, layer.inputs
        shape = network.shape(inputs[0]) if inputs else ()
        match layer.op:
            case Conv2D() as op:
                result = self.activation(op.activation, self.convolution(layer, op))
            case ConvTranspose() as op:
                result = self.activation(op.activation, self.transposed(layer, op))
            case Resize() as op:
                empty = self.array(np.zeros(0, np.float32))
                sizes = self.array(np.int64([1, shape[3], *op.size]))
                modes = {
                    "mode": "nearest" if op.method == "nearest" else "linear",
                    "coordinate_transformation_mode": op.coordinates,
                    "nearest_mode": op.rounding,
                }
                x = self.channels_second(inputs[0], 4)
                result = self.channels_last(self.node("Resize", x, empty, empty, sizes, **modes), 4)
            case DepthToSpace() as op:
                result = self.depth_to_space(op, inputs[0], shape)
            case SpaceToDepth(block=(rows, columns)):
                _, height, width, channels = shape
                split = [height // rows, rows, width // columns, columns, channels]
                parts = self.node("Reshape", inputs[0], self.array(np.int64(split)))
                turned = self.node("Transpose", parts, perm=[0, 2, 1, 3, 4])
                result = self.node("Reshape", turned, self.array(np.int64(network.shape(layer.output))))
            case Dense() as op:
                bias = [self.array(network.weight(layer, "bias"))] if network.has_weight(layer, "bias") else []
                product = self.node("Gemm", inputs[0], self.array(network.weight(layer, "kernel")), *bias)
                result = self.activation(op.activation, product)
            case Pool() as op:
                result = self.activation(op.activation, self.pool(op, inputs[0], shape))
            case Binary() as op:
                result = self.activation(op.activation, self.node(op.kind.capitalize(), *inputs))
            case Concat(axis=axis):
                result = self.node("Concat", *inputs, axis=axis)
            case Slice(begins=begins) as op:
                ends, axes = [part.stop for part in op.box], range(len(begins))
                limits = [self.array(np.int64(list(each))) for each in (begins, ends, axes, op.strides)]
                result = self.node("Slice", inputs[0], *limits)
            case Shuffle(groups=groups):
                parts = self.node("Reshape", inputs[0], self.array(np.int64([*shape[:-1], groups, -1])))
                swapped = [*range(len(shape) - 1), len(shape), len(shape) - 1]
                turned = self.node("Transpose", parts, perm=swapped)
                result = self.node("Reshape", turned, self.array(np.int64(shape)))
            case Activate(activation=activation) if activation.kind == "prelu":
                result = self.node("PRelu", inputs[0], self.array(network.weight(layer, "slope")))
            case Activate(activation=activation):
                result = self.activation(activation, inputs[0])
            case Softmax(beta=beta):
                result = self.node("Softmax", self.node("Mul", inputs[0], self.array(np.float32(beta))), axis=-1)
            case Pad(pads=pads, value=value, mode=mode):
                amounts = np.int64([0, pads.top, pads.left, 0, 0, pads.bottom, pads.right, 0])
                fill = [self.array(np.float32(value))] if mode == "constant" else []
                result = self.node("Pad", inputs[0], self.array(amounts), *fill, mode=mode)
            case Reshape(shape=target):
                result = self.node("Reshape", inputs[0], self.array(np.int64(target)))
            case Transpose(permutation=permutation):
                result = self.node("Transpose", inputs[0], perm=permutation)
            case BatchNorm(epsilon=epsilon):
                weights = [self.array(network.weight(layer, role)) for role in ("gamma", "beta", "mean", "variance")]
                x = self.channels_second(inputs[0], len(shape))
                y = self.node("BatchNormalization", x, *weights, epsilon=epsilon)
                result = self.channels_last(y, len(shape))
            case Constant():
                result = self.array(network.weight(layer, "value"))
        self.node("Identity", result, output=layer.output)

    def convolution(self, layer: Layer, op: Conv2D) -> str:
        kernel = self.network.weight(layer, "kernel").transpose(3, 2, 0, 1)
        weights = [self.array(kernel)]
        if self.network.has_weight(layer, "bias"):
            weights.append(self.array(self.network.weight(layer, "bias")))
        y = self.node(
            "Conv",
            self.channels_second(layer.inputs[0], 4),
            *weights,
            strides=op.stride,
            dilations=op.dilation,
            pads=_onnx_pads(op.pads),
            group=op.groups,
        )
        return self.channels_last(y, 4)

    def transposed(self, layer: Layer, op: ConvTranspose) -> str:
        """ONNX has the filters of a group by input channel."""
        kernel = self.network.weight(layer, "kernel")
        rows, columns, per_group, filters = kernel.shape
        parts = kernel.reshape(rows, columns, per_group, op.groups, filters // op.groups).transpose(3, 2, 4, 0, 1)
        weights = [self.array(parts.reshape(op.groups * per_group, filters // op.groups, rows, columns))]
        if self.network.has_weight(layer, "bias"):
            weights.append(self.array(self.network.weight(layer, "bias")))
        y = self.node(
            "ConvTranspose",
            self.channels_second(layer.inputs[0], 4),
            *weights,
            strides=op.stride,
            dilations=op.dilation,
            pads=_onnx_pads(op.pads),
            group=op.groups,
            output_padding=op.output_padding,
        )
        return self.channels_last(y, 4)

    def depth_to_space(self, op: DepthToSpace, x: str, shape: tuple[int, ...]) -> str:
        """Spelled out, as blocks need not be squares."""
        (_, height, width, _), (rows, columns) = shape, op.block
        dcr = op.order == "dcr"
        split = [height, width, rows, columns, -1] if dcr else [height, width, -1, rows, columns]
        parts = self.node("Reshape", x, self.array(np.int64(split)))
        turned = self.node("Transpose", parts, perm=[0, 2, 1, 3, 4] if dcr else [0, 3, 1, 4, 2])
        whole = self.node("Reshape", turned, self.array(np.int64([1, height * rows, width * columns, -1])))
        crops = op.crops
        begins = np.int64([crops.top, crops.left])
        ends = np.int64([height * rows - crops.bottom, width * columns - crops.right])
        return self.node("Slice", whole, self.array(begins), self.array(ends), self.array(np.int64([1, 2])))

    def pool(self, op: Pool, x: str, shape: tuple[int, ...]) -> str:
        window = {"kernel_shape": op.window(*shape[1:3]), "strides": op.stride, "pads": _onnx_pads(op.pads)}
        x = self.channels_second(x, 4)
        if op.kind == "max":
            return self.channels_last(self.node("MaxPool", x, **window), 4)
        return self.channels_last(self.node("AveragePool", x, count_include_pad=int(op.count_pads), **window), 4)

    def activation(self, activation: Activation, x: str) -> str:
        match activation.kind:
            case "none":
                return x
            case "clip":
                bounds = [
                    self.array(np.float32(bound)) if math.isfinite(bound) else ""
                    for bound in (activation.low, activation.high)
                ]
                return self.node("Clip", x, *bounds)
            case "hard_swish":
                return self.node("HardSwish", x)
            case "hard_sigmoid":
                return self.node("HardSigmoid", x, alpha=activation.alpha, beta=0.5)
            case "swish":
                return self.node("Mul", x, self.node("Sigmoid", x))
            case "sigmoid":
                return self.node("Sigmoid", x)
            case "tanh":
                return self.node("Tanh", x)
            case "leaky_relu":
                return self.node("LeakyRelu", x, alpha=activation.alpha)
            case "elu":
                return self.node("Elu", x, alpha=activation.alpha)
            case "erf":
                return self.node("Erf", x)
            case "gelu":
                inner = self.node("Erf", self.node("Mul", x, self.array(np.float32(math.sqrt(0.5)))))
                return self.halved(x, inner)
            case "gelu_tanh":
                cubic = self.node("Mul", self.node("Mul", x, x), self.node("Mul", x, self.array(np.float32(0.044715))))
                inner = self.node("Mul", self.node("Add", x, cubic), self.array(np.float32(math.sqrt(2 / math.pi))))
                return self.halved(x, self.node("Tanh", inner))
            case "prelu":
                raise ValueError("prelu needs the weight of a layer of its own")

    def halved(self, x: str, inner: str) -> str:
        """x * (1 + inner) / 2."""
        half, one = self.array(np.float32(0.5)), self.array(np.float32(1))
        return self.node("Mul", self.node("Mul", x, half), self.node("Add", inner, one))


def _onnx_pads(pads: Pads) -> list[int]:
    return [pads.top, pads.left, pads.bottom, pads.right]
