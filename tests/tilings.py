"""The tiles that a build without tuning records takes, by the sizes of a layer."""

from __future__ import annotations

from dscompile.plan import int8_tiles, tiles
from dscompile.plan.spaces import rule
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
)


def conv_tiling(target, height, width, blocks, depth, *, blocked=True):
    workload = ConvWorkload(height, width, blocks, depth, blocked=blocked)
    return tiles.conv_tiling(workload, rule(workload, target))


def depthwise_tiling(target, height, width, kernel, stride=(1, 1)):
    workload = DepthwiseWorkload(height, width, 4, kernel, stride)
    return tiles.depthwise_tiling(workload, rule(workload, target), target)


def dense_panels(target, channels, units):
    workload = DenseWorkload(channels, units)
    return tiles.dense_panels(workload, rule(workload, target), target)


def int8_conv_tiling(target, height, width, blocks, channels, kernel=(1, 1), stride=(1, 1)):
    workload = Int8ConvWorkload(height, width, blocks, channels, kernel, stride)
    return int8_tiles.int8_conv_tiling(workload, rule(workload, target), target)


def int8_depthwise_tiling(target, height, width, kernel, stride):
    workload = Int8DepthwiseWorkload(height, width, 4, kernel, stride)
    return int8_tiles.int8_depthwise_tiling(workload, rule(workload, target), target)
