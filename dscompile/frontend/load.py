"""Loads a network from any supported file: net.yaml, ONNX, TFLite, and what PyTorch and Keras save."""

from __future__ import annotations

from pathlib import Path

from dscompile.errors import BadInputError, UsageError, did_you_mean
from dscompile.frontend.input_shapes import NO_SHAPES, InputShapes
from dscompile.frontend.loaded import NetFile
from dscompile.ir.tensor import Rounding

YAML_SUFFIXES = (".yaml", ".yml")
ONNX_SUFFIX = ".onnx"
TFLITE_SUFFIX = ".tflite"
TORCH_SUFFIX = ".pt2"
KERAS_SUFFIXES = (".keras", ".h5")
_MODELS = (ONNX_SUFFIX, TFLITE_SUFFIX, TORCH_SUFFIX, *KERAS_SUFFIXES)
_SUPPORTED = (
    "supported are net.yaml (.yaml, .yml), ONNX (.onnx), TensorFlow Lite (.tflite), PyTorch (.pt2) and "
    "Keras (.keras, .h5)"
)


def load_network(
    path: Path,
    weights: Path | None = None,
    *,
    load_weights: bool = True,
    rounding: Rounding | None = None,
    shapes: InputShapes = NO_SHAPES,
) -> NetFile:
    """The network in `path`, by its suffix.

    `weights` and `load_weights` are those of `read_netfile`; models of other formats carry their weights, so `weights`
    is a UsageError with them, and they are always loaded. `rounding` replaces the usual one of an int8 model (tflite
    for TFLite, float32 for ONNX); a net.yaml names its own. `shapes` are those of inputs whose sizes an .onnx file
    leaves open; other files have fixed ones, so they are a UsageError with them.

    Raises BadInputError if the file is missing, unreadable, of no supported kind, or wrong inside.
    """
    suffix = path.suffix.lower()
    if shapes and suffix not in (ONNX_SUFFIX, TORCH_SUFFIX):
        help = "only .onnx and .pt2 files can leave sizes open"
        raise UsageError(f"the inputs of '{path.name}' have fixed shapes", help=help)
    if suffix in YAML_SUFFIXES:
        _check_file(path)
        if _looks_like_tflite(path):
            raise BadInputError(f"'{path}' is a TensorFlow Lite model", help="rename it to end in .tflite")
        if rounding is not None:
            raise UsageError(
                f"'{path.name}' says itself how its layers round",
                help="change 'rounding' in its section 'quantization'",
            )
        from dscompile.frontend.netfile import read_netfile

        return read_netfile(path, weights=weights, load_weights=load_weights)
    if suffix not in _MODELS:
        raise _unknown(path)
    if weights is not None:
        raise UsageError(
            f"'{path.name}' carries its own weights; '{weights}' cannot replace them",
            help="import it first: dscompile import MODEL -o net.yaml",
        )
    _check_file(path)
    if suffix == ONNX_SUFFIX:
        from dscompile.frontend.onnx.importer import import_onnx

        return NetFile(import_onnx(path, rounding, shapes), path)
    if suffix == TORCH_SUFFIX:
        from dscompile.frontend.exported import load_pt2

        return load_pt2(path, rounding, shapes)
    if suffix in KERAS_SUFFIXES:
        from dscompile.frontend.exported import load_keras

        return load_keras(path, rounding)
    from dscompile.frontend.tflite.importer import load_tflite

    return load_tflite(path, rounding)


def _check_file(path: Path) -> None:
    """Raises BadInputError unless `path` is a regular file that can be read and is not empty."""
    try:
        if not path.exists():
            raise BadInputError(f"'{path}' does not exist", help=_instead_of(path))
        if path.is_dir():
            raise BadInputError(f"'{path}' is a directory", help="give the path of a net.yaml, .onnx or .tflite file")
        if not path.is_file():
            raise BadInputError(f"'{path}' is not a file", help=_SUPPORTED)
        with path.open("rb") as file:
            if not file.read(1):
                raise BadInputError(f"'{path}' is empty", help=_SUPPORTED)
    except OSError as error:
        raise BadInputError(f"'{path}' cannot be read: {error.strerror}") from None


def _instead_of(missing: Path) -> str:
    """What may be meant: a network of the zoo, or a model beside the one that is missing."""
    from dscompile.frontend.zoo import zoo_names

    if missing.stem in zoo_names():
        return f"the zoo has it: dscompile zoo write {missing.stem}"
    beside = missing.parent.iterdir() if missing.parent.is_dir() else ()
    models = sorted(path.name for path in beside if path.suffix.lower() in (*YAML_SUFFIXES, *_MODELS))
    return did_you_mean(missing.name, models) or _SUPPORTED


def _looks_like_tflite(path: Path) -> bool:
    """Whether the file has TensorFlow Lite's identifier, TFL3 at byte 4."""
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def _unknown(path: Path) -> BadInputError:
    _check_file(path)
    if _looks_like_tflite(path):
        return BadInputError(f"'{path}' is a TensorFlow Lite model", help="rename it to end in .tflite")
    ending = f"files ending in '{path.suffix}'" if path.suffix else "files without an ending"
    return BadInputError(f"'{path}': {ending} are not supported", help=_SUPPORTED)
