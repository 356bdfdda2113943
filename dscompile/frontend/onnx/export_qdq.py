"""Int8 networks made ready for ONNX's QDQ format, in which every operator is written in float32.

A runtime that computes a DequantizeLinear, an operator and a QuantizeLinear in integers has the bytes of the rounding
`float32`: sums of int8 products in 32 bits, multiplied by one float32 factor, halves to even. onnxruntime does so for
convolutions, dense layers, sums, products, means of whole images and what moves or compares integers. Other operators
are computed in float32 there, and their results can be the integer beside the network's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dscompile.errors import Diagnostic, UnsupportedError
from dscompile.ir.fixed_point import Clamp, layer_clamp, tensor_quantization
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Activate, Activation, Binary, Conv2D, ConvTranspose, Dense, Pool
from dscompile.ir.tensor import INTEGER_RANGES, Quantization, Tensor

_WHOLE = Clamp(*INTEGER_RANGES["int8"])


def prepared_for_qdq(network: Network) -> Network:
    """The same function without clamps that onnxruntime would compute layers in float32 for.

    A clamp that integers do as they saturate is left out, unless it also leaves every real that they stand for alone:
    such a Relu or Clip is dropped by runtimes, and tells readers what the layer is. Others become layers of their own,
    between the integers of one scale.

    Raises UnsupportedError, with all reasons, for other roundings than float32, for sums and products that are rounded
    as uint8 beside others or beside int8 inputs and outputs, and for transposed convolutions whose scales
    `scales_of_transposed` has no form of.
    """
    problems = list(_problems(network))
    if problems:
        raise UnsupportedError(problems)
    tensors, layers = dict(network.tensors), list[Layer]()
    for layer in network.layers:
        layers += _split(network, layer, tensors)
    return replace(network, tensors=tensors).with_layers(layers).validate()


def stores_unsigned(network: Network) -> bool:
    """Whether integers are stored as uint8, because sums or products are rounded as such."""
    return any(layer.op.rounded_as == "uint8" for layer in network.layers if isinstance(layer.op, Binary))


def scales_of_transposed(op: ConvTranspose, scales: Array, inputs_per_group: int) -> tuple[Array, int] | None:
    """The scales [C_out] of a transposed convolution's kernel as ONNX can have them, and the axis that they lie along.

    Its kernel is [C_in, C_out / groups, kh, kw]: 1 if the groups have the same scales, 0 if there is one for all of a
    group (depthwise ones are so), and None, which is no form, else.
    """
    by_group = scales.reshape(op.groups, -1)
    if (by_group == by_group[0]).all():
        return by_group[0], 1
    if (by_group == by_group[:, :1]).all():
        return np.repeat(by_group[:, 0], inputs_per_group), 0
    return None


def _problems(network: Network) -> Iterator[Diagnostic]:
    if network.rounding != "float32":
        yield Diagnostic(
            f"its int8 layers round as '{network.rounding}', and ONNX can say only what the rounding 'float32' does",
            help="import or quantize it with --rounding float32, or say so in the net.yaml's section 'quantization'",
        )
    unsigned = stores_unsigned(network)
    for name in (*network.inputs, *network.outputs) if unsigned else ():
        if network.tensor(name).dtype == "int8":
            yield Diagnostic(f"'{name}' is int8, and some sums are rounded as uint8; ONNX has no such mixture")
    for layer in network.layers:
        match layer.op:
            case Binary(kind="add" | "mul", rounded_as="int8") if unsigned and network.is_quantized_layer(layer):
                yield Diagnostic(
                    "is rounded as int8, and others are as uint8; ONNX has no such mixture",
                    layer=layer.name,
                )
            case ConvTranspose(groups=groups) if groups > 1 and network.has_weight(layer, "kernel_scale"):
                if scales_of_transposed(layer.op, network.weight(layer, "kernel_scale"), 1) is None:
                    yield Diagnostic(
                        "is a transposed convolution in groups whose scales differ in a group and between groups, "
                        "which ONNX cannot have",
                        layer=layer.name,
                    )


def _split(network: Network, layer: Layer, tensors: dict[str, Tensor]) -> list[Layer]:
    """The layer, and the clamp behind it where that must be a layer of its own; its tensor is added to `tensors`."""
    op = layer.op
    if not isinstance(op, Conv2D | ConvTranspose | Dense | Binary | Pool) or not network.is_quantized_layer(layer):
        return [layer]
    quantization, clamp = tensor_quantization(network, layer.output), layer_clamp(network, layer)
    if not op.activation or _keeps_all(op.activation, quantization):
        return [layer]
    plain = replace(layer, op=replace(op, activation=NONE))
    if clamp == _WHOLE:
        return [plain]
    name = f"{layer.output}.unclamped"
    tensors[name] = replace(network.tensor(layer.output), name=name, border="nhwc")
    bounds = (_real(bound, quantization) for bound in (clamp.low, clamp.high))
    clip = Layer(f"{layer.name}.clamp", Activate(Activation("clip", *bounds)), (name,), layer.output)
    return [replace(plain, output=name), clip]


def _keeps_all(activation: Activation, quantization: Quantization) -> bool:
    """Whether no real that an integer stands for is clamped."""
    return activation.low <= _real(_WHOLE.low, quantization) and activation.high >= _real(_WHOLE.high, quantization)


def _real(integer: int, quantization: Quantization) -> float:
    return float(np.float32(quantization.scale) * np.float32(integer - quantization.zero_point))
