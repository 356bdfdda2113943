"""Layers for Helium (Armv8.1-M MVE): how depthwise images lie in between, inner loops that layers share, their numbers.

VMLADAV adds up 16 products of bytes. A pointwise sum takes one of it for 16 channels. For a depthwise one, rows of the
image are interleaved channel by channel, [channel][column][rows]: 16 bytes are then a window of 4 x 4 pixels, and one
VMLADAV is a whole sum of 3 x 3 taps. Taps of the window that are not there have zeros as weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

from dscompile.ir.network import Array
from dscompile.ir.storage import Storage, is_narrow, is_sparse
from dscompile.plan.mcu.bodies import SumFinish, Uses
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.windows import Window

VECTOR = 16  # bytes
_ROWS = 4  # that are interleaved at least
_LARGEST_OFFSET = 127  # of a load of bytes, from its base register
_UNROLLED_VALUES = 256  # of depth, in templates/mcu/matrix_mve.j2, after the first step
_STEP_INSTRUCTIONS: dict[Storage, int] = {"plain": 14, "int4": 15, "2:4": 27, "int4-2:4": 29}
_WEIGHT_BYTES: dict[Storage, int] = {"plain": 32, "int4": 16, "2:4": 40, "int4-2:4": 24}
"""Of two channels in a step."""
_MOST_PIXELS = 64  # that lie between depthwise and pointwise


@dataclass(frozen=True)
class Block:
    """The rows of an image that a row of depthwise outputs, or two, is computed from: [C][pitch], interleaved.

    `rows` rows of the image, in `cell` bytes per pixel, give `made` rows of outputs (2: both from the same window of
    4 x 4 pixels; columns are in reverse and go by twos then, otherwise by fours). An output reads `chunks` vectors, the
    next one begins `apart` bytes on. A `ring` keeps its rows, of which the next outputs need all but two.
    """

    rows: int
    cell: int
    made: int
    chunks: int
    apart: int
    groups: int
    pitch: int
    ring: bool

    @property
    def squares(self) -> bool:
        """Whether four outputs are a square."""
        return self.made == 2


def block_of(window: Window) -> Block | None:
    """The block for a window, or None if its loads are too far apart for the instructions."""
    rows, columns = window.rows, window.columns
    width = (columns.kernel - 1) * columns.dilation + 1
    if rows.kernel <= 3 and width <= 3 and rows.stride == columns.stride == rows.dilation == 1:
        groups = -(-columns.outputs // 2)
        return Block(rows.kernel + 1, _ROWS, 2, 1, _ROWS, groups, (2 * groups + 2) * _ROWS, ring=True)
    cell = -(-rows.kernel // _ROWS) * _ROWS
    chunks = -(-width * cell // VECTOR)
    apart = columns.stride * cell
    if (chunks - 1) * VECTOR + 3 * apart > _LARGEST_OFFSET:
        return None
    groups = -(-columns.outputs // 4)
    ring = cell == _ROWS and chunks == 1 and rows.stride == 2 and rows.dilation == 1
    return Block(rows.kernel, cell, 1, chunks, apart, groups, (4 * groups - 1) * apart + chunks * VECTOR, ring)


def batch_pixels(window: Window) -> int:
    """Pixels of whole rows that are computed before any of them is multiplied further: a multiple of 4 if that fits."""
    block, width = block_of(window), window.columns.outputs
    assert block is not None
    rows = block.made
    while rows * width % 4 and rows < window.rows.outputs and (rows + block.made) * width <= _MOST_PIXELS:
        rows += block.made
    return min(rows, window.rows.outputs) * width


@dataclass(frozen=True)
class Finish:
    """How sums become bytes: `start` says whether there is a zero point to add, `step` whether a third constant.

    With a `scale`, the second constant is the bits of a float32, and lanes are rounded as floats.
    """

    right: int
    low: int
    high: int
    start: bool
    step: bool
    scale: bool = False

    @property
    def constants(self) -> int:
        """Integers per channel."""
        return 3 if self.step else 2


@dataclass(frozen=True)
class MatrixBody:
    """The product of pixels with all channels; a `deep` one goes through its unrolled loop more than once."""

    kind = "mve_matrix"
    finish: Finish
    sum: SumFinish | None
    deep: bool
    storage: Storage = "plain"

    @property
    def sparse(self) -> bool:
        """Whether two of four weights are left out."""
        return is_sparse(self.storage)

    @property
    def narrow(self) -> bool:
        """Whether weights have four bits."""
        return is_narrow(self.storage)

    @property
    def unrolled(self) -> int:
        """Steps of the loop."""
        return unrolled_steps(self.storage)

    @property
    def step_bytes(self) -> int:
        """Bytes of the weights of two channels in a step."""
        return _WEIGHT_BYTES[self.storage]

    @property
    def fours(self) -> str:
        """The register that says which four of a column each lane belongs to; a sum has constants in others."""
        return "q6" if self.sum else "q4"


@dataclass(frozen=True)
class DepthwiseBody:
    """Outputs of one block; fields as those of Block."""

    kind = "mve_depthwise"
    finish: Finish
    squares: bool
    chunks: int
    apart: int
    ring: bool


Body = MatrixBody | DepthwiseBody


@dataclass(frozen=True)
class MatrixShape:
    """What a MatrixBody is given; fields and order are those of `mve_matrix_shape` in C.

    Bytes from a pixel to the next, of the columns and of y; bytes of the weights of all pairs of channels; where the
    assembly enters its unrolled loop and how often it goes through it; channels; factor of sums (2^left) and zero point
    << right; then bytes per pixel of the residual and the constants of its sum.
    """

    column_step: int
    y_step: int
    weight_bytes: int
    entry: int
    rounds: int
    channels: int
    factor: int
    start: int
    residual_step: int = 0
    first: int = 0
    second: int = 0
    bias: int = 0


@dataclass(frozen=True)
class DepthwiseShape:
    """What a DepthwiseBody is given; fields and order are those of `mve_depthwise_shape` in C.

    Bytes of a channel in the block; groups of four outputs; bytes of the columns from a pixel to the next and from a
    row to the next; channels; factor and start as for MatrixShape.
    """

    pitch: int
    groups: int
    column_step: int
    row_step: int
    channels: int
    factor: int
    start: int


def used_mve_bodies(kernels: Iterable[McuKernel]) -> dict[Body, Uses]:
    """The bodies that kernels share, in the order of their first use."""
    bodies = [body for kernel in kernels for body in _bodies(kernel)]
    return dict.fromkeys(bodies, Uses())


def _bodies(kernel: McuKernel) -> Iterable[Body]:
    if not isinstance(kernel, ConvKernel | DepthwiseKernel | SeparableKernel) or kernel.variant != "mve":
        return
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel):
        yield mve_depthwise_body(depthwise)
    if not isinstance(kernel, DepthwiseKernel):
        yield mve_matrix_body(kernel)


def _finish(epilogue: IntegerEpilogue) -> Finish:
    stepped = epilogue.method == "stepped"
    return Finish(epilogue.right, epilogue.low, epilogue.high, epilogue.zero_point != 0, stepped, epilogue.has_scale)


def step_values(storage: Storage) -> int:
    """Values of depth that a step takes."""
    return 2 * VECTOR if is_sparse(storage) else VECTOR


def mve_storage(storage: Storage, depth: int) -> Storage:
    """How weights are stored that should be stored so: none are left out if they fill half a step at most.

    They would take more bytes, because steps are whole, and more instructions.
    """
    if not is_sparse(storage) or depth > VECTOR:
        return storage
    return "int4" if is_narrow(storage) else "plain"


def unrolled_steps(storage: Storage) -> int:
    """Steps of the loop of a body, which come after a first one."""
    return _UNROLLED_VALUES // step_values(storage)


def _steps(kernel: ConvKernel | SeparableKernel) -> int:
    return -(-kernel.depth // step_values(kernel.storage))


def padded_depth(depth: int) -> int:
    """Bytes of a column: whole vectors."""
    return -(-depth // VECTOR) * VECTOR


def _entry(steps: int, unrolled: int) -> int:
    """Steps of the unrolled loop that are left out at first, of a product of `steps`; the first is not in the loop."""
    return unrolled if steps == 1 else (1 - steps) % unrolled


def mve_matrix_body(kernel: ConvKernel | SeparableKernel) -> MatrixBody:
    """The body of a kernel."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    total = kernel.residual.integer if kernel.residual is not None else None
    finish = SumFinish(total.right, total.low, total.high) if total else None
    deep = _steps(kernel) - 1 > unrolled_steps(kernel.storage)
    return MatrixBody(_finish(epilogue), finish, deep, kernel.storage)


def mve_matrix_shape(kernel: ConvKernel | SeparableKernel) -> MatrixShape:
    """The numbers of a kernel."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    steps, unrolled = _steps(kernel), unrolled_steps(kernel.storage)
    gathered = isinstance(kernel, ConvKernel) and kernel.gathered
    direction = -1 if kernel.descending and gathered else 1
    total = kernel.residual.integer if kernel.residual is not None else None
    return MatrixShape(
        column_step=padded_depth(kernel.depth),
        y_step=direction * kernel.y_step,
        weight_bytes=steps * _WEIGHT_BYTES[kernel.storage] * -(-kernel.out_channels // 2),
        entry=4 * _STEP_INSTRUCTIONS[kernel.storage] * _entry(steps, unrolled) + 1,  # odd, as Thumb addresses are
        rounds=-(-(steps - 1) // unrolled),
        channels=kernel.out_channels,
        factor=1 << epilogue.left,
        start=epilogue.zero_point * (1 << epilogue.right),
        residual_step=direction * kernel.out_channels if total else 0,
        first=total.first if total else 0,
        second=total.second if total else 0,
        bias=total.bias if total else 0,
    )


def mve_depthwise_body(kernel: DepthwiseKernel) -> DepthwiseBody:
    """The body of a kernel."""
    block = block_of(kernel.window)
    assert block is not None
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    return DepthwiseBody(_finish(kernel.epilogue), block.squares, block.chunks, block.apart, block.ring)


def mve_depthwise_shape(kernel: DepthwiseKernel) -> DepthwiseShape:
    """The numbers of a kernel."""
    block, epilogue = block_of(kernel.window), kernel.epilogue
    assert block is not None
    assert isinstance(epilogue, IntegerEpilogue)
    column_step = padded_depth(kernel.window.channels)
    return DepthwiseShape(
        pitch=block.pitch,
        groups=block.groups,
        column_step=column_step,
        row_step=column_step * kernel.window.columns.outputs,
        channels=kernel.window.channels,
        factor=1 << epilogue.left,
        start=epilogue.zero_point * (1 << epilogue.right),
    )


def block_bytes(window: Window) -> int:
    """Bytes of a block; of channels in whole eights, which are written together."""
    block = block_of(window)
    assert block is not None
    return -(-window.channels // 8) * 8 * block.pitch


def mve_scratch_bytes(kernel: ConvKernel | DepthwiseKernel | SeparableKernel) -> int:
    """Bytes of `columns`: the pixels of a group; of a depthwise convolution also its block and one pixel of padding.

    A row of outputs is rounded up to whole groups of four; what is too much lies where the next row begins.
    """
    if isinstance(kernel, ConvKernel):
        behind = VECTOR if is_sparse(kernel.storage) else 0  # that a last step reads of the last column
        return kernel.group * padded_depth(kernel.depth) + behind if kernel.gathered else 0
    return columns_bytes(kernel) + block_bytes(kernel.window) + padded_depth(kernel.window.channels)


def columns_bytes(kernel: DepthwiseKernel | SeparableKernel) -> int:
    """Bytes between the two parts of a separable convolution."""
    width = kernel.window.columns.outputs
    block = block_of(kernel.window)
    assert block is not None
    rows = -(-kernel.group // width // block.made) * block.made
    return (rows * width + 3) * padded_depth(kernel.window.channels)


def mve_taps(taps: Array, window: Window) -> Array:
    """[kh, kw, C] -> [C][4 chunks][4], columns of interleaved rows as a block has them.

    The columns of squares are in reverse, as in their block, after one of zeros; the next channel's zeros end them.
    So 16 bytes from the first on are the window of a left output, from the second column on that of a right one.
    """
    block = block_of(window)
    assert block is not None
    rows, columns, channels = taps.shape
    packed = np.zeros((channels, block.chunks * VECTOR // block.cell, block.cell), np.int8)
    spread = slice(0, (columns - 1) * window.columns.dilation + 1, window.columns.dilation)
    packed[:, spread, :rows] = taps.transpose(2, 1, 0)
    if not block.squares:
        return packed.reshape(-1)
    return np.append(packed[:, ::-1].reshape(-1), np.zeros(_ROWS, np.int8))


def shape_numbers(shape: MatrixShape | DepthwiseShape) -> list[str]:
    """A shape as C."""
    return [str(value) for value in astuple(shape)]
