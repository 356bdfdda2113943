"""Writes a network as net.yaml and weights, so that reading them gives the identical network.

One line a layer. What a reader would assume anyway is left out: the input where it is the result of the layer before,
the result's name where it is the layer's, defaults.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dscompile.errors import BadInputError, Diagnostic, UnsupportedError
from dscompile.frontend.borders import STORED
from dscompile.frontend.fields import is_line
from dscompile.frontend.netfile import SCHEMA
from dscompile.frontend.npz import npz_bytes
from dscompile.frontend.paths import write_files
from dscompile.frontend.yaml_text import Flow, flow, flow_mapping, quoted
from dscompile.ir.network import Array, Layer, Network, weight_shapes
from dscompile.ir.ops import (
    HARD_SIGMOID,
    NONE,
    Activate,
    Activation,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Pad,
    Pads,
    Pair,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.shapes import same_pads
from dscompile.ir.state import State
from dscompile.ir.tensor import Shape, Tensor
from dscompile.ir.types import result_type, weight_types

WeightsFormat = Literal["npz", "safetensors"]
_LABELS_WIDTH = 112

Keys = list[tuple[str, Flow]]


def write_netfile(
    network: Network,
    directory: Path,
    name: str = "net.yaml",
    *,
    weights_format: WeightsFormat = "npz",
    weights_stem: str | None = None,
) -> Path:
    """Writes `<directory>/<name>` and, beside it, `<network>.npz` or `.safetensors` -> the path of the net.yaml.

    `weights_stem` is another name for the weights file.

    The same network gives the same bytes. Existing files are replaced, all at once or not at all. Raises
    BadInputError if weights hold NaN or infinity, or names hold line breaks or control characters; UnsupportedError
    for activations that have no form in a net.yaml; ToolError if the disk refuses.
    """
    _check_names(network)
    arrays = _weights(network)
    files: dict[str, bytes] = {}
    if arrays:
        weights_name = f"{_file_stem(weights_stem or network.name)}.{weights_format}"
        files[weights_name] = npz_bytes(arrays) if weights_format == "npz" else _safetensors_bytes(arrays)
        section = f"weights: {flow_mapping([('file', weights_name)])}\n"
    else:
        section = ""
    files[name] = (network_text(network) + section + _quantization_section(network)).encode()
    return write_files(directory, files)[-1]


def _check_names(network: Network) -> None:
    """Raises BadInputError for names that no net.yaml may hold."""
    layers = (name for layer in network.layers for name in (layer.name, layer.output))
    kept = (name for state in network.states for name in (state.name, state.next))
    bad = [name for name in (network.name, *kept, *network.inputs, *layers, *network.labels) if not is_line(name)]
    if set(network.name) & set("/\\"):
        bad.append(network.name)
    if bad:
        raise BadInputError([Diagnostic(f"the name {name!a} cannot be written") for name in dict.fromkeys(bad)])


def _file_stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "net"


def _safetensors_bytes(arrays: dict[str, Array]) -> bytes:
    from safetensors.numpy import save

    return save(arrays)


def _quantization_section(network: Network) -> str:
    if network.rounding is None:
        return ""
    return f"quantization: {flow_mapping([('scheme', 'int8'), ('rounding', network.rounding)])}\n"


def _weights(network: Network) -> dict[str, Array]:
    """The weights that layers use, in their order, after checking that a reader will take them."""
    arrays: dict[str, Array] = {}
    problems: list[Diagnostic] = []
    for layer in network.layers:
        quantized = network.is_quantized_layer(layer)
        types = weight_types(layer.op) if quantized else {}
        for role in weight_shapes(layer.op, [network.shape(name) for name in layer.inputs], quantized=quantized):
            key, dtype = f"{layer.name}.{role}", types.get(role, "float32")
            if key not in network.weights:
                continue
            arrays[key] = np.ascontiguousarray(network.weights[key])
            if arrays[key].dtype != dtype:
                raise BadInputError(f"weight '{key}' is {arrays[key].dtype}, it must be {dtype}", layer=layer.name)
            if not np.isfinite(arrays[key]).all():
                problems.append(Diagnostic(f"weight '{key}' holds NaN or infinity", layer=layer.name))
    for state in network.states:
        if not _is_uniform(state):
            arrays[f"{state.name}.initial"] = np.ascontiguousarray(state.initial)
    if problems:
        raise BadInputError(problems)
    return arrays


def _is_uniform(state: State) -> bool:
    """Whether a state begins as one number, which a net.yaml can say."""
    first = state.initial.reshape(-1)[0]
    return bool((state.initial == first).all()) and bool(np.isfinite(first))


def _state(network: Network, state: State) -> str:
    tensor = network.tensor(state.name)
    keys: Keys = [("name", state.name), ("shape", list(tensor.shape)), *_type(tensor), ("next", state.next)]
    first = float(state.initial.reshape(-1)[0])
    if tensor.quantization is not None:
        first = (first - tensor.quantization.zero_point) * tensor.quantization.scale
    if not _is_uniform(state):
        keys.append(("initial", STORED))
    elif first:
        keys.append(("initial", first))
    return flow_mapping(keys)


@dataclass(frozen=True)
class _Defaults:
    """What `defaults:` says in the written file."""

    padding: Literal["same", "valid"]
    activation: Activation


def network_text(network: Network) -> str:
    """The net.yaml of a network, without its section `weights:`."""
    defaults = _choose_defaults(network)
    lines = [f"dscompile: {SCHEMA}", "network:", f"  name: {quoted(network.name)}"]
    inputs = [_input(network, name) for name in network.user_inputs]
    lines += [f"  input: {inputs[0]}"] if len(inputs) == 1 else ["  inputs:", *(f"    - {text}" for text in inputs)]
    if network.states:
        lines += ["  states:", *(f"    - {_state(network, state)}" for state in network.states)]
    shown: Keys = []
    if defaults.padding != "same":
        shown.append(("padding", defaults.padding))
    if defaults.activation:
        shown.append(("activation", _activation(defaults.activation)))
    if shown:
        lines.append(f"  defaults: {flow_mapping(shown)}")
    lines.append("  layers:")
    previous = network.user_inputs[0] if len(network.user_inputs) == 1 else None
    for layer in network.layers:
        lines.append(f"    - {_layer(network, layer, previous, defaults)}")
        previous = layer.output
    outputs = network.user_outputs
    if outputs != (previous,) or any(network.tensor(name).border != "nhwc" for name in outputs):
        lines.append(f"  outputs: {flow([_output(network, name) for name in outputs])}")
    lines += _labels(network.labels)
    return "\n".join(lines) + "\n"


def _input(network: Network, name: str) -> str:
    tensor = network.tensor(name)
    keys: Keys = [("name", name), ("shape", list(tensor.border_shape)), *_type(tensor)]
    if tensor.border != "nhwc":
        keys.append(("layout", tensor.border))
    return flow_mapping(keys)


def _output(network: Network, name: str) -> Flow:
    border = network.tensor(name).border
    if border == "nhwc" or name in network.inputs:
        return name
    return (("name", name), ("layout", border))


def _labels(labels: Sequence[str]) -> list[str]:
    """`labels: [...]`, wrapped."""
    if not labels:
        return []
    lines, line = [], "  labels: ["
    for index, label in enumerate(labels):
        word = quoted(label) + ("," if index + 1 < len(labels) else "]")
        if len(line) + len(word) > _LABELS_WIDTH and line.strip() != "labels: [":
            lines.append(line.rstrip())
            line = "    "
        line += word + " "
    return [*lines, line.rstrip()]


def _choose_defaults(network: Network) -> _Defaults:
    """The commonest activation of convolutions and dense layers, and the commonest kind of padding."""
    convolutions = [layer for layer in network.layers if isinstance(layer.op, Conv2D)]
    activations = Counter(
        layer.op.activation
        for layer in network.layers
        if isinstance(layer.op, Conv2D | Dense) and layer.op.activation.kind != "prelu"
    )
    commonest = max(activations, key=lambda a: (activations[a], repr(a)), default=NONE)
    paddings = Counter(_conv_padding(network, layer) for layer in convolutions)
    return _Defaults("valid" if paddings["valid"] > paddings["same"] else "same", commonest)


def _conv_padding(network: Network, layer: Layer) -> str:
    """same, valid, explicit, or either if both words mean the same here."""
    op = layer.op
    assert isinstance(op, Conv2D)
    _, height, width, _ = network.shape(layer.inputs[0])
    same = same_pads(height, width, op.kernel, op.stride, op.dilation)
    if op.pads == same:
        return "same" if op.pads else "either"
    return "explicit" if op.pads else "valid"


def _layer(network: Network, layer: Layer, previous: str | None, defaults: _Defaults) -> str:
    """One entry of `layers:`."""
    kind, own = _kind_and_keys(network, layer, defaults)
    keys: Keys = []
    if layer.name != kind:
        keys.append(("name", layer.name))
    if not isinstance(layer.op, Constant) and layer.inputs != (previous,):
        keys.append(("from", layer.inputs[0] if len(layer.inputs) == 1 else list(layer.inputs)))
    keys += own
    tensor = network.tensor(layer.output)
    if (tensor.dtype, tensor.quantization) != result_type(layer.op, [network.tensor(name) for name in layer.inputs]):
        keys += _type(tensor)
    if layer.storage != "plain":
        keys.append(("storage", layer.storage))
    if layer.output != layer.name:
        keys.append(("output", layer.output))
    return f"{kind}: {flow_mapping(keys)}" if keys else kind


def _kind_and_keys(network: Network, layer: Layer, defaults: _Defaults) -> tuple[str, Keys]:
    match layer.op:
        case Conv2D():
            return _conv(network, layer, layer.op, defaults)
        case ConvTranspose() as op:
            return "transpose_conv", _transposed_conv(op, defaults)
        case Dense() as op:
            return "dense", [("out", op.units), *_fused(op.activation, defaults.activation)]
        case Pool() as op:
            return "pool", _pool(network, layer, op, defaults)
        case Binary() as op:
            rounded: Keys = [("rounded_as", op.rounded_as)] if op.rounded_as != Binary.rounded_as else []
            return op.kind, [*_fused(op.activation, NONE), *rounded]
        case Concat() as op:
            rank = len(network.shape(layer.inputs[0]))
            return "concat", [("axis", op.axis)] if op.axis != rank - 1 else []
        case Slice() as op:
            return "slice", _slice(network.shape(layer.inputs[0]), op)
        case Shuffle() as op:
            return "shuffle", [("groups", op.groups)]
        case DepthToSpace() as op:
            order: Keys = [("order", op.order)] if op.order != "dcr" else []
            crops: Keys = [("crops", _sides(op.crops))] if op.crops else []
            return "depth_to_space", [("block", _pair(op.block)), *order, *crops]
        case SpaceToDepth() as op:
            return "space_to_depth", [("block", _pair(op.block))]
        case Activate() as op:
            return _activation_layer(op.activation)
        case Softmax() as op:
            return "softmax", [("beta", op.beta)] if op.beta != 1.0 else []
        case ArgMax() as op:
            keep: Keys = [("keep_axis", True)] if op.keep_axis else []
            return "argmax", [*keep, *([("ties", "last")] if op.last else [])]
        case Pad() as op:
            mode: Keys = [("mode", op.mode)] if op.mode != "constant" else []
            return "pad", [("padding", _sides(op.pads)), *([("value", op.value)] if op.value != 0.0 else []), *mode]
        case Resize() as op:
            return "resize", _resize(op)
        case Reshape() as op:
            source = network.shape(layer.inputs[0])
            if len(op.shape) == 2 and len(source) != 2 and op.shape[0] == source[0]:
                return "flatten", []
            return "reshape", [("shape", list(op.shape))]
        case Transpose() as op:
            return "transpose", [("permutation", list(op.permutation))]
        case BatchNorm() as op:
            return "batch_norm", [("epsilon", op.epsilon)] if op.epsilon != BatchNorm().epsilon else []
        case Constant() as op:
            return "constant", [("shape", list(op.shape))]
        case Mean() | Quantize() | Dequantize() | Lookup() as op:
            return type(op).__name__.lower(), []


def _type(tensor: Tensor) -> Keys:
    """The keys of a tensor of integers; int8 goes without saying where there is a scale, and so does zero point 0."""
    if tensor.quantization is None:
        return []
    dtype: Keys = [("dtype", tensor.dtype)] if tensor.dtype != "int8" else []
    zero_point = tensor.quantization.zero_point
    return [*dtype, ("scale", tensor.quantization.scale), *([("zero_point", zero_point)] if zero_point else [])]


def _conv(network: Network, layer: Layer, op: Conv2D, defaults: _Defaults) -> tuple[str, Keys]:
    activation = _fused(op.activation, defaults.activation)
    channels = network.shape(layer.inputs[0])[3]
    if op == Conv2D(op.out_channels, (1, 1), activation=op.activation):
        return "pointwise", [("out", op.out_channels), *activation]
    keys: Keys = [("kernel", _pair(op.kernel))]
    if op.stride != (1, 1):
        keys.append(("stride", _pair(op.stride)))
    if op.dilation != (1, 1):
        keys.append(("dilation", _pair(op.dilation)))
    padding = _conv_padding(network, layer)
    if padding == "explicit":
        keys.append(("padding", _sides(op.pads)))
    elif padding not in ("either", defaults.padding):
        keys.append(("padding", padding))
    if op.is_depthwise(channels):
        multiplier = op.out_channels // channels
        return "depthwise", [*keys, *([("multiplier", multiplier)] if multiplier != 1 else []), *activation]
    groups: Keys = [("groups", op.groups)] if op.groups != 1 else []
    return "conv", [("out", op.out_channels), *keys, *groups, *activation]


def _transposed_conv(op: ConvTranspose, defaults: _Defaults) -> Keys:
    keys: Keys = [("out", op.out_channels), ("kernel", _pair(op.kernel))]
    optional: list[tuple[str, Pair, Pair]] = [
        ("stride", op.stride, (1, 1)),
        ("dilation", op.dilation, (1, 1)),
        ("output_padding", op.output_padding, (0, 0)),
    ]
    keys += [(name, _pair(value)) for name, value, usual in optional if value != usual]
    if op.pads or defaults.padding != "valid":
        keys.append(("padding", _sides(op.pads)))
    groups: Keys = [("groups", op.groups)] if op.groups != 1 else []
    return [*keys, *groups, *_fused(op.activation, defaults.activation)]


def _pool(network: Network, layer: Layer, op: Pool, defaults: _Defaults) -> Keys:
    keys: Keys = [("kind", op.kind)]
    whole = op.kernel == (0, 0)
    keys.append(("over", "all") if whole else ("kernel", _pair(op.kernel)))
    if op.stride != ((1, 1) if whole else op.kernel):
        keys.append(("stride", _pair(op.stride)))
    _, height, width, _ = network.shape(layer.inputs[0])
    same = same_pads(height, width, op.window(height, width), op.stride)
    assumed = "valid" if whole else defaults.padding
    if op.pads != (same if assumed == "same" else Pads()):
        keys.append(("padding", "same" if op.pads == same else _sides(op.pads) if op.pads else "valid"))
    if op.count_pads:
        keys.append(("count_pads", True))
    return [*keys, *_fused(op.activation, NONE)]


def _resize(op: Resize) -> Keys:
    keys: Keys = [("size", _pair(op.size))]
    if op.method == "nearest":
        keys.append(("kind", op.method))
    usual = Resize(op.size, op.method)
    if op.coordinates != usual.coordinates:
        keys.append(("coordinates", op.coordinates))
    if op.rounding != usual.rounding:
        keys.append(("rounding", op.rounding))
    if op.scale is not None:
        keys.append(("ratio", list(op.scale)))
    if op.arithmetic != usual.arithmetic:
        keys.append(("arithmetic", op.arithmetic))
    return keys


def _slice(shape: Shape, op: Slice) -> Keys:
    """Ranges of rows, columns and channels where they say it all, else two corners."""
    ends = [box.stop for box in op.box]
    if op.steps:
        return [("begin", list(op.begins)), ("end", ends), ("step", list(op.steps))]
    names = ("", "rows", "columns", "channels") if len(shape) == 4 else (*("",) * (len(shape) - 1), "channels")
    cut = [axis for axis, size in enumerate(shape) if op.sizes[axis] != size]
    if not cut or any(not names[axis] for axis in cut):
        return [("begin", list(op.begins)), ("end", ends)]
    return [(names[axis], [op.begins[axis], ends[axis]]) for axis in cut]


def _fused(activation: Activation, default: Activation) -> Keys:
    return [("activation", _activation(activation))] if activation != default else []


def _activation(activation: Activation) -> Flow:
    """A name, or a mapping where there are parameters."""
    if activation.kind == "prelu":
        raise UnsupportedError("prelu inside another layer has no weights; it must be a layer of its own")
    kind, parameters = _activation_layer(activation)
    if kind == "activation" or not parameters:
        return activation.name
    return (("kind", kind), *parameters)


def _activation_layer(activation: Activation) -> tuple[str, Keys]:
    match activation.kind:
        case "none":
            return "activation", [("kind", "none")]
        case "clip" if activation.name == "clip":
            limits: Keys = [("low", activation.low), ("high", activation.high)]
            return "clip", limits
        case "elu":
            return "elu", [("alpha", activation.alpha)] if activation.alpha != 1.0 else []
        case "leaky_relu":
            return "leaky_relu", [("alpha", activation.alpha)]
        case "hard_sigmoid" if activation.alpha != HARD_SIGMOID.alpha:
            return "hard_sigmoid", [("alpha", activation.alpha)]
        case _:
            return activation.name, []


def _pair(pair: Pair) -> Flow:
    return pair[0] if pair[0] == pair[1] else list(pair)


def _sides(pads: Pads) -> Flow:
    """One number for all sides where it serves, else [top, bottom, left, right]."""
    if len({pads.top, pads.bottom, pads.left, pads.right}) == 1:
        return pads.top
    return [pads.top, pads.bottom, pads.left, pads.right]
