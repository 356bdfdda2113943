"""The schedule library by itself: one depthwise layer, from its definition to its share of the machine's peak.

    python examples/python/one_layer.py [--target NAME]

docs/schedules.md explains every step.
"""

from __future__ import annotations

import argparse

import numpy as np

from dscompile import compute
from dscompile.ir.ops import RELU6, Pads
from dscompile.plan.kernels import DepthwiseKernel, Epilogue
from dscompile.plan.knobs import DepthwiseKnobs
from dscompile.plan.layout import Blocked
from dscompile.plan.packing import pack_depthwise, pack_image
from dscompile.report.peak import PeakProbe
from dscompile.run.kernel import At, CompiledKernel, aligned_buffer, aligned_copy
from dscompile.schedule import x86
from dscompile.target import resolve_target

HEIGHT, WIDTH, CHANNELS, TAPS = 14, 14, 512, 3
SHOWN = DepthwiseKnobs(columns=7, rows=2)
SWEEP = [DepthwiseKnobs(columns, rows) for rows in (1, 2) for columns in (1, 2, 7, 14)]
ROUNDS = 9


def main() -> None:
    """Defines, schedules, builds, checks and times the layer."""
    parser = argparse.ArgumentParser(description="one depthwise layer by itself")
    parser.add_argument("--target", default="host", help="what to compile for (default: this machine)")
    target = resolve_target(parser.parse_args().target)

    # The image has a border of zeros in memory, so that the kernel needs no tests for it.
    image = Blocked(HEIGHT, WIDTH, CHANNELS, target.lanes, halo=Pads(1, 1, 1, 1))
    result = Blocked(HEIGHT, WIDTH, CHANNELS, target.lanes)
    kernel = DepthwiseKernel(
        height=HEIGHT,
        width=WIDTH,
        blocks=image.blocks,
        lanes=target.lanes,
        kernel=(TAPS, TAPS),
        stride=(1, 1),
        dilation=(1, 1),
        x=image.strides,
        y=result.strides,
        epilogue=Epilogue(RELU6),
    )
    definition = compute.depthwise(kernel)
    print(f"# The definition, for {target.name}\n{definition.script()}\n")
    print(f"# Scheduled with {SHOWN}\n{x86.depthwise(definition, kernel, SHOWN).mod['main'].script()}\n")

    rng = np.random.default_rng(0)
    x = rng.normal(size=(HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    weights = rng.normal(size=(TAPS, TAPS, 1, CHANNELS)).astype(np.float32)
    bias = rng.normal(size=CHANNELS).astype(np.float32)
    expected = reference(x, weights, bias)

    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    y = aligned_buffer(result.elements)
    operands = (
        At(aligned_copy(pack_image(padded, target.lanes)), image.offset(-1, -1)),
        aligned_copy(pack_depthwise(weights, target.lanes)),
        aligned_copy(bias),
        At(y, result.offset()),
    )
    compiled = []
    for knobs in SWEEP:
        schedule = x86.depthwise(definition, kernel, knobs)
        built = CompiledKernel.from_schedule(schedule, kernel.parameters, target)
        built(*operands)
        blocks = y.reshape(result.blocks, HEIGHT, WIDTH, target.lanes)
        got = blocks.transpose(1, 2, 0, 3).reshape(HEIGHT, WIDTH, CHANNELS)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        compiled.append(built)
    print(f"All {len(SWEEP)} variants equal NumPy within 1e-5.\n")

    # In turns, so that a slower spell of the machine meets the peak and every variant alike.
    probe = PeakProbe(target)
    times_us = np.empty((ROUNDS, len(SWEEP)))
    for row in times_us:
        probe.sample()
        row[:] = [built.latency_us(*operands, repeats=3) for built in compiled]
    flops = 2 * HEIGHT * WIDTH * CHANNELS * TAPS * TAPS
    print(f"{'columns':>7} {'rows':>4} {'us':>8} {'GFLOP/s':>8} {'of peak':>8}")
    for knobs, us in zip(SWEEP, np.median(times_us, axis=0), strict=True):
        gflops = flops / us / 1000
        print(f"{knobs.columns:7} {knobs.rows:4} {us:8.1f} {gflops:8.1f} {gflops / probe.gflops:8.0%}")
    print(f"FMA peak of this core: {probe.gflops:.1f} GFLOP/s")
    print(f"One call passes over {4 * (image.elements + result.elements) / 1e6:.2f} MB of images.")


def reference(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """min(max(depthwise(x) + bias, 0), 6) on [H, W, C], in float64."""
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    windows = [padded[r : r + HEIGHT, q : q + WIDTH] * weights[r, q, 0] for r in range(TAPS) for q in range(TAPS)]
    return np.clip(sum(windows) + bias, 0, 6)


if __name__ == "__main__":
    main()
