"""An ONNX graph while it grows: tensors in both orders of channels, integers between QuantizeLinear and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dscompile.frontend.onnx.export_qdq import stores_unsigned
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Constant, Quantize
from dscompile.ir.tensor import INTEGER_RANGES, DType, Shape

Order = Literal["first", "last"]
"""Where the channels are; tensors of fewer than three axes have only "last"."""

Proto = Any  # protobuf messages have no types


class GraphWriter:
    """The nodes and initializers of a graph while it grows."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[Proto] = []
        self.initializers: list[Proto] = []
        self._orders: dict[str, list[Order]] = {name: [self._own_order(name)] for name in network.inputs}
        self._borders = {*network.inputs, *network.outputs}
        self._unsigned = stores_unsigned(network)
        self._scaled: set[str] = set()  # tensors whose scale and zero point are there
        self._constants: dict[str, Array] = {}  # as they are stored, channels last
        self._reals: set[str] = set()  # integers that are dequantized already

    def finish(self, layer: Layer) -> None:
        """Adds the QuantizeLinear behind the nodes of a layer where its result is integers."""
        if self._is_quantized(layer.output) and not isinstance(layer.op, Constant | Quantize):
            name = self._name(layer.output, self.order(layer.output))
            self.quantize(_computed(name), layer.output, name)

    def order(self, tensor: str) -> Order:
        """The order in which a tensor was made."""
        return self._orders[tensor][0]

    def read(self, tensor: str, order: Order) -> str:
        """The name of a tensor in an order, in float32 (or of its indices), transposing it if it is not there."""
        return self._readable(tensor, self.stored(tensor, order))

    def stored(self, tensor: str, order: Order) -> str:
        """The name of a tensor in an order as it is stored, which may be as integers."""
        made = self._orders[tensor]
        wanted = order if len(self.network.shape(tensor)) >= 3 else "last"
        name = self._name(tensor, wanted)
        if wanted not in made:
            rank = len(self.network.shape(tensor))
            axes = [0, rank - 1, *range(1, rank - 1)] if wanted == "first" else [0, *range(2, rank), 1]
            if tensor in self._constants:
                self.array(name, self._constants[tensor].transpose(axes))
            else:
                self._transpose(tensor, self._name(tensor, made[0]), name, axes)
            made.append(wanted)
        return name

    def _transpose(self, tensor: str, source: str, result: str, axes: Sequence[int]) -> None:
        """Adds a Transpose of a stored tensor, through float32 where it is integers."""
        is_quantized = self._is_quantized(tensor)
        turned = _computed(result) if is_quantized else result
        self.node("Transpose", [self._readable(tensor, source)], turned, perm=axes)
        if is_quantized:
            self.quantize(turned, tensor, result)

    def result(self, layer: Layer, order: Order) -> str:
        """The name under which a layer's result must be computed, in the order that it has."""
        name = self.stored_result(layer, order)
        return _computed(name) if self._is_quantized(layer.output) else name

    def stored_result(self, layer: Layer, order: Order) -> str:
        """The name under which a layer's result is stored."""
        made: Order = order if len(self.network.shape(layer.output)) >= 3 else "last"
        self._orders[layer.output] = [made]
        return self._name(layer.output, made)

    def quantize(self, source: str, tensor: str, result: str) -> None:
        """Adds a QuantizeLinear to the scale of a tensor."""
        self.node("QuantizeLinear", [source, *self._scale(tensor)], result)

    def dequantize(self, source: str, tensor: str, result: str) -> None:
        """Adds a DequantizeLinear from the scale of a tensor."""
        self.node("DequantizeLinear", [source, *self._scale(tensor)], result)

    def kernel(self, layer: Layer, values: Array, axis: int) -> str:
        """Adds a layer's kernel, whose output channels lie along `axis` -> its name."""
        if not self.network.has_weight(layer, "kernel_scale"):
            return self.array(f"{layer.name}.kernel", values)
        return self.scaled_kernel(layer, values, self.network.weight(layer, "kernel_scale"), axis)

    def scaled_kernel(self, layer: Layer, values: Array, scale: Array, axis: int) -> str:
        """Adds a layer's int8 kernel with a scale per index of `axis` -> its name."""
        return self._dequantized(f"{layer.name}.kernel", values, scale, axis)

    def bias(self, layer: Layer) -> list[str]:
        """Adds a layer's bias, if it has one -> its name."""
        if not self.network.has_weight(layer, "bias"):
            return []
        name, values = f"{layer.name}.bias", self.network.weight(layer, "bias")
        if not self.network.has_weight(layer, "kernel_scale"):
            return [self.array(name, values)]
        given = self.network.tensor(layer.inputs[0]).quantization
        assert given is not None
        scale = np.float32(given.scale) * self.network.weight(layer, "kernel_scale").astype(np.float32)
        return [self._dequantized(name, values, scale, 0)]

    def constant(self, layer: Layer, values: Array) -> None:
        """Adds the value of a constant, by the name of its tensor."""
        tensor, name = self.network.tensor(layer.output), self.stored_result(layer, "last")
        if self._is_quantized(layer.output):
            values = self._as_stored(values, layer.output)
        self._constants[layer.output] = values.reshape(tensor.shape)
        self.array(name, self._constants[layer.output])

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Adds a node -> its output."""
        from onnx import helper

        name = f"{output}/{kind}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def array(self, name: str, values: Array) -> str:
        """Adds an initializer -> its name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Adds a list of integers, as operators take shapes and axes -> its name."""
        return self.array(name, np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        """Adds a scalar -> its name."""
        return self.array(name, np.array(value, np.float32))

    def shape_in(self, tensor: str, order: Order) -> Shape:
        """The shape of a tensor in an order."""
        shape = self.network.shape(tensor)
        return (shape[0], shape[-1], *shape[1:-1]) if order == "first" and len(shape) >= 3 else shape

    def write_outputs(self) -> None:
        """Makes sure that every output of the network is there in its own order."""
        for name in self.network.outputs:
            self.stored(name, self._own_order(name))

    def used_initializers(self) -> list[Proto]:
        """Initializers without constants that every reader has in the other order."""
        used = {name for node in self.nodes for name in node.input} | set(self.network.outputs)
        return [tensor for tensor in self.initializers if tensor.name in used]

    def _own_order(self, name: str) -> Order:
        tensor = self.network.tensor(name)
        return "first" if tensor.border == "nchw" and len(tensor.shape) >= 3 else "last"

    def _name(self, tensor: str, order: Order) -> str:
        """Borders have their name in their own order, other tensors in the order they were made in."""
        own = self._own_order(tensor) if tensor in self._borders else self._orders[tensor][0]
        return tensor if order == own else f"{tensor}.{'nchw' if order == 'first' else 'nhwc'}"

    def table(self, layer: Layer) -> tuple[str, list[str]]:
        """Adds what the entries of a Lookup's table stand for -> its name, and those of the scale and zero point that
        make positions in it of what its input stands for.
        """
        (source,), made = layer.inputs, self.network.tensor(layer.output).quantization
        given = self.network.tensor(source).quantization
        assert made is not None
        assert given is not None
        centered = self.network.weight(layer, "table").astype(np.int64) - made.zero_point
        first = self.array(f"{layer.name}.first", np.array(given.zero_point + 128, np.uint8))
        reals = np.float32(made.scale) * centered.astype(np.float32)
        return self.array(f"{layer.name}.table", reals), [self._scale(source)[0], first]

    def _as_stored(self, values: Array, tensor: str) -> Array:
        """Integers of a tensor as the file has them."""
        return (values.astype(np.int64) + self._shift(tensor)).astype(self._stored_type(tensor))

    def _readable(self, tensor: str, stored: str) -> str:
        """The float32 form of a tensor that is stored so, dequantized once for all readers."""
        if not self._is_quantized(tensor):
            return stored
        name = f"{stored}/dequantized"
        if stored not in self._reals:
            self._reals.add(stored)
            self.dequantize(stored, tensor, name)
        return name

    def _dequantized(self, name: str, values: Array, scale: Array, axis: int) -> str:
        """Integers with a scale per index of `axis`, dequantized -> the name of the result."""
        zeros = self.array(f"{name}_zero_point", np.zeros(scale.shape, values.dtype))
        inputs = [self.array(name, values), self.array(f"{name}_scale", scale.astype(np.float32)), zeros]
        return self.node("DequantizeLinear", inputs, f"{name}/dequantized", axis=axis)

    def _scale(self, tensor: str) -> list[str]:
        """The names of a tensor's scale and zero point."""
        names = [f"{tensor}.scale", f"{tensor}.zero_point"]
        if tensor not in self._scaled:
            self._scaled.add(tensor)
            quantization = self.network.tensor(tensor).quantization
            assert quantization is not None
            self.number(names[0], quantization.scale)
            zero = quantization.zero_point + self._shift(tensor)
            self.array(names[1], np.array(zero, self._stored_type(tensor)))
        return names

    def _is_quantized(self, tensor: str) -> bool:
        return self.network.tensor(tensor).dtype in INTEGER_RANGES

    def _stored_type(self, tensor: str) -> DType:
        """The type of integers in the file: uint8 for all inside where sums are computed on such."""
        dtype = self.network.tensor(tensor).dtype
        return "uint8" if dtype == "int8" and self._unsigned else dtype

    def _shift(self, tensor: str) -> int:
        """What is added to a tensor's integers and its zero point when they are stored."""
        return 128 if self._stored_type(tensor) != self.network.tensor(tensor).dtype else 0


def _computed(stored: str) -> str:
    """The name of float32 values before they are stored as integers."""
    return f"{stored}/computed"
