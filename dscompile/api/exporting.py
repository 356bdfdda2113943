"""Networks to and from other programs, in memory and as files. Nothing here imports tvm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dscompile.api.networks import Source, read_network, source_name
from dscompile.errors import UsageError

if TYPE_CHECKING:
    from dscompile.frontend.input_shapes import InputShapes
    from dscompile.ir.network import Network
    from dscompile.ir.tensor import Rounding

_SUFFIXES = (".onnx", ".json")


@dataclass(frozen=True)
class ExportResult:
    """The network that was exported, and the file."""

    network: Network
    path: Path


def import_onnx(
    model: Any,  # noqa: ANN401
    name: str = "",
    *,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
) -> Network:
    """An onnx.ModelProto in memory as a network, called `name` or as its graph is.

    `rounding` replaces the usual one of a QDQ model, `input_shapes` are those of inputs whose sizes it leaves open.
    Raises as reading an .onnx file does.
    """
    from dscompile.frontend.input_shapes import NO_SHAPES
    from dscompile.frontend.onnx.importer import import_onnx_proto

    return import_onnx_proto(model, name, rounding, NO_SHAPES if input_shapes is None else input_shapes)


def export_onnx(source: Source, *, weights: str | Path | None = None) -> Any:  # noqa: ANN401
    """A network as an onnx.ModelProto (opset 17), whose inputs and outputs are the network's own.

    Int8 networks are in QDQ format, and must round as `float32`. Raises UnsupportedError for other roundings and for
    what has no form in ONNX (docs/commands.md), ToolError without the onnx package.
    """
    from dscompile.frontend.onnx.export import export_onnx as export

    return export(read_network(source, weights).network)


def export(source: Source, output: str | Path | None = None, *, weights: str | Path | None = None) -> ExportResult:
    """Writes a network as ONNX: `output` ends in .onnx (default: <net>.onnx), or in .json.

    The .json is protobuf's own JSON of the same model, which Netron opens; its arrays are base64. Raises as
    `export_onnx`, and UsageError for other names.
    """
    from dscompile.frontend.onnx.export import export_onnx as export_model
    from dscompile.frontend.onnx.json import onnx_json
    from dscompile.frontend.paths import write_files

    path = Path(output) if output is not None else Path(f"{Path(source_name(source)).stem}.onnx")
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"'{path}' is neither .onnx nor .json", help="-o NET.onnx, or NET.json for Netron")
    if isinstance(source, str | Path) and path.resolve() == Path(source).resolve():
        raise UsageError(f"'{path}' is the network that is read", help="give another name with -o")
    network = read_network(source, weights).network
    model = export_model(network)
    content = model.SerializeToString(deterministic=True) if path.suffix == ".onnx" else onnx_json(model)
    return ExportResult(network, write_files(path.parent, {path.name: content})[-1])
