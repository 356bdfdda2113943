"""Turns what a net.yaml says into operators: resolves names, expands blocks, infers shapes.

Layers inside a block are called `<block>.<part>` (dscompile.frontend.blocks).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dscompile.errors import Position, did_you_mean
from dscompile.frontend.blocks import (
    add_blaze_block,
    add_inverted_residual,
    add_separable,
    add_shuffle_v1,
    add_shuffle_v2,
    add_squeeze_excite,
)
from dscompile.frontend.fields import Problems
from dscompile.frontend.places import Place, add_conv, add_depthwise
from dscompile.frontend.schema import (
    BlazeBlockBody,
    Body,
    ConcatBody,
    ConvBody,
    DenseBody,
    DepthwiseBody,
    FlattenBody,
    InputSpec,
    InvertedResidualBody,
    LayerSpec,
    NetworkSpec,
    OperatorBody,
    PoolBody,
    Reference,
    ReshapeBody,
    ResizeBody,
    SeparableBody,
    ShuffleV1Body,
    ShuffleV2Body,
    SliceBody,
    SplitBody,
    SqueezeExciteBody,
    StateSpec,
    TransposedConvBody,
    Window,
)
from dscompile.frontend.stored import AskedStorage
from dscompile.frontend.weights import Presence, WantedWeight
from dscompile.ir.network import Layer, NetworkBuilder, weight_shapes
from dscompile.ir.ops import Concat, Constant, ConvTranspose, Dense, Op, Pads, Pool, Reshape, Resize, Slice
from dscompile.ir.shapes import ShapeError, dilated_extent
from dscompile.ir.tensor import INTEGER_RANGES, BorderLayout, Shape
from dscompile.ir.types import layer_type_problems, weight_types


@dataclass(frozen=True)
class KeptTensor:
    """A state: its tensor, the one that it becomes, the number that fills it at first (None: the array `key`)."""

    name: str
    next: str
    initial: float | None

    @property
    def key(self) -> str:
        """The name of its first value in a weights file."""
        return f"{self.name}.initial"


@dataclass(frozen=True)
class Graph:
    """A network without its weights: `builder` holds tensors and layers, `positions` layer -> place in the file.

    `storage` is what layers say of their weights.
    """

    builder: NetworkBuilder
    outputs: tuple[str, ...]
    positions: dict[str, Position]
    wanted: tuple[WantedWeight, ...]
    states: tuple[KeptTensor, ...]
    storage: Mapping[str, AskedStorage]


def build_graph(spec: NetworkSpec, problems: Problems) -> Graph:
    """The layers of `spec` as operators. What does not fit is recorded, at the layer's place in the file."""
    assembly = Assembly(spec, problems)
    for layer in spec.layers:
        assembly.add_layer(layer)
    outputs = assembly.outputs()
    wanted, states = tuple(assembly.wanted()), assembly.states(outputs)
    return Graph(assembly.builder, outputs, assembly.positions, wanted, states, assembly.storage)


class Assembly:
    """The graph while it grows. A tensor whose layer was wrong is `broken`: layers reading it are passed over."""

    def __init__(self, spec: NetworkSpec, problems: Problems) -> None:
        self.spec = spec
        self.problems = problems
        self.builder = NetworkBuilder(spec.name)
        self.positions: dict[str, Position] = {}
        self.storage: dict[str, AskedStorage] = {}
        self._biases: dict[str, bool | None] = {}
        self._aliases: dict[str, str] = {}  # layer and block names -> their result, where it is called otherwise
        self._parts: dict[str, tuple[str, ...]] = {}  # names of splits -> their results
        self._broken: set[str] = set()
        self._tensor_positions: dict[str, Position] = {}
        self._previous: str | None = None
        for given in (*spec.inputs, *(state.given for state in spec.states)):
            self.add_input(given)
        if len(spec.inputs) == 1:
            self._previous = spec.inputs[0].name

    def add_layer(self, spec: LayerSpec) -> None:
        """Appends a layer, or all repeats of a block."""
        sources = self._sources(spec)
        if sources is None or spec.body is None or self._broken.intersection(sources):
            self._break(spec)
            return
        if isinstance(spec.body, SplitBody):
            self._add_split(spec, spec.body, sources)
            return
        if isinstance(spec.body, ResizeBody) and spec.body.like is not None:
            model = self._resolve(spec.body.like, spec)
            if model is None or model in self._broken:
                self._break(spec)
                return
            sources = (*sources, model)
        for index, name in enumerate(spec.block_names):
            body = spec.body if index == 0 else _without_stride(spec.body)
            place = Place(self, name, spec.position, spec.output, spec.result, spec.storage)
            try:
                result = _expand(place, body, sources)
            except ShapeError as error:
                self.problems.add(str(error), spec.position, layer=name)
                self._break(spec)
                return
            self._aliases[name] = result
            self._previous = result
            sources = (result,)
        self._aliases[spec.name] = sources[0]

    def _add_split(self, spec: LayerSpec, body: SplitBody, sources: tuple[str, ...]) -> None:
        try:
            self._parts[spec.name] = _split(Place(self, spec.name, spec.position), body, sources)
        except ShapeError as error:
            self.problems.add(str(error), spec.position, layer=spec.name)
            self._break(spec)
            return
        self._previous = spec.name

    def declare(self, place: Place, op: Op, inputs: tuple[str, ...], bias: bool | None) -> str:
        """Adds one operator under its place's name and output. ShapeError if its inputs do not fit."""
        output = place.output or place.name
        if place.name in self.positions:
            line = self.positions[place.name].line
            self.problems.add(f"there are two layers named '{place.name}'; the first is in line {line}", place.position)
        elif output in self._tensor_positions:
            line = self._tensor_positions[output].line
            message = f"the tensor '{output}' exists already; it is made in line {line}"
            self.problems.add(message, place.position, layer=place.name, help="give the layer another name or output")
        while output in self.builder.tensors:
            output = f"{output} again"  # the first one stays what its readers found
        self.positions.setdefault(place.name, place.position)
        self._tensor_positions.setdefault(output, place.position)
        self._biases[place.name] = bias
        if place.storage is not None:
            self.storage[place.name] = place.storage
        given = place.result
        result = self.builder.add(
            place.name,
            op,
            inputs,
            output,
            dtype=given.dtype if given is not None else None,
            quantization=given.quantization if given is not None else None,
        )
        operands = [self.builder.tensors[name] for name in inputs]
        for problem in layer_type_problems(op, operands, self.builder.tensors[result]):
            self.problems.add(problem, place.position, layer=place.name)
        return result

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor already made."""
        return self.builder.tensors[tensor].shape

    def outputs(self) -> tuple[str, ...]:
        """Output tensors, with their layouts set."""
        if self.spec.outputs is None:
            return self._parts.get(self._previous, (self._previous,)) if self._previous is not None else ()
        names: dict[str, str] = {}  # of tensors -> as the file says them
        for output in self.spec.outputs:
            said = output.reference.name
            name = self._resolve(output.reference)
            if name is None or name in self._broken:
                continue
            if names.setdefault(name, said) != said:
                message = f"outputs '{names[name]}' and '{said}' are the same tensor, '{name}'"
                self.problems.add(message, output.reference.position)
                continue
            if output.layout is not None:
                self._set_layout(name, output.layout, output.reference.position)
        return tuple(names)

    def wanted(self) -> list[WantedWeight]:
        """Weights of all layers, in their order, and what states are at first."""
        layers = [weight for layer in self.builder.layers for weight in self._wanted_by(layer)]
        return layers + [weight for state in self.spec.states for weight in self._first_value(state)]

    def _first_value(self, state: StateSpec) -> Iterable[WantedWeight]:
        tensor = state.given.tensor
        if tensor is not None and state.initial is None:
            op, position = Constant(tensor.shape), state.given.position
            yield WantedWeight(tensor.name, "initial", tensor.shape, "required", op, position, tensor.dtype)

    def states(self, outputs: tuple[str, ...]) -> tuple[KeptTensor, ...]:
        """The states whose tensors are right; what is wrong with the others is recorded."""
        found: list[KeptTensor] = []
        for state in self.spec.states:
            name = self._resolve(state.next, what=f"'next' of state '{state.given.name}'")
            if name is None or name in self._broken or state.given.tensor is None:
                continue
            here, there = state.given.tensor, self.builder.tensors[name]
            shown = f"{there.dtype} {list(there.shape)}"
            message, help = "", None
            if name in self.builder.inputs or name in outputs or name in [each.next for each in found]:
                message = f"becomes '{name}', which is an input, an output or the next value of another state"
                help = "put a layer in between, such as a reshape to the same shape"
            elif (here.shape, here.dtype) != (there.shape, there.dtype):
                message = f"is {here.dtype} {list(here.shape)}, and becomes '{name}', which is {shown}"
            elif here.quantization != there.quantization:
                message = f"becomes '{name}', which has another scale or zero point"
            elif here.dtype not in ("float32", "int8"):
                message = f"is {here.dtype}; it must be float32 or int8"
            if message:
                self.problems.add(f"state '{here.name}' {message}", state.next.position, help=help)
                continue
            found.append(KeptTensor(here.name, name, state.initial))
        return tuple(found)

    def _wanted_by(self, layer: Layer) -> Iterable[WantedWeight]:
        quantized = self.builder.tensors[layer.inputs[0] if layer.inputs else layer.output].dtype in INTEGER_RANGES
        types = weight_types(layer.op) if quantized else {}
        shapes = weight_shapes(layer.op, [self.shape(name) for name in layer.inputs], quantized=quantized)
        for role, shape in shapes.items():
            presence, dtype = self._presence(layer, role), types.get(role, "float32")
            yield WantedWeight(layer.name, role, shape, presence, layer.op, self.positions[layer.name], dtype)

    def _presence(self, layer: Layer, role: str) -> Presence:
        if role != "bias":
            return "required"
        bias = self._biases[layer.name]
        return "optional" if bias is None else "required" if bias else "forbidden"

    def add_input(self, spec: InputSpec) -> None:
        """Declares an input of the network."""
        if spec.tensor is None:
            self._broken.add(spec.name)
            return
        if spec.name in self._tensor_positions:
            self.problems.add(f"there are two inputs named '{spec.name}'", spec.position)
        self._tensor_positions.setdefault(spec.name, spec.position)
        self.builder.input(spec.tensor)

    def _set_layout(self, name: str, layout: BorderLayout, position: Position) -> None:
        tensor = self.builder.tensors[name]
        if name in self.builder.inputs and tensor.border != layout:
            self.problems.add(f"'{name}' is an input in {tensor.border}; as an output it cannot be {layout}", position)
            return
        self.builder.tensors[name] = replace(tensor, border=layout)

    def _sources(self, spec: LayerSpec) -> tuple[str, ...] | None:
        """The tensors a layer reads; None if one is unknown."""
        if spec.inputs is not None:
            names = [self._resolve(reference, spec) for reference in spec.inputs]
            return tuple(name for name in names if name is not None) if None not in names else None
        if self._previous in self._parts:
            self._refuse_all_parts(self._previous, "needs 'from'", spec.position, spec.name)
            return None
        if self._previous is None and len(self.spec.inputs) > 1:
            inputs = ", ".join(given.name for given in self.spec.inputs)
            self.problems.add(
                "needs 'from': the network has several inputs",
                spec.position,
                layer=spec.name,
                help=f"they are {inputs}",
            )
        return None if self._previous is None else (self._previous,)

    def _refuse_all_parts(self, split: str, message: str, position: Position, layer: str | None) -> None:
        help = f"name one of {', '.join(self._parts[split])}"
        self.problems.add(f"{message}: '{split}' has several results", position, layer=layer, help=help)

    def _resolve(self, reference: Reference, spec: LayerSpec | None = None, what: str = "output") -> str | None:
        """The tensor a name stands for; None after recording that there is none. `what` it is if no layer reads it."""
        name = reference.name
        if not name:  # not even a text: recorded already
            return None
        if name in self._tensor_positions or name in self._broken:
            return name
        if name in self._aliases:
            return self._aliases[name]
        block = name.rpartition(".")[0]
        if block in self._broken:  # its inner layers and parts are unknown
            return block
        if name in self._parts:
            message = f"reads '{name}'" if spec else f"{what} '{name}'"
            self._refuse_all_parts(name, message, reference.position, spec.name if spec else None)
            return None
        help = None
        later = next((layer for layer in self.spec.layers if name in layer.names), None)
        if spec is not None and name in spec.names:
            message = "reads its own output"
        elif spec is not None and later is not None:
            message = f"reads '{name}', which is made only in line {later.position.line}"
            help = "layers stand in the order in which they run"
        else:
            message = f"reads '{name}', which is no input or layer" if spec else f"{what} '{name}' is made by no layer"
            help = did_you_mean(name, [*self._tensor_positions, *self._aliases, *self._broken])
        self.problems.add(message, reference.position, layer=spec.name if spec else None, help=help)
        return None

    def _break(self, spec: LayerSpec) -> None:
        self._broken.update(spec.names)
        self._previous = spec.name


def _expand(place: Place, body: Body, sources: tuple[str, ...]) -> str:
    """Adds the operators of a layer -> its result."""
    match body:
        case OperatorBody(op):
            return place.add(op, *sources)
        case ConcatBody(axis):
            if len(sources) < 2:
                raise ShapeError(f"needs at least 2 inputs, got {len(sources)}")
            rank = len(place.shape(sources[0]))
            if not -rank <= axis < rank:
                raise ShapeError(f"axis {axis} is outside the {rank} axes of its inputs")
            return place.add(Concat(axis % rank), *sources)
    if isinstance(body, ResizeBody) and body.like is not None:
        *sources_alone, model = sources
        sources = tuple(sources_alone)
        body = replace(body, op=replace(body.op, size=place.image(model)[:2]))
    if len(sources) != 1:
        raise ShapeError(f"needs 1 input, got {len(sources)}")
    source = sources[0]
    match body:
        case SplitBody():
            raise AssertionError("a split has several results and is added by itself")
        case ConvBody():
            return add_conv(place, body, source)
        case TransposedConvBody():
            return _transposed_conv(place, body, source)
        case DepthwiseBody():
            return add_depthwise(place, body, source)
        case SeparableBody():
            return add_separable(place, body, source)
        case InvertedResidualBody():
            return add_inverted_residual(place, body, source)
        case SqueezeExciteBody():
            return add_squeeze_excite(place, body, source)
        case ShuffleV1Body():
            return add_shuffle_v1(place, body, source)
        case ShuffleV2Body():
            return add_shuffle_v2(place, body, source)
        case BlazeBlockBody():
            return add_blaze_block(place, body, source)
        case DenseBody():
            return _dense(place, body, source)
        case PoolBody():
            height, width, _ = place.image(source)
            window = _window_of(body, height, width)
            pads = window.pads(height, width)
            op = Pool(body.kind, window.kernel, window.stride, pads, body.count_pads, body.activation)
            return place.add(op, source)
        case ResizeBody():
            return place.add(_resize(body, place.image(source)), source)
        case SliceBody():
            return place.add(_box(body, place.shape(source)), source)
        case ReshapeBody(shape):
            return place.add(Reshape(_known_shape(shape, place.shape(source))), source)
        case FlattenBody():
            return place.add(Reshape(_flat(place.shape(source))), source)


def _transposed_conv(place: Place, body: TransposedConvBody, source: str) -> str:
    window, added = body.window, body.output_padding
    if window.padding == "same":  # what is too much is cut off, the odd row at the end; what is missing is only bias
        extents = [dilated_extent(size, gap) for size, gap in zip(window.kernel, window.dilation, strict=True)]
        rows, columns = (extent - step + more for extent, step, more in zip(extents, window.stride, added, strict=True))
        added = (added[0] + max(0, -rows), added[1] + max(0, -columns))
        rows, columns = max(0, rows), max(0, columns)
        pads = Pads(rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    else:
        pads = Pads() if window.padding == "valid" else window.padding
    op = ConvTranspose(
        body.out, window.kernel, window.stride, pads, window.dilation, body.groups, added, body.activation
    )
    return place.add(op, source, bias=body.bias)


def _dense(place: Place, body: DenseBody, source: str) -> str:
    shape = place.shape(source)
    if len(shape) != 2:
        source = place.part("flatten").add(Reshape(_flat(shape)), source)
    return place.add(Dense(body.out, body.activation), source, bias=body.bias)


def _window_of(body: PoolBody, height: int, width: int) -> Window:
    """The window of a pool, or the one of which `into` fit into the image."""
    if body.into is None:
        return body.window
    rows, columns = body.into
    if height % rows or width % columns:
        raise ShapeError(f"{height}x{width} cannot be cut into {rows}x{columns} equal windows")
    size = (height // rows, width // columns)
    return Window(size, size, "valid")


def _resize(body: ResizeBody, image: tuple[int, int, int]) -> Resize:
    """The operator, its size known: `factor` times that of the image, rounded down."""
    if body.factor is None:
        return body.op
    rows, columns = (math.floor(size * factor) for size, factor in zip(image[:2], body.factor, strict=True))
    exact = all(
        made == size * factor for made, size, factor in zip((rows, columns), image[:2], body.factor, strict=True)
    )
    return replace(body.op, size=(rows, columns), scale=None if exact else body.factor)


def _box(body: SliceBody, shape: Shape) -> Slice:
    """The operator of a slice. ShapeError if it does not lie inside `shape`."""
    begins, ends = list(body.begin), list(body.end)
    if not begins:
        begins, ends = [0] * len(shape), list(shape)
        for key, axis, given in (("rows", 1, body.rows), ("columns", 2, body.columns), ("channels", -1, body.channels)):
            if given is None:
                continue
            if axis > 0 and len(shape) != 4:
                raise ShapeError(f"'{key}' are those of an image [1, H, W, C], not of {list(shape)}")
            if given[1] > shape[axis]:
                raise ShapeError(f"{key} {given[0]} to {given[1]} are not all inside {list(shape)}")
            begins[axis], ends[axis] = given
    if not len(begins) == len(ends) == len(shape):
        raise ShapeError(f"'begin' {begins} and 'end' {ends} must have a number for each axis of {list(shape)}")
    steps = body.step or (1,) * len(shape)
    if len(steps) != len(shape):
        raise ShapeError(f"'step' {list(steps)} must have a number for each axis of {list(shape)}")
    sizes = tuple(-(-(end - begin) // step) for begin, end, step in zip(begins, ends, steps, strict=True))
    return Slice(tuple(begins), sizes, steps if max(steps, default=1) > 1 else ())


def _split(place: Place, body: SplitBody, sources: tuple[str, ...]) -> tuple[str, ...]:
    """Adds the slices <name>.0, <name>.1, ... -> their results."""
    if len(sources) != 1:
        raise ShapeError(f"needs 1 input, got {len(sources)}")
    shape = place.shape(sources[0])
    if not -len(shape) <= body.axis < len(shape):
        raise ShapeError(f"axis {body.axis} is outside the {len(shape)} axes of its input")
    axis = body.axis % len(shape)
    whole = shape[axis]
    if body.parts and whole % body.parts:
        raise ShapeError(f"{body.parts} parts do not divide axis {axis} of {list(shape)}")
    sizes = body.sizes or (whole // body.parts,) * body.parts
    if sum(sizes) != whole:
        raise ShapeError(f"sizes {list(sizes)} add up to {sum(sizes)}, axis {axis} of {list(shape)} has {whole}")
    results, begins = [], [0] * len(shape)
    for number, size in enumerate(sizes):
        op = Slice(tuple(begins), (*shape[:axis], size, *shape[axis + 1 :]))
        results.append(place.part(str(number)).add(op, sources[0]))
        begins[axis] += size
    return tuple(results)


def _flat(shape: Shape) -> Shape:
    return (shape[0], math.prod(shape[1:]))


def _known_shape(shape: Shape, source: Shape) -> Shape:
    """`shape` with its -1 replaced by the size that is left."""
    if -1 not in shape:
        return shape
    rest = -math.prod(shape)
    left, over = divmod(math.prod(source), rest)
    if over:
        raise ShapeError(f"{list(source)} has {math.prod(source)} elements, which do not fill {list(shape)}")
    return tuple(left if size == -1 else size for size in shape)


def _without_stride(body: Body) -> Body:
    """`body` as its second repeat has it: the stride belongs to the first."""
    match body:
        case ConvBody() | DepthwiseBody():
            return replace(body, window=replace(body.window, stride=(1, 1)))
        case ShuffleV1Body() | ShuffleV2Body() | BlazeBlockBody():
            return replace(body, stride=1)
        case SeparableBody() | InvertedResidualBody():
            window = replace(body.depthwise.window, stride=(1, 1))
            return replace(body, depthwise=replace(body.depthwise, window=window))
        case _:
            return body
