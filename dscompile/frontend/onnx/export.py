"""Networks as ONNX models, with the inputs and outputs of the network in the user's order.

ONNX has images channels first and dscompile has them channels last. A tensor is written in the order in which its layer
makes it, and transposed where a reader wants the other, once for all readers; a network that came from ONNX gets its
convolutions without a transpose between them.

Int8 networks are written in QDQ format: every operator in float32, between a DequantizeLinear and a QuantizeLinear.
`onnx_export_qdq` makes a network ready for that.
"""

from __future__ import annotations

from dscompile.errors import Diagnostic, ToolError, UnsupportedError
from dscompile.frontend.onnx.export_graph import GraphWriter, Proto
from dscompile.frontend.onnx.export_ops import EXPORTERS
from dscompile.frontend.onnx.export_qdq import prepared_for_qdq
from dscompile.ir.network import Network
from dscompile.ir.tensor import DType
from dscompile.version import __version__

OPSET = 17
_IR_VERSION = 8


def export_onnx(network: Network) -> Proto:
    """An onnx.ModelProto of opset 17 that computes what `network` does, checked by onnx's own checker.

    Names of inputs, outputs, layers and weights are kept, and the types of inputs and outputs. Raises UnsupportedError
    naming all layers that have no form there, and for int8 networks that QDQ does not express (see
    `prepared_for_qdq`); ToolError without the onnx package.
    """
    try:
        import onnx
        from onnx import helper
    except ImportError as error:
        raise ToolError(
            "writing ONNX models needs the onnx package", help="install it with: pip install 'dscompile[onnx]'"
        ) from error
    unsupported = [layer for layer in network.layers if type(layer.op) not in EXPORTERS]
    if unsupported:
        raise UnsupportedError(
            [
                Diagnostic(f"{type(layer.op).__name__.lower()} has no form in ONNX here", layer=layer.name)
                for layer in unsupported
            ]
        )
    if network.is_quantized:
        network = prepared_for_qdq(network)
    writer = GraphWriter(network)
    for layer in network.layers:
        EXPORTERS[type(layer.op)](writer, layer)
        writer.finish(layer)
    writer.write_outputs()
    graph = helper.make_graph(
        writer.nodes,
        network.name,
        [_value(network, name) for name in network.inputs],
        [_value(network, name) for name in network.outputs],
        writer.used_initializers(),
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

    types: dict[DType, int] = {
        "float32": TensorProto.FLOAT,
        "int8": TensorProto.INT8,
        "uint8": TensorProto.UINT8,
        "int32": TensorProto.INT32,
    }
    tensor = network.tensor(name)
    return helper.make_tensor_value_info(name, types[tensor.dtype], tensor.border_shape)
