"""`import_onnx`: an .onnx file becomes a network."""

from __future__ import annotations

from pathlib import Path

from dscompile.errors import Position, UnsupportedError, UsageError
from dscompile.frontend.input_shapes import NO_SHAPES, InputShapes
from dscompile.frontend.onnx.float_importer import OPERATORS, FloatImporter
from dscompile.frontend.onnx.ops import QDQ_OPERATORS
from dscompile.frontend.onnx.qdq import QdqImporter
from dscompile.frontend.onnx.reader import OnnxModel, Proto, read_model, read_onnx
from dscompile.ir.network import Network
from dscompile.ir.tensor import Rounding


def import_onnx(path: Path, rounding: Rounding | None = None, shapes: InputShapes = NO_SHAPES) -> Network:
    """Reads an .onnx file (float32 or QDQ int8, opset 7 and up) as a validated network.

    Quantized networks round in float32, as onnxruntime does, unless `rounding` says otherwise.

    Images are [1, H, W, C] inside. Inputs and outputs keep the names and the order of elements they have in the file
    (`Tensor.border`). A symbolic batch becomes 1, other open sizes of inputs are those of `shapes`. Raises
    BadInputError for files that are not valid ONNX, UnsupportedError listing every operator and attribute that cannot
    be imported (or for a rounding of a float32 network), UsageError for `shapes` that do not fit, ToolError without the
    onnx package.
    """
    return _imported(path, read_onnx(path, OPERATORS, shapes), rounding)


def import_onnx_proto(
    model: Proto, name: str = "", rounding: Rounding | None = None, shapes: InputShapes = NO_SHAPES
) -> Network:
    """As `import_onnx`, of an onnx.ModelProto in memory. The network is called `name`, or as the model's graph is."""
    if type(model).__name__ != "ModelProto":
        raise UsageError(
            f"'{type(model).__name__}' is no onnx.ModelProto", help="a file is read by dscompile.import_model(path)"
        )
    path = Path(f"{(name or model.graph.name or 'network').replace('/', '_')}.onnx")
    return _imported(path, read_model(model, path, OPERATORS, shapes), rounding)


def _imported(path: Path, model: OnnxModel, rounding: Rounding | None) -> Network:
    if any(node.op in QDQ_OPERATORS for node in model.nodes):
        return QdqImporter(path, model).run(rounding or "float32")
    if rounding is not None:
        raise UnsupportedError(
            f"this model is float32; the rounding '{rounding}' is for int8", position=Position(str(path))
        )
    return FloatImporter(path, model).run()
