"""A network under construction from a model that may order its axes differently.

Frameworks disagree on the order of axes: ONNX has [1, C, H, W], TFLite [1, H, W, C], exporters put transpositions
between the two. So every computed tensor of the source is a `Value`: its shape as the source sees it, and the order in
which the IR's tensor holds those axes. A transposition then costs nothing (it renames axes); a layer is emitted only
where an operator needs an order that the elements do not have in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UnsupportedError
from dscompile.frontend.import_names import UniqueNames, sanitized
from dscompile.frontend.import_sizes import check_sizes
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Constant, Op, Reshape, Transpose
from dscompile.ir.state import State
from dscompile.ir.tensor import INTEGER_RANGES, BorderLayout, DType, Quantization, Rounding, Shape, Tensor
from dscompile.ir.types import INDEX_MOVERS, keeps_quantization

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
Order = tuple[int, ...]

CHANNELS_LAST: Order = (0, 1, 2, 3)
CHANNELS_FIRST: Order = (0, 2, 3, 1)


@dataclass(frozen=True)
class Value:
    """A computed tensor: `shape` in the source's order of axes; axis i of the IR's tensor is its axis order[i]."""

    tensor: str
    shape: Shape
    order: Order

    @property
    def ir_shape(self) -> Shape:
        """Shape of the IR's tensor."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def memory(self) -> Order:
        """Source axes longer than 1 in the order of memory; axes of size 1 take no part in it."""
        return tuple(axis for axis in self.order if self.shape[axis] != 1)


Operand = Value | Array


@dataclass(frozen=True, eq=False)
class KeptValue:
    """What a state becomes, and its first value in the source's order of axes, which is that of memory."""

    value: Value
    initial: Array


def identity(rank: int) -> Order:
    """The order that changes nothing."""
    return tuple(range(rank))


def _border(order: Order) -> BorderLayout:
    return "nchw" if order == CHANNELS_FIRST else "nhwc"


def frozen(array: Array) -> Array:
    """A contiguous, read-only copy for the network's weights: int8 and int32 as they are, all others as float32."""
    dtype = array.dtype if array.dtype in (np.int8, np.int32) else np.float32
    copy = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy


class ImportGraph:
    """Layers emitted so far. `image_order` tells where the source keeps height, width and channels of an image.

    Methods raise ShapeError where an operator does not fit its inputs.
    """

    def __init__(self, name: str, image_order: Order) -> None:
        self.image_order = image_order
        self._builder = NetworkBuilder(name)
        self._names = UniqueNames()
        self._base, self._base_is_free = "", False
        self._quantization: Quantization | None = None
        self._dtype: DType | None = None
        self._reshaped_from: dict[str, str] = {}
        self._kept: dict[str, KeptValue] = {}

    def reserve(self, names: Iterable[str]) -> None:
        """Keeps the names of the source's nodes free for them."""
        for name in names:
            self._names.fresh(name)

    def start(self, node: str, quantization: Quantization | None = None, dtype: DType | None = None) -> None:
        """Layers emitted from here on belong to the node of this (reserved) name, whose result is quantized so."""
        self._base, self._base_is_free = node, True
        self._quantization, self._dtype = quantization, dtype if quantization is not None else None

    def tensor_of(self, value: Value) -> Tensor:
        """The IR's tensor of a value, for its type and quantization."""
        return self._builder.tensors[value.tensor]

    def fresh(self, name: str) -> str:
        """A name for a layer that no layer and no node of the source has."""
        return self._names.fresh(sanitized(name, "layer"))

    def emit_real(self, op: Op, source: str) -> str:
        """Appends a layer beside the current node's, whose result is float32."""
        return self._append(op, [source], type(op).__name__.lower(), {})

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor so far is int8 or uint8."""
        return any(tensor.dtype in INTEGER_RANGES for tensor in self._builder.tensors.values())

    # Borders

    def input(
        self,
        name: str,
        shape: Shape,
        order: Order,
        dtype: DType = "float32",
        quantization: Quantization | None = None,
    ) -> Value:
        """Declares an input of the network. `order` is the identity or, for images, CHANNELS_FIRST."""
        value = Value(name, shape, order)
        self._builder.input(Tensor(name, value.ir_shape, dtype, quantization, _border(order)))
        return value

    def input_order(self, shape: Shape, permutations: Sequence[Order | None]) -> Order:
        """In which order to hold an input whose readers transpose it so (None: a reader that does not).

        Usually that of the source's images. An input that is only transposed is held in the order of its transposition,
        so that the model of a framework with the other layout starts without a transposition.
        """
        if len(shape) != 4:
            return identity(len(shape))
        wanted = set(permutations)
        if len(wanted) == 1 and (only := wanted.pop()) is not None and len(only) == 4:
            held = tuple(only[axis] for axis in self.image_order)
            if held in (CHANNELS_FIRST, CHANNELS_LAST):
                return held
        return self.image_order

    def keep(self, name: str, kept: KeptValue) -> None:
        """Makes the input `name`, declared before, a state that becomes this value."""
        self._kept[name] = kept

    def placeholder(self, shape: Shape, dtype: DType = "float32", quantization: Quantization | None = None) -> Value:
        """Stands for the result of a node that could not be imported, so that what follows can be looked at too."""
        value = Value(self._names.fresh("unsupported"), shape, self._default_order(len(shape)))
        self._builder.tensors[value.tensor] = Tensor(value.tensor, value.ir_shape, dtype, quantization)
        return value

    def finish(self, outputs: Sequence[tuple[str, Value]], rounding: Rounding | None = None) -> Network:
        """The validated network; its output tensors get these names and the source's order of axes."""
        builder = self._builder
        renamed: dict[str, str] = {}
        borders: dict[str, Tensor] = {}
        nexts = {name: self._names.fresh(f"{name}.next") for name in self._kept}
        arranged_outputs = [(name, value, self._at_border) for name, value in outputs]
        arranged_outputs += [(nexts[name], kept.value, self._in_memory_order) for name, kept in self._kept.items()]
        for name, value, arrange in arranged_outputs:
            self.start(name)
            arranged = arrange(value)
            tensor = arranged.tensor
            if tensor in self._builder.inputs or tensor in renamed:
                tensor = self.emit(Reshape(arranged.ir_shape), [tensor], "copy")
            renamed[tensor] = name
            borders[name] = replace(builder.tensors[tensor], name=name, border=_border(arranged.order))
        for tensor in self._builder.tensors:
            if tensor in borders and tensor not in renamed:
                renamed[tensor] = self._names.fresh(tensor)
        layers = tuple(
            replace(
                layer,
                inputs=tuple(renamed.get(name, name) for name in layer.inputs),
                output=renamed.get(layer.output, layer.output),
            )
            for layer in builder.layers
        )
        tensors = {renamed.get(key, key): replace(t, name=renamed.get(key, key)) for key, t in builder.tensors.items()}
        inputs = (*(name for name in builder.inputs if name not in self._kept), *self._kept)
        names = (*(name for name, _ in outputs), *nexts.values())
        every = {**tensors, **borders}
        states = tuple(State(name, nexts[name], frozen(kept.initial)) for name, kept in self._kept.items())
        network = Network(builder.name, inputs, names, every, layers, builder.weights, rounding=rounding, states=states)
        return network.validate()

    def _in_memory_order(self, value: Value) -> Value:
        return self.arranged(value, identity(len(value.shape)))

    def _at_border(self, value: Value) -> Value:
        """The value in an order that `Tensor.border` can tell."""
        if len(value.shape) == 4 and value.order != CHANNELS_LAST:
            return self.arranged(value, CHANNELS_FIRST)
        return self.arranged(value, identity(len(value.shape)))

    # Layers

    def emit(self, op: Op, inputs: Sequence[str] = (), role: str = "", **weights: Array | None) -> str:
        """Appends a layer and returns its tensor. The node's main layer has no `role` and gets the node's own name."""
        if keeps_quantization(op):  # their results have the scale of their input, whatever the source's node makes
            return self._append(op, inputs, role, weights)
        return self._append(op, inputs, role, weights, self._quantization, self._dtype)

    def _append(
        self,
        op: Op,
        inputs: Sequence[str],
        role: str,
        weights: Mapping[str, Array | None],
        quantization: Quantization | None = None,
        dtype: DType | None = None,
    ) -> str:
        check_sizes(op)
        if not isinstance(op, INDEX_MOVERS) and any(self._builder.tensors[name].dtype == "int32" for name in inputs):
            raise UnsupportedError("reads the indices of an argmax; these can only be reshaped, transposed and put out")
        if not role and self._base_is_free:
            name, self._base_is_free = self._base, False
        else:
            name = self._names.fresh(f"{self._base}_{role}" if role else self._base)
        arrays = {key: frozen(array) for key, array in weights.items() if array is not None}
        return self._builder.add(name, op, inputs, output=None, dtype=dtype, quantization=quantization, **arrays)

    def emit_value(self, op: Op, inputs: Sequence[str], order: Order, **weights: Array | None) -> Value:
        """As `emit`, for a result whose axes have the given order: the shape in the source's order is inferred."""
        tensor = self.emit(op, inputs, "", **weights)
        ir_shape = self._builder.tensors[tensor].shape
        return Value(tensor, tuple(ir_shape[order.index(axis)] for axis in range(len(order))), order)

    def constant(self, array: Array, order: Order) -> Value:
        """A constant of the source as a layer, laid out in the given order."""
        if array.dtype != np.float32:
            raise UnsupportedError(
                f"a constant of type {array.dtype} beside computed tensors; only float32 is supported"
            )
        return self._constant(array, order)

    def quantized_constant(self, array: Array, order: Order, quantization: Quantization) -> Value:
        """A constant of integers as a layer, laid out in the given order."""
        return self._constant(array, order, quantization)

    def _constant(self, array: Array, order: Order, quantization: Quantization | None = None) -> Value:
        op = Constant(tuple(array.shape[axis] for axis in order))
        tensor = self._append(op, (), "constant", {"value": array.transpose(order)}, quantization)
        return Value(tensor, array.shape, order)

    # Order and shape

    def arranged(self, value: Value, order: Order) -> Value:
        """The value with its axes in the given order; a layer is emitted only if elements must move."""
        if value.order == order:
            return value
        target = replace(value, order=order)
        if target.memory == value.memory:
            return self._relabeled(value.tensor, value.shape, order)
        permutation = tuple(value.order.index(axis) for axis in order)
        return replace(target, tensor=self.emit(Transpose(permutation), [value.tensor], "transpose"))

    def as_image(self, value: Value) -> Value:
        """A value of rank 4 as [1, H, W, C]."""
        return self.arranged(value, self.image_order)

    def transposed(self, value: Value, permutation: Order) -> Value:
        """The source's Transpose: axis i of the result is axis permutation[i]. Emits nothing."""
        shape = tuple(value.shape[axis] for axis in permutation)
        return Value(value.tensor, shape, tuple(permutation.index(axis) for axis in value.order))

    def reshaped(self, value: Value, shape: Shape, role: str = "reshape") -> Value:
        """The source's Reshape: the same elements, counted in the *source's* order of axes, under another shape.

        A Reshape splits and merges neighboring axes. Elements stay where they are if, in memory too, the axes of every
        group that becomes other ones are neighbors in the source's order; they are moved first where they are not.
        """
        groups = _regrouped(value.shape, shape)
        placed = sorted(groups, key=lambda pair: min(value.memory.index(axis) for axis in pair[0]))
        wanted = tuple(axis for group, _ in placed for axis in group)
        if value.memory != wanted:
            ones = (axis for axis in value.order if value.shape[axis] == 1)
            order = identity(len(value.shape)) if list(wanted) == sorted(wanted) else (*ones, *wanted)
            value = self.arranged(value, order)
        memory = tuple(axis for _, group in placed for axis in group)
        return self._relabeled(value.tensor, shape, self._order_with(shape, memory), role)

    def flattened(self, value: Value, shape: Shape) -> str:
        """The tensor of a value whose elements, in memory order, are given another IR shape."""
        return self._relabeled(value.tensor, shape, identity(len(shape))).tensor

    def _order_with(self, shape: Shape, memory: Order) -> Order:
        """An order of axes for elements that lie in memory so; the usual one of this rank where possible."""
        rank = len(shape)
        for order in (self._default_order(rank), identity(rank)):
            if Value("", shape, order).memory == memory:
                return order
        return (*(axis for axis in range(rank) if shape[axis] == 1), *memory)

    def _default_order(self, rank: int) -> Order:
        return self.image_order if rank == 4 else identity(rank)

    def _relabeled(self, tensor: str, shape: Shape, order: Order, role: str = "reshape") -> Value:
        """The same elements in the same places, read as another shape; chains of Reshape collapse."""
        value = Value(tensor, shape, order)
        source = self._reshaped_from.get(tensor, tensor)
        for candidate in (tensor, source):
            if self._builder.tensors[candidate].shape == value.ir_shape:
                return replace(value, tensor=candidate)
        result = self.emit(Reshape(value.ir_shape), [source], role)
        self._reshaped_from[result] = source
        return replace(value, tensor=result)


def _regrouped(old: Shape, new: Shape) -> list[tuple[Order, Order]]:
    """The smallest runs of axes of `old` and `new` that hold the same number of elements; axes of size 1 are in none.

    Both shapes have the same number of elements, and no axis is empty.
    """
    sources = [axis for axis, size in enumerate(old) if size != 1]
    results = [axis for axis, size in enumerate(new) if size != 1]
    groups: list[tuple[Order, Order]] = []
    while sources:
        before, after = [sources.pop(0)], [results.pop(0)]
        while (have := math.prod(old[axis] for axis in before)) != (made := math.prod(new[axis] for axis in after)):
            if have < made:
                before.append(sources.pop(0))
            else:
                after.append(results.pop(0))
        groups.append((tuple(before), tuple(after)))
    return groups
