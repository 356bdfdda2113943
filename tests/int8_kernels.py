"""Int8 kernels against NumPy, bit for bit, on this machine or under qemu-aarch64.

Every view lies in the middle of random bytes: what a kernel reads outside of its view makes its results wrong, and what
it writes there is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from dscompile.ir.network import Array
from dscompile.ir.tensor import Shape
from dscompile.oracle.int8_arithmetic import scale_by
from dscompile.plan.int8_elementwise import LookupKernel
from dscompile.plan.int8_kernels import (
    Int8ConvKernel,
    Int8DenseKernel,
    Int8DepthwiseKernel,
    Int8Kernel,
    Requantization,
    Scaling,
)
from dscompile.plan.int8_packing import pack_int8_depthwise, unsigned_start
from dscompile.plan.int8_tiles import int8_depthwise_word
from dscompile.plan.kernels import Parameter
from dscompile.plan.knobs import Knobs
from dscompile.plan.layout import Blocked, Strides
from dscompile.run.emulated_kernel import EmulatedKernel
from dscompile.run.emulators.qemu_user import InstructionCounts
from dscompile.run.kernel import CompiledKernel
from dscompile.run.operands import ALIGNMENT, At
from dscompile.target import Target, find_target, runs_here
from tests.native import TARGETS
from tests.tools import require_tools

MARGIN = 128  # bytes before and behind every view
PLAIN = Requantization("affine", -128, 127)
ROUNDINGS: tuple[Scaling, ...] = ("tflite", "half-up", "single", "float32")
SCALINGS: tuple[Scaling, ...] = ("affine", *ROUNDINGS)


@dataclass(frozen=True)
class Machine:
    """A target, and the core that QEMU plays to run it; none for targets of this machine."""

    target: str
    cpu: str = ""

    def found(self) -> Target:
        """The target, or the test is skipped by the name of what is missing."""
        target = find_target(self.target)
        if self.cpu:
            require_tools("qemu-aarch64", "aarch64-linux-gnu-gcc")
        elif not runs_here(target):
            pytest.skip(f"this CPU does not run {self.target}")
        return target

    def __str__(self) -> str:
        return self.target


HERE = tuple(Machine(name) for name in TARGETS)
NEON, DOTPROD, I8MM = (
    Machine("arm64-neon", "cortex-a72"),
    Machine("arm64-dotprod", "neoverse-n1"),
    Machine("arm64-i8mm", "max"),
)


def run_int8(
    kernel: Int8Kernel | LookupKernel, knobs: Knobs | None, machine: Machine, inputs: Mapping[str, Array], shape: Shape
) -> tuple[Array, InstructionCounts]:
    """The view of `shape` that the kernel writes, and what it executed if it was emulated.

    `inputs` are in the shapes of their views. Asserts that nothing else was written.
    """
    target = machine.found()
    rng = np.random.default_rng(7)
    places = {p.name: _Place(p, shape if p.written else inputs[p.name].shape, rng) for p in kernel.parameters}
    for name, values in inputs.items():
        places[name].view[...] = values
    y = places[kernel.parameters[-1].name]
    before = y.buffer.copy()
    operands = [place.operand for place in places.values()]
    run = _compiled(kernel, knobs, target, machine.cpu)
    counts = run(*operands) or InstructionCounts()
    result = y.view.copy()
    y.view[...] = y.view_of(before)
    np.testing.assert_array_equal(y.buffer, before, "'y' was written to outside its view")
    return result, counts


@lru_cache(maxsize=4)
def _compiled(
    kernel: Int8Kernel | LookupKernel, knobs: Knobs | None, target: Target, cpu: str
) -> CompiledKernel | EmulatedKernel:
    return EmulatedKernel(kernel, knobs, target, cpu=cpu) if cpu else CompiledKernel(kernel, knobs, target)


class _Place:
    """A buffer of random bytes with a view of `shape` in its middle, as the parameter strides it."""

    def __init__(self, parameter: Parameter, shape: Shape, rng: np.random.Generator) -> None:
        dtype = np.dtype(parameter.dtype)
        steps = parameter.strides or tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        reach = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        # A pointer is aligned as little as the parameter allows.
        self.offset = (MARGIN + parameter.alignment % ALIGNMENT) // dtype.itemsize
        size = (self.offset + reach) * dtype.itemsize + MARGIN
        room = np.empty(size + ALIGNMENT, np.uint8)
        start = -room.ctypes.data % ALIGNMENT
        self.buffer = room[start : start + size // dtype.itemsize * dtype.itemsize].view(dtype)
        self.buffer.view(np.uint8)[:] = rng.integers(0, 256, self.buffer.nbytes, np.uint8)
        self.shape, self.steps = shape, [dtype.itemsize * step for step in steps]
        self.view = self.view_of(self.buffer)
        self.operand = At(self.buffer, self.offset)

    def view_of(self, buffer: Array) -> Array:
        """The view in a buffer like this one."""
        return np.lib.stride_tricks.as_strided(buffer[self.offset :], self.shape, self.steps, writeable=True)


# References


def factors(requantization: Requantization, channels: int, reach: int, rng: np.random.Generator) -> dict[str, Array]:
    """Constants of a requantization that spread sums of up to +-`reach` over more than the range of a byte.

    Every second channel has a power of two as its factor, so that sums lie halfway between two numbers.
    """
    slope = rng.uniform(60, 400, channels) / max(reach, 1)
    slope[::2] = 2.0 ** np.round(np.log2(slope[::2]))
    if requantization.scaling == "affine":
        offset = rng.uniform(-90, 90, channels).astype(np.float32)
        offset[::2] = np.round(2 * offset[::2]) / 2
        return {"scale": slope.astype(np.float32), "offset": offset}
    bias = rng.integers(-reach // 4, reach // 4 + 1, channels).astype(np.int32)
    if requantization.scaling == "float32":
        return {"bias": bias, "scale": slope.astype(np.float32)}
    fraction, exponent = np.frexp(slope)
    multiplier = np.minimum(np.round(fraction * 2.0**31), 2**31 - 1).astype(np.int32)
    shift = exponent.astype(np.int32)
    for channel, extreme in zip(range(1, channels, 3), (3, -31, 0), strict=False):
        shift[channel] = extreme
    multiplier[-1:], shift[-1:] = (0, 0) if channels > 4 else (multiplier[-1:], shift[-1:])
    return {"bias": bias, "multiplier": multiplier, "shift": shift}


def requantized(sums: Array, requantization: Requantization, constants: Mapping[str, Array]) -> Array:
    """Sums [..., C] -> int8."""
    low, high, zero_point = requantization.low, requantization.high, requantization.zero_point
    if requantization.scaling == "affine":
        exact = sums.astype(np.float32).astype(np.float64) * constants["scale"] + constants["offset"].astype(np.float64)
        scaled = np.rint(exact.astype(np.float32))
        return np.clip(scaled, low, high).astype(np.int8)
    total = sums + constants["bias"].astype(np.int64)
    if requantization.scaling == "float32":
        scaled = np.rint(total.astype(np.float32) * constants["scale"]).astype(np.int64)
    else:
        m, s = constants["multiplier"].astype(np.int64), constants["shift"].astype(np.int64)
        scaled = scale_by(total, m, s, requantization.scaling)
    return np.clip(scaled + zero_point, low, high).astype(np.int8)


@dataclass(frozen=True)
class Conv:
    """A convolution of `height` x `width` outputs; the input is as large as that needs. `filters` 0: depthwise."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    requantization: Requantization = PLAIN
    values: str = "random"

    def scaled(self, scaling: Scaling) -> Conv:
        """The same with another scaling, and with a zero point that it makes use of."""
        return replace(self, requantization=replace(self.requantization, scaling=scaling, zero_point=5))

    @property
    def image(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        taps = zip((self.height, self.width), self.kernel, self.stride, self.dilation, strict=True)
        rows, columns = ((n - 1) * s + (k - 1) * d + 1 for n, k, s, d in taps)
        return rows, columns

    def pixels(self, x: Array, r: int, q: int) -> Array:
        """What the tap (r, q) sees: [height, width, C]."""
        top, left = r * self.dilation[0], q * self.dilation[1]
        rows = slice(top, top + (self.height - 1) * self.stride[0] + 1, self.stride[0])
        columns = slice(left, left + (self.width - 1) * self.stride[1] + 1, self.stride[1])
        return x[rows, columns]

    def data(self, smallest_weight: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """x [H, W, C] and weights [kh, kw, C, N] or [kh, kw, C]: random, or all at one extreme."""
        weights_shape = (*self.kernel, self.channels, *([self.filters] if self.filters else []))
        x_shape = (*self.image, self.channels)
        if self.values == "random":
            x = rng.integers(-128, 128, x_shape)
            return x.astype(np.int64), rng.integers(smallest_weight, 128, weights_shape).astype(np.int64)
        ends = {
            "low": (-128, smallest_weight),
            "high": (127, 127),
            "apart": (-128, 127),
            "across": (127, smallest_weight),
        }
        x_value, weight = ends[self.values]
        return np.full(x_shape, x_value, np.int64), np.full(weights_shape, weight, np.int64)

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}x{self.channels}-{self.filters}"
        text = f"{size}-k{self.kernel}-s{self.stride}-d{self.dilation}-{self.requantization.scaling}-{self.values}"
        return text.replace(" ", "")


def assert_conv(
    case: Conv, machine: Machine, lanes: int, panel: int, word: int, knobs: Knobs, smallest_weight: int = -127,
    reach: int = 0, unsigned: bool = False,
) -> InstructionCounts:  # fmt: skip
    """A dense convolution equals NumPy. `reach`: how large sums with their bias may become, if not left to the sums."""
    rng = np.random.default_rng(20240229)
    filters = -(-case.filters // panel) * panel
    x, weights = case.data(smallest_weight, rng)
    image, output = views(case, case.channels, filters, lanes)
    kernel = Int8ConvKernel(
        case.height, case.width, case.channels, filters, panel, lanes, word,
        case.kernel, case.stride, case.dilation, image, output, case.requantization, smallest_weight, unsigned=unsigned,
    )  # fmt: skip
    words = -(-case.channels // word)
    packed = np.zeros((*case.kernel, words * word, filters), np.int8)
    packed[:, :, : case.channels, : case.filters] = weights
    packed = packed.reshape(*case.kernel, words, word, filters // panel, panel).transpose(4, 0, 1, 2, 5, 3)
    sums = np.zeros((case.height, case.width, filters), np.int64)
    for r in range(case.kernel[0]):
        for q in range(case.kernel[1]):
            sums[..., : case.filters] += case.pixels(x, r, q) @ weights[r, q]
    constants = factors(case.requantization, filters, reach or _reach(case, case.channels), rng)
    start = {"start": unsigned_start(weights, filters)} if unsigned else {}
    inputs = {"x": in_blocks(x, lanes, rng), "weights": packed, **start, **constants}
    got, counts = run_int8(kernel, knobs, machine, inputs, (filters // lanes, case.height, case.width, lanes))
    expected = requantized(sums, case.requantization, constants)
    np.testing.assert_array_equal(out_of_blocks(got), expected)
    return counts


def assert_depthwise(
    case: Conv, machine: Machine, lanes: int, knobs: Knobs, smallest_weight: int = -127, word: int | None = None
) -> InstructionCounts:
    """A depthwise convolution equals NumPy on its true channels; by default weights lie as the target wants."""
    rng = np.random.default_rng(20240229)
    x, weights = case.data(smallest_weight, rng)
    image, output = views(case, case.channels, case.channels, lanes)
    blocks = -(-case.channels // lanes)
    word = word or int8_depthwise_word(machine.found(), case.kernel, case.stride, case.dilation)
    kernel = Int8DepthwiseKernel(
        case.height, case.width, blocks, lanes,
        case.kernel, case.stride, case.dilation, image, output, case.requantization, smallest_weight, word,
    )  # fmt: skip
    sums = sum(case.pixels(x, r, q) * weights[r, q] for r in range(case.kernel[0]) for q in range(case.kernel[1]))
    constants = factors(case.requantization, blocks * lanes, _reach(case, 1), rng)
    packed = pack_int8_depthwise(weights[:, :, None, :].astype(np.int8), lanes, word)
    inputs = {"x": in_blocks(x, lanes, rng), "weights": packed, **constants}
    got, counts = run_int8(kernel, knobs, machine, inputs, (blocks, case.height, case.width, lanes))
    expected = requantized(sums, case.requantization, {k: v[: case.channels] for k, v in constants.items()})
    np.testing.assert_array_equal(out_of_blocks(got)[..., : case.channels], expected)
    return counts


def assert_dense(
    channels: int, units: int, machine: Machine, panel: int, word: int, requantization: Requantization,
    smallest_weight: int = -127,
) -> InstructionCounts:  # fmt: skip
    """A fully connected layer equals NumPy."""
    rng = np.random.default_rng(20240229)
    x = rng.integers(-128, 128, channels)
    weights = rng.integers(smallest_weight, 128, (channels, units))
    kernel = Int8DenseKernel(channels, units, panel, word, requantization, smallest_weight)
    words = -(-channels // word)
    packed = np.zeros((words * word, units), np.int8)
    packed[:channels] = weights
    packed = packed.reshape(words, word, units // panel, panel).transpose(2, 0, 3, 1)
    constants = factors(requantization, units, 90 * 90 * int(channels**0.5 + 1), rng)
    got, counts = run_int8(kernel, None, machine, {"x": x.astype(np.int8), "weights": packed, **constants}, (units,))
    np.testing.assert_array_equal(got, requantized(x @ weights, requantization, constants))
    return counts


def views(case: Conv, channels: int, filters: int, lanes: int) -> tuple[Strides, Strides]:
    """Strides of an input and an output with gaps between rows and blocks."""
    rows, columns = case.image
    image = Blocked(rows + 1, columns + 2, channels, lanes)
    return image.strides, Blocked(case.height + 2, case.width + 1, filters, lanes).strides


def in_blocks(image: Array, lanes: int, rng: np.random.Generator | None) -> Array:
    """[H, W, C] -> int8 [ceil(C / lanes), H, W, lanes]; lanes beyond C are random, or 0 without `rng`."""
    height, width, channels = image.shape
    blocks = -(-channels // lanes)
    padded = np.zeros((height, width, blocks * lanes), np.int8)
    if rng is not None:
        padded[:] = rng.integers(-128, 128, padded.shape)
    padded[..., :channels] = image
    return padded.reshape(height, width, blocks, lanes).transpose(2, 0, 1, 3)


def out_of_blocks(blocks: Array) -> Array:
    """[blocks, H, W, lanes] -> [H, W, blocks * lanes]."""
    count, height, width, lanes = blocks.shape
    return blocks.transpose(1, 2, 0, 3).reshape(height, width, count * lanes)


def _reach(case: Conv, channels: int) -> int:
    """What the sums of a case reach, roughly."""
    products = channels * case.kernel[0] * case.kernel[1]
    return 90 * 90 * int(products**0.5 + 1) if case.values == "random" else 128 * 128 * products
