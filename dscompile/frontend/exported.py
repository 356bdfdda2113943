"""Models of other frameworks, which these themselves turn into ONNX or TFLite while we import: PyTorch's and Keras's.

Their packages are large, so nothing else needs them; what is missing is a ToolError with the command that installs it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dscompile.errors import BadInputError, DscompileError, Position, ToolError, UnsupportedError
from dscompile.frontend.input_shapes import NO_SHAPES, InputShapes
from dscompile.frontend.loaded import NetFile
from dscompile.ir.tensor import Rounding

TORCH_ADVICE = (
    "pip install 'dscompile[torch]'; torch for the CPU alone is a tenth of the size: "
    "add --extra-index-url https://download.pytorch.org/whl/cpu"
)
KERAS_ADVICE = "pip install tensorflow"


def load_pt2(path: Path, rounding: Rounding | None = None, shapes: InputShapes = NO_SHAPES) -> NetFile:
    """A program that torch.export.save() wrote. torch exports it to ONNX, and that is imported.

    Raises BadInputError if it is no such file, UnsupportedError for what torch cannot export or we not import,
    ToolError without torch.
    """
    torch = _torch()
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # whatever the archive reader raises
        message = f"torch cannot read '{path}': {_first_line(error)}"
        help = "write it with torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2')"
        raise BadInputError(message, position=Position(str(path)), help=help) from error
    return _through_onnx(torch, program, path, rounding, shapes)


def load_module(module: Any, example_inputs: Sequence[Any], name: str) -> NetFile:  # noqa: ANN401 - torch's types
    """A torch.nn.Module, or what torch.export made of one, called `name`.

    `example_inputs` are arrays or tensors of the shapes that the network is to have. The module is exported as it
    infers (`eval()`), and is left in the mode it was in. Raises UnsupportedError and ToolError as `load_pt2`.
    """
    torch = _torch()
    path = Path(f"{name}.pt2")
    if isinstance(module, torch.export.ExportedProgram):
        return _through_onnx(torch, module, path, None, NO_SHAPES)
    tensors = tuple(torch.as_tensor(each) for each in example_inputs)
    was_training = bool(module.training)
    module.eval()
    try:
        program = _exported(path, lambda: torch.export.export(module, tensors))
    finally:
        module.train(was_training)
    return _through_onnx(torch, program, path, None, NO_SHAPES)


def load_keras(path: Path, rounding: Rounding | None = None) -> NetFile:
    """A model that Keras saved (.keras, .h5). TensorFlow converts it to TFLite, and that is imported.

    Raises BadInputError if TensorFlow cannot load or convert it, UnsupportedError for what we cannot import, ToolError
    without TensorFlow.
    """
    try:
        import tensorflow
    except ImportError as error:
        raise ToolError(f"reading {path.suffix} files needs TensorFlow", help=KERAS_ADVICE) from error
    from dscompile.frontend.tflite.importer import load_tflite

    try:
        model = tensorflow.keras.models.load_model(str(path), compile=False)
        content = bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())
    except Exception as error:  # Keras and the converter have exceptions of all kinds
        message = f"TensorFlow cannot convert '{path}': {_first_line(error)}"
        raise BadInputError(message, position=Position(str(path)), help="does it load in Keras?") from error
    return _read(path, ".tflite", lambda aside: aside.write_bytes(content), lambda aside: load_tflite(aside, rounding))


def _torch() -> ModuleType:
    """Torch with its exporter to ONNX. ToolError if a part is missing."""
    try:
        import onnxscript  # noqa: F401 - the exporter needs it, and says so late
        import torch
        import torch.export
        import torch.onnx
    except ImportError as error:
        missing = error.name or "torch"
        raise ToolError(f"importing PyTorch models needs {missing.partition('.')[0]}", help=TORCH_ADVICE) from error
    module: ModuleType = torch
    return module


def _through_onnx(
    torch: ModuleType, program: object, path: Path, rounding: Rounding | None, shapes: InputShapes
) -> NetFile:
    from dscompile.frontend.onnx.importer import import_onnx

    exported = _exported(path, lambda: torch.onnx.export(program, dynamo=True, verbose=False))
    return _read(
        path,
        ".onnx",
        lambda aside: exported.save(str(aside)),
        lambda aside: NetFile(import_onnx(aside, rounding, shapes), path),
    )


def _exported(path: Path, export: Callable[[], Any]) -> Any:  # noqa: ANN401 - torch's types
    try:
        return export()
    except Exception as error:  # the exporter has exceptions of all kinds
        message = f"torch cannot export '{path.stem}' to ONNX: {_first_line(error)}"
        raise UnsupportedError(message, help="does torch.onnx.export(program, dynamo=True) work?") from error


def _read(path: Path, suffix: str, write: Callable[[Path], object], load: Callable[[Path], NetFile]) -> NetFile:
    """The network in a file of another format that is made aside; errors name the file that the user gave."""
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        aside = Path(scratch) / f"{path.stem}{suffix}"
        write(aside)
        try:
            return replace(load(aside), path=path)
        except DscompileError as error:
            found = [replace(each, position=Position(str(path))) for each in error.diagnostics]
            raise type(error)(found) from error


def _first_line(error: Exception) -> str:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
