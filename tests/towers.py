"""Random networks of convolutions on images tall enough to be computed in bands of rows.

Whether a plan goes by bands depends on the second-level cache; `banding_target` finds a size with which a tower does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, RELU6, Binary, Concat, Conv2D, Pads
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.bands import find_segments
from dscompile.target import Caches, Target

KERNELS = ((3, 3), (3, 3), (5, 5), (1, 3), (5, 1), (7, 7), (2, 2))


def banding_target(network: Network, target: Target) -> Target:
    """The target with a second-level cache with which most layers go by bands; as it is if none do with any."""

    def with_l2(kib: int) -> Target:
        return replace(target, caches=Caches(target.caches.l1d_bytes, kib << 10, target.caches.l3_bytes))

    canonical = canonicalize(network)
    candidates = [with_l2(kib) for kib in (8, 16, 24, 32, 48, 64, 96, 128)]
    return max(
        [target, *candidates],
        key=lambda candidate: sum(len(s.work) for s in find_segments(canonical, candidate) if s.rows),
    )


def random_tower(seed: int) -> Network:
    """2 to 7 convolutions on top of each other, with residuals and second readers of tensors in between."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder(f"tower_{seed}")
    border = "nchw" if rng.random() < 0.3 else "nhwc"
    shape = (1, int(rng.integers(12, 41)), int(rng.integers(5, 34)), int(rng.choice([1, 3, 8, 17, 32])))
    tensors = [builder.input(Tensor("image", shape, border=border))]
    extra: list[str] = []
    for number in range(int(rng.integers(2, 8))):
        x = tensors[-1]
        _, height, width, channels = builder.tensors[x].shape
        if min(height, width) < 3:
            break
        name = f"layer{number}"
        activation = (NONE, RELU, RELU6, HARD_SWISH)[int(rng.integers(4))]
        kind = rng.choice(["conv", "depthwise", "depthwise", "pointwise", "residual", "branch"])
        if kind in ("conv", "depthwise"):
            kernel = KERNELS[int(rng.integers(len(KERNELS)))]
            stride = (1, 1) if rng.random() < 0.6 else (2, int(rng.integers(1, 3)))
            dilation = (2, 1) if rng.random() < 0.15 and kernel[0] <= 3 else (1, 1)
            pads = same_pads(height, width, kernel, stride, dilation)
            if rng.random() < 0.2:
                pads = Pads(
                    *(int(n) for n in rng.integers(kernel[0], size=2)), *map(int, rng.integers(kernel[1], size=2))
                )
            groups = channels if kind == "depthwise" and channels > 1 else 1
            filters = channels if groups > 1 else int(rng.choice([3, 16, 17, 33, 48]))
            fits = all(
                size + before + after >= (k - 1) * d + 1
                for size, before, after, k, d in zip(
                    (height, width), (pads.top, pads.left), (pads.bottom, pads.right), kernel, dilation, strict=True
                )
            )
            if fits:
                op = Conv2D(filters, kernel, stride, pads, dilation, groups, activation)
                tensors.append(_convolution(builder, rng, name, op, x))
        elif kind == "pointwise":
            op = Conv2D(int(rng.choice([5, 16, 24, 33, 48, 64])), (1, 1), activation=activation)
            tensors.append(_convolution(builder, rng, name, op, x))
        elif kind == "residual":
            same = [t for t in tensors if builder.tensors[t].shape == builder.tensors[x].shape]
            made = _convolution(builder, rng, name, Conv2D(channels, (1, 1)), x)
            other = same[int(rng.integers(len(same)))]
            tensors.append(builder.add(f"{name}.sum", Binary("add", activation), [made, other]))
        else:
            extra.append(_convolution(builder, rng, name, Conv2D(16, (1, 1), activation=activation), x))
            if rng.random() < 0.5:
                tensors.append(builder.add(f"{name}.join", Concat(3), [x, extra.pop()]))
    if len(tensors) == 1:
        tensors.append(_convolution(builder, rng, "only", Conv2D(16, (3, 3)), tensors[0]))
    outputs = [tensors[-1], *(name for name in extra if name != tensors[-1])]
    if rng.random() < 0.2 and len(tensors) > 2 and tensors[-2] not in outputs:
        outputs.append(tensors[-2])
    return builder.build(outputs)


def _convolution(builder: NetworkBuilder, rng: np.random.Generator, name: str, op: Conv2D, x: str) -> str:
    per_group = builder.tensors[x].shape[3] // op.groups
    shape = (*op.kernel, per_group, op.out_channels)
    kernel = (rng.normal(size=shape) * (op.kernel[0] * op.kernel[1] * per_group) ** -0.5).astype(np.float32)
    return builder.add(name, op, [x], kernel=kernel, bias=rng.normal(size=op.out_channels).astype(np.float32))
