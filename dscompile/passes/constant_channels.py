"""Channels of int8 networks that can only ever hold one value are not computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import tensor_quantization
from dscompile.ir.intervals import Interval, channel_intervals
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D, Dense, Pool, Reshape
from dscompile.ir.storage import fitting_storage
from dscompile.ir.tensor import Tensor

Mask = NDArray[np.bool_]


def remove_constant_channels(network: Network) -> Network:
    """Removes output channels of convolutions and dense layers that interval analysis proves to be constant.

    What a constant channel adds to the sums of the layers that read it goes into their biases: of a Conv2D (groups 1)
    or Dense whose padding, if it has any, sees the same value. A depthwise Conv2D, a pool, or a reshape of a single
    pixel between the two loses the channel too; then it is enough that the last of these tensors is constant there. The
    results of the network stay the same to the last bit. Float32 networks are returned as they are.
    """
    if not network.is_quantized:
        return network
    intervals = channel_intervals(network)
    rewriting = _Rewriting(network, intervals)
    for layer in network.layers:
        if _is_head(network, layer):
            drop = _removable(network, intervals, layer.output)
            if drop.all():
                drop[0] = False  # a tensor must have a channel
            if drop.any():
                rewriting.drop(layer, drop)
    return rewriting.result()


def _is_head(network: Network, layer: Layer) -> bool:
    """Whether single output channels can be taken out of a layer without touching its input."""
    if not network.is_quantized_layer(layer):
        return False
    return isinstance(layer.op, Dense) or (isinstance(layer.op, Conv2D) and layer.op.groups == 1)


def _is_depthwise(network: Network, layer: Layer) -> bool:
    op = layer.op
    return isinstance(op, Conv2D) and op.is_depthwise(network.shape(layer.inputs[0])[-1])


def _hands_channels_on(network: Network, layer: Layer) -> bool:
    """Whether channel c of the result depends on channel c of the input only, one to one."""
    if isinstance(layer.op, Pool):
        return True
    if not isinstance(layer.op, Reshape):
        return False
    given, made = network.shape(layer.inputs[0]), network.shape(layer.output)
    return given[-1] == made[-1] == network.tensor(layer.output).elements


def _removable(network: Network, intervals: Mapping[str, Interval], tensor: str) -> Mask:
    """[C]: the channels of a tensor that all its readers can do without."""
    readers = network.consumers[tensor]
    channels = network.shape(tensor)[-1]
    if tensor in network.outputs or not readers:
        return np.zeros(channels, np.bool_)
    result = np.ones(channels, np.bool_)
    for reader in readers:
        if _is_head(network, reader):
            result &= _absorbed(network, intervals[tensor], reader)
        elif _is_depthwise(network, reader):
            result &= _removable(network, intervals, reader.output).reshape(channels, -1).all(axis=1)
        elif _hands_channels_on(network, reader):
            result &= _removable(network, intervals, reader.output)
        else:
            return np.zeros(channels, np.bool_)
    return result


def _absorbed(network: Network, interval: Interval, reader: Layer) -> Mask:
    """[C_in]: the input channels whose contribution to every sum of a Conv2D or Dense is one number."""
    zero_point = tensor_quantization(network, reader.inputs[0]).zero_point
    kernel = network.weight(reader, "kernel")
    channels = kernel.shape[-2]
    unused = ~kernel.astype(np.bool_).reshape(-1, channels, kernel.shape[-1]).any(axis=(0, 2))
    constant = interval.is_constant
    if isinstance(reader.op, Conv2D) and reader.op.pads:
        constant = constant & (interval.low == zero_point)  # what padding counts as
    return np.asarray(constant | unused)


@dataclass
class _Rewriting:
    """A network while channels are taken out of it."""

    network: Network
    intervals: Mapping[str, Interval]
    layers: dict[str, Layer] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)

    def drop(self, layer: Layer, channels: Mask) -> None:
        """Takes output channels out of a layer, and out of everything behind it."""
        self._drop_outputs(layer, channels)
        self._drop_from(layer.output, channels)

    def result(self) -> Network:
        """The rewritten network; the same object if nothing was dropped."""
        if not self.tensors:
            return self.network
        grown = replace(
            self.network,
            tensors={**self.network.tensors, **self.tensors},
            weights={**self.network.weights, **self.weights},
        )
        layers = [self._stored(self.layers.get(layer.name, layer)) for layer in self.network.layers]
        return grown.with_layers(layers).validate()

    def _stored(self, layer: Layer) -> Layer:
        """Without input channels, groups of four are others, and may no longer have two zeros each."""
        if layer.storage == "plain":
            return layer
        return replace(layer, storage=fitting_storage(layer.storage, self._weight(layer, "kernel")))

    def _drop_from(self, tensor: str, channels: Mask) -> None:
        old = self.network.tensor(tensor)
        kept = int((~channels).sum())
        self.tensors[tensor] = replace(old, shape=(*old.shape[:-1], kept))
        for reader in self.network.consumers[tensor]:
            if _is_head(self.network, reader):
                self._absorb(reader, channels)
            elif _is_depthwise(self.network, reader):
                multiplier = self.network.shape(reader.output)[-1] // len(channels)
                outputs = np.repeat(channels, multiplier)
                self._drop_outputs(reader, outputs)
                op = self._layer(reader).op
                assert isinstance(op, Conv2D)
                self.layers[reader.name] = replace(self._layer(reader), op=replace(op, groups=kept))
                self._drop_from(reader.output, outputs)
            else:
                if isinstance(reader.op, Reshape):
                    shape = (*reader.op.shape[:-1], kept)
                    self.layers[reader.name] = replace(reader, op=Reshape(shape))
                self._drop_from(reader.output, channels)

    def _drop_outputs(self, layer: Layer, channels: Mask) -> None:
        for role in ("kernel", "kernel_scale", "bias"):
            if self._has_weight(layer, role):
                self._set(layer, role, self._weight(layer, role)[..., ~channels])
        current, kept = self._layer(layer), int((~channels).sum())
        if isinstance(current.op, Conv2D):
            self.layers[layer.name] = replace(current, op=replace(current.op, out_channels=kept))
        elif isinstance(current.op, Dense):
            self.layers[layer.name] = replace(current, op=replace(current.op, units=kept))

    def _absorb(self, reader: Layer, channels: Mask) -> None:
        """Takes input channels out of a Conv2D or Dense; their constant contribution goes into the bias."""
        kernel = self._weight(reader, "kernel")
        zero_point = tensor_quantization(self.network, reader.inputs[0]).zero_point
        interval = self.intervals[reader.inputs[0]]
        values = np.where(interval.is_constant, interval.low - zero_point, 0)[channels]
        lost = kernel[..., channels, :].astype(np.int64)
        added = np.tensordot(lost, values, axes=([lost.ndim - 2], [0])).reshape(-1, kernel.shape[-1]).sum(axis=0)
        bias = self._weight(reader, "bias").astype(np.int64) if self._has_weight(reader, "bias") else 0
        self._set(reader, "kernel", kernel[..., ~channels, :])
        self._set(reader, "bias", (bias + added).astype(np.int32))

    def _layer(self, layer: Layer) -> Layer:
        return self.layers.get(layer.name, layer)

    def _has_weight(self, layer: Layer, role: str) -> bool:
        """Whether a layer has a weight, maybe a bias that it did not have at first."""
        return f"{layer.name}.{role}" in self.weights or self.network.has_weight(layer, role)

    def _weight(self, layer: Layer, role: str) -> Array:
        key = f"{layer.name}.{role}"
        return self.weights[key] if key in self.weights else self.network.weights[key]

    def _set(self, layer: Layer, role: str, array: Array) -> None:
        copy = np.ascontiguousarray(array)
        copy.setflags(write=False)
        self.weights[f"{layer.name}.{role}"] = copy
