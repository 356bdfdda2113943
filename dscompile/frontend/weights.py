"""Weights of a net.yaml: which ones its layers want, and where they come from.

Arrays are named `<layer>.<role>` (roles: dscompile.ir.ops). Nothing is executed, and nothing is read before its
declared type and size were compared with what the network wants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from dscompile.errors import BadInputError, Position, did_you_mean
from dscompile.frontend.fields import Problems
from dscompile.ir.network import Array
from dscompile.ir.ops import Op
from dscompile.ir.tensor import DTYPE_BYTES, Shape

MAX_WEIGHT_BYTES = 1 << 30
FLOAT_TYPES = ("float32", "float64", "float16")

Presence = Literal["required", "optional", "forbidden"]


@dataclass(frozen=True)
class WantedWeight:
    """A weight of one layer: its shape, and whether it must, may or must not be there."""

    layer: str
    role: str
    shape: Shape
    presence: Presence
    op: Op
    position: Position
    dtype: str = "float32"

    @property
    def key(self) -> str:
        """Its name in a weights file."""
        return f"{self.layer}.{self.role}"


@dataclass(frozen=True)
class SeededSource:
    """Random weights; the same ones for the same seed, layer name and shape."""

    seed: int


@dataclass(frozen=True)
class FileSource:
    """A .npz or .safetensors file. `position` is where the net.yaml names it, if it does."""

    path: Path
    position: Position | None = None


@dataclass(frozen=True)
class ArraysSource:
    """Arrays in memory. With a `seed`, those that are not there are random."""

    arrays: Mapping[str, Array]
    seed: int | None = None


WeightSource = SeededSource | FileSource | ArraysSource


class ArrayReader(Protocol):
    """A weights file: names at once, shapes and types without values, values on demand."""

    def keys(self) -> Sequence[str]:
        """Names of all arrays."""

    def describe(self, key: str) -> tuple[str, Shape]:
        """Type (a NumPy name, or the file's own word) and shape of an array; BadInputError if it is damaged."""

    def read(self, key: str) -> Array:
        """The array; BadInputError if it is damaged."""

    def close(self) -> None:
        """Closes the file."""


def collect_weights(
    wanted: Sequence[WantedWeight], source: WeightSource | None, problems: Problems, position: Position, *, load: bool
) -> dict[str, Array]:
    """Key -> read-only array of the wanted type for every wanted weight that is there.

    Missing, misshapen, mistyped, unused and non-finite arrays are recorded in `problems`. With `load` False names,
    shapes and types are checked all the same, but values are neither read nor made: each array is one number (NaN;
    0 for integers, 1 for scales) seen through strides of 0. `position` is the place of the network, for problems of
    no single layer.
    Unused arrays are not reported after other problems: their layers may be the ones that could not be built.
    """
    total = sum(DTYPE_BYTES[weight.dtype] * math.prod(weight.shape) for weight in wanted)
    if total > MAX_WEIGHT_BYTES:
        problems.add(f"the weights of this network take {total:,} B; at most 1 GiB is supported", position)
        return {}
    match source:
        case None:
            if any(weight.presence == "required" for weight in wanted):
                help = "add `weights: {file: NAME.npz}`, or `weights: {seed: 7}` for random ones"
                problems.add("the network has layers with weights, but the file has no 'weights'", position, help=help)
            return {}
        case SeededSource(seed):
            integers = [weight for weight in wanted if weight.dtype != "float32"]
            if integers:
                message = "random weights are float32, and this layer is int8"
                problems.add(message, integers[0].position, layer=integers[0].layer, help="name a file of weights")
                return {}
            present = [weight for weight in wanted if weight.presence != "forbidden"]
            return _seeded(seed, present) if load else {weight.key: _unloaded(weight) for weight in present}
        case FileSource():
            return _from_file(wanted, source, problems, load=load)
        case ArraysSource():
            return _from_memory(wanted, source, problems)


def _seeded(seed: int, wanted: Sequence[WantedWeight]) -> dict[str, Array]:
    # Here and in `open_weights`: `check` needs neither hashes nor archives, and answers sooner without their imports.
    from dscompile.frontend.seeded import seeded_weight

    return {weight.key: _sealed(seeded_weight(seed, weight)) for weight in wanted}


def _sealed(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _unloaded(weight: WantedWeight) -> Array:
    number = 1.0 if weight.role == "kernel_scale" else np.nan if weight.dtype == "float32" else 0
    return np.broadcast_to(np.dtype(weight.dtype).type(number), weight.shape)


def open_weights(path: Path) -> ArrayReader:
    """Opens a weights file by its suffix. BadInputError if it is of no known kind, missing or damaged."""
    match path.suffix.lower():
        case ".npz":
            from dscompile.frontend.npz import NpzReader

            return NpzReader(path)
        case ".safetensors":
            from dscompile.frontend.safetensors_file import SafetensorsReader

            return SafetensorsReader(path)
        case _:
            raise BadInputError(f"'{path.name}' is neither .npz nor .safetensors")


def _from_file(
    wanted: Sequence[WantedWeight], source: FileSource, problems: Problems, *, load: bool
) -> dict[str, Array]:
    try:
        reader = open_weights(source.path)
    except BadInputError as error:
        for diagnostic in error.diagnostics:
            problems.add(diagnostic.message, source.position, help=diagnostic.help)
        return {}
    try:
        return _Matcher(wanted, source.path.name, source.position, reader, problems).arrays(load=load)
    finally:
        reader.close()


def _from_memory(wanted: Sequence[WantedWeight], source: ArraysSource, problems: Problems) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    if source.seed is not None:
        random = [weight for weight in wanted if weight.key not in source.arrays and weight.presence != "forbidden"]
        arrays = _seeded(source.seed, [weight for weight in random if weight.dtype == "float32"])
        wanted = [weight for weight in wanted if weight not in random or weight.dtype != "float32"]
    matcher = _Matcher(wanted, "weights", None, _MemoryReader(source.arrays), problems)
    return {**arrays, **matcher.arrays(load=True)}


class _MemoryReader:
    """Arrays in memory, read as if they were a file."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def keys(self) -> Sequence[str]:
        """Names of all arrays."""
        return list(self._arrays)

    def describe(self, key: str) -> tuple[str, Shape]:
        """Type and shape of an array."""
        return self._arrays[key].dtype.name, self._arrays[key].shape

    def read(self, key: str) -> Array:
        """A copy of the array."""
        return self._arrays[key].copy()

    def close(self) -> None:
        """Nothing is open."""


class _Matcher:
    """Compares what a file holds with what the layers want. `position` is where the net.yaml names the file."""

    def __init__(
        self,
        wanted: Sequence[WantedWeight],
        file: str,
        position: Position | None,
        reader: ArrayReader,
        problems: Problems,
    ) -> None:
        self._wanted = wanted
        self._position = position
        self._file = file
        self._reader = reader
        self._problems = problems
        # Sorted, because safetensors lists them in another order every time.
        self._keys = dict.fromkeys(sorted(reader.keys()))
        known = {weight.key for weight in wanted}
        self._unused = [key for key in self._keys if key not in known]
        self._report_unused = problems.count == 0

    def arrays(self, *, load: bool) -> dict[str, Array]:
        """All arrays that are right."""
        required = [weight for weight in self._wanted if weight.presence == "required"]
        if len(required) > 1 and not any(weight.key in self._keys for weight in required):
            self._problems.add(
                f"'{self._file}' has none of this network's {len(required)} weights",
                self._position,
                help=f"arrays are called <layer>.<role>: the first is '{required[0].key}', {list(required[0].shape)}",
            )
            return {}
        found: dict[str, Array] = {}
        misnamed: set[str] = set()
        for weight in self._wanted:
            if weight.key in self._keys:
                array = self._array(weight, load=load)
                if array is not None:
                    found[weight.key] = array
            elif weight.presence == "required":
                misnamed.update(self._missing(weight))
        for key in self._unused if self._report_unused else ():
            if key not in misnamed:
                help = did_you_mean(key, [weight.key for weight in self._wanted]) or "remove it from the file"
                self._problems.add(f"no layer uses '{key}' of '{self._file}'", self._position, help=help)
        return found

    def _missing(self, weight: WantedWeight) -> list[str]:
        """Records a missing weight -> the key that was probably meant for it."""
        shape = f"{list(weight.shape)} {weight.dtype}"
        suggestion = did_you_mean(weight.key, self._unused)
        near = [key for key in self._unused if suggestion == f"did you mean '{key}'?"]
        if near:
            help = f"the file has '{near[0]}', which no layer uses; is that it?"
        else:
            help = f"add an array '{weight.key}' of this shape, or use `weights: {{seed: 7}}` for random ones"
        self._problems.add(
            f"weight '{weight.key}' is missing in '{self._file}'; it must be {shape}",
            weight.position,
            layer=weight.layer,
            help=help,
        )
        return near

    def _array(self, weight: WantedWeight, *, load: bool) -> Array | None:
        before = self._problems.count
        if weight.presence == "forbidden":
            self._complain(weight, "is there, but the layer says `bias: false`", "remove one of the two")
            return None
        try:
            kind, shape = self._reader.describe(weight.key)
            if weight.dtype != "float32" and kind != weight.dtype:
                self._complain(weight, f"is of type {kind}", f"after int8 it must be {weight.dtype}")
            elif weight.dtype == "float32" and kind not in FLOAT_TYPES:
                self._complain(weight, f"is of type {kind}", "store float32 (float64 and float16 are converted)")
            if shape != weight.shape:
                self._complain(
                    weight, f"has shape {list(shape)}, it must be {list(weight.shape)}", _advice(shape, weight)
                )
            if self._problems.count > before:
                return None
            return self._loaded(weight) if load else _unloaded(weight)
        except BadInputError as error:
            self._complain(weight, f"cannot be read: {error.diagnostics[0].message}", None)
            return None

    def _loaded(self, weight: WantedWeight) -> Array | None:
        raw = self._reader.read(weight.key)
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(raw, dtype=weight.dtype)
        finite = np.isfinite(array)
        if not finite.all():
            index = [int(i) for i in np.argwhere(~finite)[0]]
            value = raw[tuple(index)]
            help = "the training diverged, or the export went wrong" if not np.isfinite(value) else "it exceeds float32"
            self._complain(weight, f"holds {value} at {index}", help)
            return None
        return _sealed(array)

    def _complain(self, weight: WantedWeight, what: str, help: str | None) -> None:
        message = f"weight '{weight.key}' in '{self._file}' {what}"
        self._problems.add(message, weight.position, layer=weight.layer, help=help)


def _advice(shape: Shape, weight: WantedWeight) -> str:
    """How an array of another framework's layout becomes the wanted one."""
    want = weight.shape
    if len(want) == 4 and shape == (want[3], want[2], want[0], want[1]):
        return "this looks like PyTorch's [out, in, rows, columns]: transpose it with (2, 3, 1, 0)"
    if len(want) == 2 and shape == want[::-1]:
        return "this looks like PyTorch's [out, in]: transpose it"
    if len(want) == 4 and len(shape) == 4 and math.prod(shape) == math.prod(want):
        return "depthwise kernels are [rows, columns, 1, channels * multiplier]; others [rows, columns, in, out]"
    return "the shape follows from the layer's keys and its input; change one of them"
