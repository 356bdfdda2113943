"""Workloads: what a planner knows of a layer when it chooses tiles. The key of tuning records.

A workload says how much is computed and in what shape, not on which buffers: layers with equal workloads get equal
tiles. Heights and widths are those of the result, in pixels; `blocks` are blocks of `Target.lanes` channels of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dscompile.ir.ops import Pair


@dataclass(frozen=True)
class _Conv:
    """What dense convolutions are described by."""

    height: int
    width: int
    blocks: int
    channels: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def macs(self, lanes: int) -> int:
        """Multiply-accumulates, those of padded channels included."""
        return self.height * self.width * self.blocks * lanes * self.channels * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class _Depthwise:
    """What depthwise convolutions on padded images are described by."""

    height: int
    width: int
    blocks: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def macs(self, lanes: int) -> int:
        """Multiply-accumulates, those of padded channels included."""
        return self.height * self.width * self.blocks * lanes * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class ConvWorkload(_Conv):
    """A dense float32 convolution over `channels` inputs; a pointwise one whose pixels lie in one run has height 1.

    `blocked`: the input is a blocked image, not one with few channels as the user passes it.
    """

    kind: ClassVar[str] = "conv"
    blocked: bool = True


@dataclass(frozen=True)
class DepthwiseWorkload(_Depthwise):
    """A float32 depthwise convolution on a padded image."""

    kind: ClassVar[str] = "depthwise"


@dataclass(frozen=True)
class DenseWorkload:
    """A float32 matrix-vector product."""

    kind: ClassVar[str] = "dense"
    channels: int
    units: int

    def macs(self, lanes: int) -> int:
        """Multiply-accumulates."""
        return self.channels * self.units


@dataclass(frozen=True)
class Int8ConvWorkload(_Conv):
    """A dense int8 convolution; as `ConvWorkload`, but always on blocked images."""

    kind: ClassVar[str] = "int8_conv"


@dataclass(frozen=True)
class Int8DepthwiseWorkload(_Depthwise):
    """An int8 depthwise convolution on a padded image."""

    kind: ClassVar[str] = "int8_depthwise"


Workload = ConvWorkload | DepthwiseWorkload | DenseWorkload | Int8ConvWorkload | Int8DepthwiseWorkload
WORKLOADS: dict[str, type[Workload]] = {
    kind.kind: kind
    for kind in (ConvWorkload, DepthwiseWorkload, DenseWorkload, Int8ConvWorkload, Int8DepthwiseWorkload)
}
