"""A convolution in groups is one convolution for each group, over its channels alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Concat, Conv2D, Slice
from dscompile.passes.rewrite import apply_everywhere, fresh_name, read_only, substitute

# Elements of a kernel: calls for a group, with a copy of its channels, take as many bytes of code or a few more.
_WORTH = 256


def _none(network: Network, layer: Layer) -> bool:
    del network, layer
    return False


def split_groups(network: Network, kept: Callable[[Network, Layer], bool] = _none) -> Network:
    """Leaves no Conv2D in groups, but depthwise ones, those that are `kept`, and those where it would save little.

    Each becomes a Slice of the input's channels and a Conv2D with its part of the weights for every group, and a
    Concat with the name of the layer. For kernels over all channels of an image, which would multiply by zeros.
    """
    return apply_everywhere(lambda each, layer: None if kept(each, layer) else _split(each, layer), network)


def _split(network: Network, layer: Layer) -> Network | None:
    op = layer.op
    if not isinstance(op, Conv2D) or op.groups == 1:
        return None
    given, made = network.tensor(layer.inputs[0]), network.tensor(layer.output)
    if op.is_depthwise(given.shape[3]) or network.weight(layer, "kernel").size * (op.groups - 1) < _WORTH * op.groups:
        return None
    seen, filters = given.shape[3] // op.groups, op.out_channels // op.groups
    layers: list[Layer] = []
    tensors = []
    weights: dict[str, Array] = {}
    for group in range(op.groups):
        part, result = (fresh_name(network, f"{layer.name}.{what}{group}") for what in ("channels", "group"))
        tensors += [
            replace(given, name=part, shape=(*given.shape[:3], seen), border="nhwc"),
            replace(made, name=result, shape=(*made.shape[:3], filters), border="nhwc"),
        ]
        box = Slice((0, 0, 0, group * seen), (*given.shape[:3], seen))
        layers.append(Layer(part, box, layer.inputs, part))
        single = replace(op, out_channels=filters, groups=1)
        layers.append(Layer(result, single, (part,), result, layer.storage))
        for role in ("kernel", "kernel_scale", "bias"):
            if network.has_weight(layer, role):
                values = network.weight(layer, role)[..., group * filters : (group + 1) * filters]
                weights[f"{result}.{role}"] = read_only(values)
    joined = tuple(made.output for made in layers[1::2])
    layers.append(Layer(layer.name, Concat(3), joined, layer.output))
    return substitute(network, {layer.name: layers}, weights, tensors)
