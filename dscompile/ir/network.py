"""Networks: layers in topological order over named tensors, with their weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError, Diagnostic
from dscompile.ir.ops import Activate, BatchNorm, Constant, Conv2D, ConvTranspose, Dense, Lookup, Op
from dscompile.ir.shapes import ShapeError, output_shape
from dscompile.ir.state import State, state_problems
from dscompile.ir.storage import Storage, mixes_channels, storage_problem
from dscompile.ir.tensor import DType, Quantization, Rounding, Shape, Tensor
from dscompile.ir.types import border_type_problems, layer_type_problems, result_type, weight_types

Array = NDArray[np.generic]

# Sums are shifted to the left by the exponent of their factor, within 32 bits.
MAX_FACTOR = 2.0**30


@dataclass(frozen=True)
class Layer:
    """One operator applied to named tensors. Its weights are `Network.weights["<layer>.<role>"]`.

    `storage` is how standalone C stores its kernel (ir/storage.py): of an int8 Dense, or Conv2D that is not depthwise.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    storage: Storage = "plain"


@dataclass(frozen=True)
class Network:
    """A graph of layers. Construct through `NetworkBuilder` or with `validate()` called after.

    `labels` name the elements of the first output. `weights` are read-only arrays, float32 for float networks.
    `rounding` says how networks with int8 tensors requantize, and is None for all others. `states` are inputs and
    outputs that belong together (ir/state.py); they stand behind those that the user gives and gets.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    weights: Mapping[str, Array] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    rounding: Rounding | None = None
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))

    def tensor(self, name: str) -> Tensor:
        """The tensor called `name`."""
        return self.tensors[name]

    def shape(self, name: str) -> Shape:
        """The shape of the tensor called `name`."""
        return self.tensors[name].shape

    def weight(self, layer: Layer, role: str) -> Array:
        """The weight of `layer` in the given role. KeyError if it has none."""
        return self.weights[f"{layer.name}.{role}"]

    def has_weight(self, layer: Layer, role: str) -> bool:
        """Whether `layer` has a weight in the given role."""
        return f"{layer.name}.{role}" in self.weights

    @property
    def user_inputs(self) -> tuple[str, ...]:
        """The inputs that a user gives: all but the states."""
        kept = {state.name for state in self.states}
        return tuple(name for name in self.inputs if name not in kept)

    @property
    def user_outputs(self) -> tuple[str, ...]:
        """The outputs that a user gets: all but the next states."""
        kept = {state.next for state in self.states}
        return tuple(name for name in self.outputs if name not in kept)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Layer, ...]]:
        """Tensor name -> layers that read it, in order."""
        readers: dict[str, list[Layer]] = {name: [] for name in self.tensors}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                readers[name].append(layer)
        return {name: tuple(layers) for name, layers in readers.items()}

    @cached_property
    def producers(self) -> Mapping[str, Layer]:
        """Tensor name -> the layer that writes it; inputs of the network have none."""
        return {layer.output: layer for layer in self.layers}

    def is_quantized_layer(self, layer: Layer) -> bool:
        """Whether `layer` computes on integers: its first input, or the result of a Constant, is int8 or uint8."""
        return self.tensors[layer.inputs[0] if layer.inputs else layer.output].dtype in ("int8", "uint8")

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor holds integers that stand for reals."""
        return any(tensor.dtype in ("int8", "uint8") for tensor in self.tensors.values())

    def with_layers(self, layers: Iterable[Layer], weights: Mapping[str, Array] | None = None) -> Network:
        """The same network with other layers; tensors and weights nobody uses any more are dropped."""
        kept = tuple(layers)
        used = {*self.inputs, *self.outputs, *(name for la in kept for name in (*la.inputs, la.output))}
        names = {layer.name for layer in kept}
        table = self.weights if weights is None else weights
        return replace(
            self,
            layers=kept,
            tensors={name: t for name, t in self.tensors.items() if name in used},
            weights={key: value for key, value in table.items() if key.rpartition(".")[0] in names},
        )

    def validate(self) -> Network:
        """Returns self, or raises BadInputError with everything that is wrong: order, shapes, weights."""
        problems = list(self._problems())
        if problems:
            raise BadInputError(problems)
        return self

    def _problems(self) -> Iterable[Diagnostic]:
        if self.is_quantized != (self.rounding is not None):
            what = "has int8 tensors and needs a rounding" if self.rounding is None else "has no int8 tensors to round"
            yield Diagnostic(f"the network {what}")
        for tensor in self.tensors.values():
            for problem in border_type_problems(tensor, tensor.name in self.inputs or tensor.name in self.outputs):
                yield Diagnostic(problem)
        for name in self.inputs:
            if self.tensors[name].dtype == "int32":
                yield Diagnostic(f"input '{name}' is int32; only what an argmax makes may be")
        for problem in state_problems(self.states, self.tensors, self.inputs, self.outputs):
            yield Diagnostic(problem)
        known = set(self.inputs)
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                yield Diagnostic("there are two layers of this name", layer=layer.name)
            names.add(layer.name)
            missing = [name for name in layer.inputs if name not in known]
            for name in missing:
                what = "its own output" if name == layer.output else f"'{name}', which no layer before it makes"
                yield Diagnostic(f"reads {what}", layer=layer.name)
            if not missing:
                yield from self._layer_problems(layer)
            known.add(layer.output)
        for name in self.outputs:
            if name not in known:
                yield Diagnostic(f"output '{name}' is made by no layer")

    def _layer_problems(self, layer: Layer) -> Iterable[Diagnostic]:
        try:
            shape = output_shape(layer.op, [self.shape(name) for name in layer.inputs])
        except ShapeError as error:
            yield Diagnostic(str(error), layer=layer.name)
            return
        if shape != self.shape(layer.output):
            yield Diagnostic(f"makes {list(shape)}, not {list(self.shape(layer.output))}", layer=layer.name)
            return
        inputs = [self.tensor(name) for name in layer.inputs]
        for problem in layer_type_problems(layer.op, inputs, self.tensor(layer.output)):
            yield Diagnostic(problem, layer=layer.name)
        yield from self._weight_problems(layer)

    def _weight_problems(self, layer: Layer) -> Iterable[Diagnostic]:
        quantized = self.is_quantized_layer(layer)
        yield from self._storage_problems(layer, quantized=quantized)
        expected = weight_shapes(layer.op, [self.shape(name) for name in layer.inputs], quantized=quantized)
        types = weight_types(layer.op) if quantized else {}
        for role, want in expected.items():
            array = self.weights.get(f"{layer.name}.{role}")
            if array is not None and role in types and array.dtype != types[role]:
                yield Diagnostic(
                    f"weight '{layer.name}.{role}' is {array.dtype}, it must be {types[role]}", layer=layer.name
                )
            if array is None:
                if role != "bias":
                    yield Diagnostic(
                        f"weight '{layer.name}.{role}' is missing; it must be {list(want)}", layer=layer.name
                    )
            elif array.shape != want:
                yield Diagnostic(
                    f"weight '{layer.name}.{role}' has shape {list(array.shape)}, it must be {list(want)}",
                    layer=layer.name,
                )
            elif role == "kernel_scale" and self._largest_factor(layer, array) >= MAX_FACTOR:
                yield Diagnostic(
                    f"its sums are scaled by up to {self._largest_factor(layer, array):.3g}, which 32 bits cannot hold",
                    layer=layer.name,
                    help="a scale of its input, kernel or output is damaged",
                )
            elif role == "kernel_scale" and not (np.isfinite(array).all() and (array.astype(np.float32) > 0).all()):
                yield Diagnostic(f"weight '{layer.name}.{role}' must be positive and finite", layer=layer.name)

    def _storage_problems(self, layer: Layer, *, quantized: bool) -> Iterable[Diagnostic]:
        if layer.storage == "plain":
            return
        if not quantized or not mixes_channels(layer.op, self.shape(layer.inputs[0])):
            yield Diagnostic(
                f"cannot be stored as {layer.storage}: that is for int8 layers whose sums are over channels",
                layer=layer.name,
            )
        elif self.has_weight(layer, "kernel"):
            problem = storage_problem(layer.storage, self.weight(layer, "kernel"))
            if problem is not None:
                yield Diagnostic(
                    f"cannot be stored as {layer.storage}: it has {problem}",
                    layer=layer.name,
                    help="`dscompile quantize` makes such weights (--weight-type int4, --sparsity 2:4)",
                )

    def _largest_factor(self, layer: Layer, kernel_scale: Array) -> float:
        """The largest factor input scale * kernel_scale / output scale; 0 where scales are missing."""
        given, made = self.tensor(layer.inputs[0]).quantization, self.tensor(layer.output).quantization
        if given is None or made is None:
            return 0.0
        return given.scales[0] * float(kernel_scale.astype(np.float64).max()) / made.scales[0]


def weight_shapes(op: Op, inputs: list[Shape], *, quantized: bool = False) -> dict[str, Shape]:
    """Role -> shape of every weight that `op` takes on inputs of these shapes (`bias` is optional).

    `quantized`: the inputs are int8 (or, of a Constant, the output), see `Network.is_quantized_layer`.
    """
    match op:
        case Conv2D() | ConvTranspose() | Dense() if quantized:
            channels = op.units if isinstance(op, Dense) else op.out_channels
            return {**weight_shapes(op, inputs), "kernel_scale": (channels,)}
        case Conv2D() | ConvTranspose():
            return {
                "kernel": (*op.kernel, inputs[0][3] // op.groups, op.out_channels),
                "bias": (op.out_channels,),
            }
        case Dense():
            return {"kernel": (inputs[0][1], op.units), "bias": (op.units,)}
        case BatchNorm():
            return dict.fromkeys(("gamma", "beta", "mean", "variance"), (inputs[0][-1],))
        case Constant():
            return {"value": op.shape}
        case Activate() if op.activation.kind == "prelu":
            return {"slope": (inputs[0][-1],)}
        case Lookup():
            return {"table": (256,)}
        case _:
            return {}


class NetworkBuilder:
    """Grows a network layer by layer; shapes are inferred. Raises ShapeError from `add` when inputs do not fit."""

    def __init__(self, name: str, rounding: Rounding | None = None) -> None:
        self.name = name
        self.rounding = rounding
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.weights: dict[str, Array] = {}
        self.inputs: list[str] = []
        self.states: list[State] = []

    def input(self, tensor: Tensor) -> str:
        """Declares an input of the network."""
        self.tensors[tensor.name] = tensor
        self.inputs.append(tensor.name)
        return tensor.name

    def keep(self, name: str, next_value: str, initial: Array) -> None:
        """Makes the input `name` a state, which is `initial` at first and `next_value` in the inference after."""
        self.states.append(State(name, next_value, initial))

    def add(
        self,
        name: str,
        op: Op,
        inputs: Iterable[str] = (),
        output: str | None = None,
        *,
        dtype: DType | None = None,
        quantization: Quantization | None = None,
        **weights: Array | None,
    ) -> str:
        """Appends a layer and returns its output tensor's name (`output`, or the layer's own name).

        The result is int8 where a `quantization` is given (and no other `dtype`). Without one, a layer over int8 hands
        on the type and the quantization of its first input.
        """
        sources = tuple(inputs)
        result = output or name
        operands = [self.tensors[source] for source in sources]
        shape = output_shape(op, [operand.shape for operand in operands])
        inherited = result_type(op, operands)
        if quantization is not None:
            inherited = ("int8", quantization)
        self.tensors[result] = Tensor(result, shape, dtype or inherited[0], inherited[1])
        self.layers.append(Layer(name, op, sources, result))
        for role, value in weights.items():
            if value is not None:
                self.weights[f"{name}.{role}"] = value
        return result

    def build(self, outputs: Iterable[str], labels: Iterable[str] = ()) -> Network:
        """The finished, validated network. `outputs` are those that the user gets."""
        kept = {state.name for state in self.states}
        network = Network(
            self.name,
            (*(name for name in self.inputs if name not in kept), *(state.name for state in self.states)),
            (*outputs, *(state.next for state in self.states)),
            self.tensors,
            tuple(self.layers),
            self.weights,
            tuple(labels),
            self.rounding,
            tuple(self.states),
        )
        return network.validate()
