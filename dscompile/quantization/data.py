"""Calibration data: .npz files with many inputs of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dscompile.errors import BadInputError, Diagnostic, Position, did_you_mean
from dscompile.frontend.npz import NpzReader
from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import Shape, Tensor
from dscompile.oracle import from_border
from dscompile.quantization.settings import Sample

# Types whose numbers float32 takes; the network's inputs are float32.
_TYPES = ("float32", "float64", "float16", "uint8", "int8", "uint16", "int16", "int32", "int64")


def read_samples(path: Path, network: Network) -> tuple[Sample, ...]:
    """The samples in an .npz file: for each input of `network` an array of its name, or one array for the only input.

    An array is [N, ...] with N >= 1 samples in the order that the user's buffers have (of an image [N, H, W, C], or
    [N, C, H, W] where the input's layout is nchw); all arrays have the same N. Raises BadInputError with everything
    that is wrong.
    """
    if path.suffix.lower() != ".npz":
        raise BadInputError(f"'{path}' is no .npz file", help="write it with numpy.savez(path, **arrays)")
    reader = NpzReader(path)
    try:
        arrays = _arrays(reader, path, network)
    finally:
        reader.close()
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise BadInputError(f"the arrays have different numbers of samples: {told}", position=Position(str(path)))
    count = next(iter(counts.values()))
    return tuple(
        {name: from_border(network.tensor(name), array[index : index + 1]) for name, array in arrays.items()}
        for index in range(count)
    )


def _arrays(reader: NpzReader, path: Path, network: Network) -> dict[str, Array]:
    """Input -> its float32 array [N, ...] in border order."""
    keys = list(reader.keys())
    alone = len(keys) == 1 and len(network.inputs) == 1
    named = dict(zip(network.inputs, keys, strict=True)) if alone else {name: name for name in network.inputs}
    problems: list[Diagnostic] = []
    for key in keys:
        if key not in named.values():
            help = did_you_mean(key, network.inputs) or f"inputs are {', '.join(network.inputs)}"
            problems.append(Diagnostic(f"the network has no input '{key}'", Position(str(path)), help=help))
    arrays: dict[str, Array] = {}
    for name, key in named.items():
        if key not in keys:
            wanted = ["N", *network.tensor(name).border_shape[1:]]
            message = f"the array '{name}' is missing; it must be [{', '.join(map(str, wanted))}]"
            problems.append(Diagnostic(message, Position(str(path))))
            continue
        try:
            arrays[name] = _array(reader, key, network.tensor(name))
        except BadInputError as error:
            message = f"the array '{key}' {error.diagnostics[0].message}"
            problems.append(Diagnostic(message, Position(str(path)), help=error.diagnostics[0].help))
    if problems:
        raise BadInputError(problems)
    return arrays


def _array(reader: NpzReader, key: str, tensor: Tensor) -> Array:
    try:
        kind, shape = reader.describe(key)
    except BadInputError as error:
        raise BadInputError(f"cannot be read: {error.diagnostics[0].message}") from None
    if kind not in _TYPES:
        raise BadInputError(f"is of type {kind}", help="store float32, in the units that the network expects")
    _check_shape(shape, tensor)
    try:
        raw = reader.read(key)
    except BadInputError as error:
        raise BadInputError(f"cannot be read: {error.diagnostics[0].message}") from None
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(raw, dtype=np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        index = [int(i) for i in np.argwhere(~finite)[0]]
        raise BadInputError(f"holds {raw[tuple(index)]} at {index}", help="samples must be finite float32")
    return array


def _check_shape(shape: Shape, tensor: Tensor) -> None:
    one = tensor.border_shape[1:]
    wanted = f"[{', '.join(['N', *map(str, one)])}]"
    if len(shape) != len(one) + 1 or shape[1:] != one:
        help = "a single sample needs a first axis, too: array[None]" if shape == one else None
        if help is None and len(one) == 3 and shape[2:] == one[:2] and shape[1:2] == one[2:]:
            help = "this looks like channels first; the input is channels last"
        elif help is None and len(one) == 3 and shape[1:3] == one[1:] and shape[3:] == one[:1]:
            help = "this looks like channels last; the input is channels first"
        raise BadInputError(f"has shape {list(shape)}, it must be {wanted}", help=help)
    if shape[0] == 0:
        raise BadInputError("holds no samples")
