"""Networks as ONNX models: float32, with the inputs and outputs of the network in the user's order.

ONNX has images channels first and dscompile has them channels last. A tensor is written in the order in which its layer
makes it, and transposed where a reader wants the other, once for all readers; a network that came from ONNX gets its
convolutions without a transpose between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dscompile.errors import Diagnostic, ToolError, UnsupportedError
from dscompile.frontend.onnx_export_ops import EXPORTERS
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.tensor import Shape
from dscompile.version import __version__

OPSET = 17
_IR_VERSION = 8
Order = Literal["first", "last"]
"""Where the channels are; tensors of fewer than three axes have only "last"."""

Proto = Any  # protobuf messages have no types


def export_onnx(network: Network) -> Proto:
    """An onnx.ModelProto of opset 17 that computes what `network` does, checked by onnx's own checker.

    Names of inputs, outputs, layers and weights are kept. Raises UnsupportedError for int8 networks, and naming all
    layers that have no form there; ToolError without the onnx package.
    """
    try:
        import onnx
        from onnx import helper
    except ImportError as error:
        raise ToolError(
            "writing ONNX models needs the onnx package", help="install it with: pip install 'dscompile[onnx]'"
        ) from error
    if network.is_quantized:
        raise UnsupportedError(
            "only float32 networks can be exported to ONNX, and this one is int8",
            help="export the float32 network that it was quantized from",
        )
    writer = GraphWriter(network)
    unsupported = [layer for layer in network.layers if type(layer.op) not in EXPORTERS]
    if unsupported:
        raise UnsupportedError(
            [
                Diagnostic(f"{type(layer.op).__name__.lower()} has no form in ONNX here", layer=layer.name)
                for layer in unsupported
            ]
        )
    for layer in network.layers:
        EXPORTERS[type(layer.op)](writer, layer)
    writer.write_outputs()
    graph = helper.make_graph(
        writer.nodes,
        network.name,
        [_value(network, name) for name in network.inputs],
        [_value(network, name) for name in network.outputs],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="dscompile",
        producer_version=__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(network: Network, name: str) -> Proto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, network.tensor(name).border_shape)


class GraphWriter:
    """The nodes and initializers of a graph while it grows."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[Proto] = []
        self.initializers: list[Proto] = []
        self._orders: dict[str, list[Order]] = {name: [self._own_order(name)] for name in network.inputs}
        self._borders = {*network.inputs, *network.outputs}

    def order(self, tensor: str) -> Order:
        """The order in which a tensor was made."""
        return self._orders[tensor][0]

    def read(self, tensor: str, order: Order) -> str:
        """The name of a tensor in an order, transposing it if it is not there."""
        made = self._orders[tensor]
        wanted = order if len(self.network.shape(tensor)) >= 3 else "last"
        name = self._name(tensor, wanted)
        if wanted not in made:
            rank = len(self.network.shape(tensor))
            axes = [0, rank - 1, *range(1, rank - 1)] if wanted == "first" else [0, *range(2, rank), 1]
            self.node("Transpose", [self._name(tensor, made[0])], name, perm=axes)
            made.append(wanted)
        return name

    def result(self, layer: Layer, order: Order) -> str:
        """The name under which a layer's result must be written, in the order that it has."""
        made: Order = order if len(self.network.shape(layer.output)) >= 3 else "last"
        self._orders[layer.output] = [made]
        return self._name(layer.output, made)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Adds a node -> its output."""
        from onnx import helper

        name = f"{output}/{kind}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def array(self, name: str, values: Array) -> str:
        """Adds an initializer -> its name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
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
            self.read(name, self._own_order(name))

    def _own_order(self, name: str) -> Order:
        tensor = self.network.tensor(name)
        return "first" if tensor.border == "nchw" and len(tensor.shape) >= 3 else "last"

    def _name(self, tensor: str, order: Order) -> str:
        """Borders have their name in their own order, other tensors in the order they were made in."""
        own = self._own_order(tensor) if tensor in self._borders else self._orders[tensor][0]
        return tensor if order == own else f"{tensor}.{'nchw' if order == 'first' else 'nhwc'}"
