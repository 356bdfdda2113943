"""Inner loops of the DSP kernels that layers share: what a loop is compiled for, and the numbers that it is given.

A `Body` is a function in C. Whatever differs between layers and costs next to nothing at run time is in a shape, a
constant structure, so that one function serves many layers; whatever is an immediate of an instruction is in the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from dscompile.plan.integer_sums import Halves
from dscompile.plan.mcu.arithmetic import IntegerSum
from dscompile.plan.mcu.epilogues import Finish, IntegerEpilogue, finish_of
from dscompile.plan.mcu.held import HeldBody, held_body
from dscompile.plan.mcu.kernels import McuKernel, pixels_of
from dscompile.plan.mcu.planes import (
    Pattern,
    PlanesShape,
    RowWalk,
    factor_shift,
    row_pieces,
    row_walk,
    weight_words,
)
from dscompile.plan.mcu.products import (
    ConvKernel,
    DepthwiseKernel,
    SeparableKernel,
    half_up,
    planes_pitch,
    rows_steps,
)
from dscompile.plan.mcu.rows import (
    LATE_BLOCKS,
    Block,
    group_places,
    row_segments,
    row_slots,
    y_row_bytes,
)
from dscompile.plan.mcu.scaling import ScaleBody, scale_body
from dscompile.plan.mcu.small_kernels import ScaleKernel
from dscompile.plan.mcu.turned import TurnedShape, runs_of_slots, tap_words, turned_pitch
from dscompile.plan.mcu.windows import Axis

UNROLLED_STEPS = 16  # of templates/mcu/matrix_dsp.j2, after the first
_STEP_BYTES = 12 * 4
_STEP_BYTES_APART = 13 * 4
FEW_SINGLES = 1 / 50  # of the products of layers: two words a step then save less than 1 % of them, for 108 B of code
_FOUR = 4  # channels in a word
_FAR_STORE = 4095  # bytes that a store can add to an address
_WHOLE_TAPS = 9  # at most, of windows whose rows are unrolled too


@dataclass(frozen=True)
class SumFinish:
    """How a residual is added."""

    right: int
    low: int
    high: int
    halves: Halves | None = None


@dataclass(frozen=True)
class MatrixBody:
    """The product of columns of int16 pairs with all channels; `in_rows`: y is in rows (plan/mcu/rows.py).

    Two weights share a half of a word (plan/mcu/pairs.py), or lie `apart`; with `int4` they share a byte. With a
    `lookup`, results are read from a table. Columns of a `short` one have so few words that its steps are no loop.
    """

    kind: ClassVar[str] = "matrix"
    finish: Finish
    sum: SumFinish | None
    in_rows: bool = False
    apart: bool = False
    int4: bool = False
    lookup: bool = False
    short: bool = False

    @property
    def step_bytes(self) -> int:
        """Of a step of its unrolled loop."""
        return _STEP_BYTES_APART if self.apart else _STEP_BYTES


@dataclass(frozen=True)
class DepthwiseBody:
    """One depthwise pixel with `taps` columns of its window inside the image; a `whole` one has all rows inside, too.

    The result is a column of int16 pairs (`column`) or bytes; with a `lookup` it is read from a table.
    """

    kind: ClassVar[str] = "depthwise"
    finish: Finish
    kernel_rows: int
    kernel_columns: int
    taps: int
    whole: bool
    column: bool
    lookup: bool = False


@dataclass(frozen=True)
class RowsBody:
    """Some outputs of a row of an image in rows, in all channels: 3x3 windows (plan/mcu/rows.py)."""

    kind: ClassVar[str] = "rows"
    finish: Finish


@dataclass(frozen=True)
class SeparableBody:
    """The way through an image in rows for layers whose depthwise and pointwise parts have these bodies."""

    kind: ClassVar[str] = "separable"
    rows: RowsBody
    matrix: MatrixBody


@dataclass(frozen=True)
class TurnedBody:
    """Neighboring outputs of a row of a turned image (plan/mcu/turned.py), in all channels.

    `pitch` are bytes from a row of a channel in the ring to the next. With a `lookup`, results are read from a table.
    """

    kind: ClassVar[str] = "turned"
    finish: Finish
    kernel: int
    pitch: int
    pattern: Pattern
    lookup: bool = False


@dataclass(frozen=True)
class PlanesBody:
    """Neighboring outputs of all rows of some planes (plan/mcu/planes.py) with `pitch` bytes a row.

    Pixels and rows of y are `y_step` and `y_row_bytes` apart. Sums are still to be shifted by `shift`.
    """

    kind: ClassVar[str] = "planes"
    finish: Finish
    rows: Axis
    pitch: int
    pattern: Pattern
    y_step: int
    y_row_bytes: int
    shift: int = 0
    lookup: bool = False

    @property
    def kernel(self) -> int:
        """Rows of a window."""
        return self.rows.kernel

    @property
    def weight_words(self) -> int:
        """Words of weights of a row of the window."""
        return weight_words(self.kernel)

    @property
    def record_words(self) -> int:
        """Integers of a channel's record."""
        return self.finish.constants + self.kernel * self.weight_words

    @property
    def walk(self) -> RowWalk:
        """The way through the rows."""
        return row_walk(self.rows, self.pitch)

    @property
    def spare(self) -> int:
        """Registers that neither sums nor weights take: the last has the place in y, the one before it the table."""
        return 10 - self.weight_words - self.pattern.outputs

    @property
    def stores(self) -> tuple[tuple[int, int], ...]:
        """For each output the bytes to go on in y before it is stored, and the offset at which it is."""
        found, begin = list[tuple[int, int]](), 0
        for output in range(self.pattern.outputs):
            place = output * self.y_step
            on = place - begin if place - begin > _FAR_STORE else 0
            begin += on
            found.append((on, place - begin))
        return tuple(found)

    @property
    def row_end(self) -> int:
        """Bytes from where the stores of a row have gone on to, to the next row."""
        return self.y_row_bytes - sum(on for on, _ in self.stores)


@dataclass(frozen=True)
class TurningBody:
    """Four channels of an image, or of a row of it, become planes."""

    kind: ClassVar[str] = "turning"


Body = (
    MatrixBody | DepthwiseBody | RowsBody | SeparableBody | TurnedBody | PlanesBody | TurningBody | ScaleBody | HeldBody
)


@dataclass(frozen=True)
class MatrixShape:
    """What a MatrixBody is given; fields and order are those of `matrix_shape` in C.

    Bytes of a group's columns and of the weights of all pairs of channels; where the assembly enters its unrolled loop;
    bytes from one pixel of y to the next on its way; factor of sums (2^left) and zero point << right; channels; then
    the residual's bytes per pixel and the constants of its sum.
    """

    column_bytes: int
    weight_bytes: int
    entry: int
    y_step: int
    factor: int
    start: int
    channels: int
    residual_step: int = 0
    first: int = 0
    second: int = 0
    bias: int = 0


@dataclass(frozen=True)
class RowsMatrixShape:
    """What a MatrixBody with y in rows is given; fields and order are those of `matrix_rows_shape` in C.

    As MatrixShape, but for the bytes from a channel to the next, and those from a group's first pixel to the others.
    """

    column_bytes: int
    weight_bytes: int
    entry: int
    channel_step: int
    factor: int
    start: int
    channels: int
    second: int
    third: int
    fourth: int


@dataclass(frozen=True)
class SeparableShape:
    """What a SeparableBody is given; fields and order are those of `separable_shape` in C.

    Channels of the image and of the result, rows and columns of both; bytes from a pixel of y to the next, if y is not
    in rows; stride; rows missing above the first window, columns missing before the first and after the last; left
    shift and zero point of the result (plus 128 if it is in rows); whether rows go from the last to the first; the
    constants of the residual's sum.
    """

    channels: int
    out_channels: int
    height: int
    width: int
    y_height: int
    y_width: int
    y_step: int
    stride: int
    above: int
    before: int
    after: int
    left: int
    zero_point: int
    descending: int
    first: int = 0
    second: int = 0
    bias: int = 0


@dataclass(frozen=True)
class DepthwiseShape:
    """What a DepthwiseBody is given; fields and order are those of `depthwise_shape` in C.

    Bytes from a tap to the next and from a row to the next; less the zero point in both halves of a word; factor and
    start as for MatrixShape; channels, and less the zero point.
    """

    tap_bytes: int
    row_bytes: int
    offsets: int
    factor: int
    start: int
    channels: int
    offset: int


def matrix_body(kernel: ConvKernel | SeparableKernel) -> MatrixBody:
    """The body of a kernel with dsp."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    total = _residual_sum(kernel)
    added = SumFinish(total.right, total.low, total.high, total.halves) if total else None
    int4, short = kernel.storage == "int4", isinstance(kernel, ConvKernel) and kernel.short
    return MatrixBody(finish_of(epilogue), added, kernel.in_rows, kernel.apart, int4, kernel.lookup, short)


def matrix_shape(kernel: ConvKernel | SeparableKernel) -> MatrixShape:
    """The numbers of a kernel with dsp."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    steps = _steps(kernel)
    direction = -1 if _goes_down(kernel) else 1
    shape = MatrixShape(
        column_bytes=16 * steps,
        weight_bytes=_weight_bytes(kernel),
        entry=_entry(kernel),
        y_step=direction * kernel.y_step,
        factor=1 << epilogue.left,
        start=epilogue.zero_point * (1 << epilogue.right),
        channels=kernel.out_channels,
    )
    total = _residual_sum(kernel)
    if total is None:
        return shape
    return replace(
        shape,
        residual_step=direction * kernel.out_channels,
        first=total.first,
        second=total.second,
        bias=total.bias,
    )


def rows_matrix_shapes(kernel: ConvKernel | SeparableKernel) -> tuple[RowsMatrixShape, ...]:
    """The numbers of a kernel with dsp and y in rows, one for each of plan/mcu/rows.py: group_places."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    steps = _steps(kernel)
    width = kernel.window.columns.outputs
    return tuple(
        RowsMatrixShape(
            column_bytes=16 * steps,
            weight_bytes=_weight_bytes(kernel),
            entry=_entry(kernel),
            channel_step=width,
            factor=1 << epilogue.left,
            start=(epilogue.zero_point + 128) * (1 << epilogue.right),
            channels=kernel.out_channels,
            second=places[0],
            third=places[1],
            fourth=places[2],
        )
        for places in group_places(width, y_row_bytes(kernel), descending=_goes_down(kernel))
    )


def _goes_down(kernel: ConvKernel | SeparableKernel) -> bool:
    """Whether the pixels of a group follow each other downwards; those from rows of channels never do."""
    return kernel.descending and not _reads_rows(kernel)


def _reads_rows(kernel: McuKernel) -> bool:
    return isinstance(kernel, SeparableKernel) and kernel.depthwise.variant in ("rows", "turned")


def _steps(kernel: ConvKernel | SeparableKernel) -> int:
    """Words of a column."""
    if _reads_rows(kernel):
        return rows_steps(kernel.depth, kernel.storage)
    return -(-kernel.depth // 4) * 2


def _weight_bytes(kernel: ConvKernel | SeparableKernel) -> int:
    """Bytes of the weights of all pairs of channels; a word is of one step, or of two."""
    word_steps = 2 if kernel.storage == "int4" else 1
    return 4 * _steps(kernel) // word_steps * (kernel.out_channels // 2)


def _entry(kernel: ConvKernel | SeparableKernel) -> int:
    """Where the unrolled loop is entered; odd, as addresses of Thumb code are."""
    return (1 - _steps(kernel)) % UNROLLED_STEPS * matrix_body(kernel).step_bytes + 1


def rows_body(kernel: DepthwiseKernel) -> RowsBody:
    """The body of a kernel with x in rows."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    return RowsBody(finish_of(kernel.epilogue))


def first_slots(kernel: DepthwiseKernel) -> tuple[int, ...]:
    """The places in their groups that the first outputs of rows have, row after row until they repeat."""
    return (0,) if kernel.by_row or kernel.late else row_slots(kernel.window.columns)


def row_blocks(kernel: DepthwiseKernel) -> frozenset[Block]:
    """The blocks of its body that a kernel with x in rows needs; those that lie behind others among them."""
    columns, rows = kernel.window.columns, kernel.window.rows
    segments = [segment for slot in first_slots(kernel) for segment in row_segments(columns, slot, late=kernel.late)]
    found = {block for segment in segments for block in segment.blocks}
    taps = [rows.taps(output) for output in range(rows.outputs)]
    if any(first for first, _ in taps):
        found.add("up")
    if any(end < rows.kernel for _, end in taps):
        found.add("down")
    behind: tuple[tuple[Block, Block], ...] = (("ones_3", "ones_2"), ("ones_2", "ones_1"))
    for block, next_block in behind:
        found |= {next_block} if block in found else set()
    return frozenset(found)


def separable_body(kernel: SeparableKernel) -> SeparableBody:
    """The body of a kernel with x in rows."""
    return SeparableBody(rows_body(kernel.depthwise), matrix_body(kernel))


def separable_shape(kernel: SeparableKernel) -> SeparableShape:
    """The numbers of a kernel with x in rows."""
    epilogue, rows, columns = kernel.epilogue, kernel.window.rows, kernel.window.columns
    assert isinstance(epilogue, IntegerEpilogue)
    shape = SeparableShape(
        channels=kernel.window.channels,
        out_channels=kernel.out_channels,
        height=rows.size,
        width=columns.size,
        y_height=rows.outputs,
        y_width=columns.outputs,
        y_step=kernel.y_step,
        stride=columns.stride,
        above=rows.taps(0)[0],
        before=columns.taps(0)[0],
        after=columns.kernel - columns.taps(columns.outputs - 1)[1],
        left=epilogue.left,
        zero_point=epilogue.zero_point + (128 if kernel.in_rows else 0),
        descending=int(kernel.descending),
    )
    total = _residual_sum(kernel)
    return shape if total is None else replace(shape, first=total.first, second=total.second, bias=total.bias)


def turned_body(kernel: DepthwiseKernel, pattern: Pattern) -> TurnedBody:
    """The body of a kernel with a turned image for outputs that have a pattern."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    window = kernel.window
    return TurnedBody(finish_of(kernel.epilogue), window.rows.kernel, turned_pitch(window), pattern, kernel.lookup)


def turned_bodies(kernel: DepthwiseKernel) -> list[TurnedBody]:
    """All that a kernel with a turned image needs."""
    return list(dict.fromkeys(turned_body(kernel, run.pattern) for runs in runs_of_slots(kernel) for run in runs))


def turned_shape(kernel: DepthwiseKernel) -> TurnedShape:
    """The numbers of a kernel with a turned image."""
    epilogue, channels = kernel.epilogue, kernel.window.channels
    assert isinstance(epilogue, IntegerEpilogue)
    start, channel_bytes = epilogue.zero_point * (1 << epilogue.right), 4 * tap_words(kernel.window)
    return TurnedShape(start, half_up(channels) * channel_bytes, channels * channel_bytes)


def turning_shape(kernel: DepthwiseKernel) -> PlanesShape:
    """The numbers with which a row of the image of such a kernel is turned into its place in the ring."""
    window = kernel.window
    return PlanesShape(
        height=1,
        width=window.columns.size,
        channels=window.channels,
        plane_bytes=window.rows.kernel * turned_pitch(window),
        offsets=(-kernel.zero_point & 0xFFFF) * 0x10001,
    )


def planes_bodies(kernel: DepthwiseKernel) -> list[PlanesBody]:
    """The bodies of a kernel by planes, one for each piece of a row."""
    epilogue, window = kernel.epilogue, kernel.window
    assert isinstance(epilogue, IntegerEpilogue)
    return [
        PlanesBody(
            finish=finish_of(epilogue),
            rows=window.rows,
            pitch=planes_pitch(window),
            pattern=piece.pattern,
            y_step=kernel.y_step,
            y_row_bytes=window.columns.outputs * kernel.y_step,
            shift=factor_shift(epilogue),
            lookup=kernel.lookup,
        )
        for piece in row_pieces(window.columns)
    ]


def _residual_sum(kernel: ConvKernel | SeparableKernel) -> IntegerSum | None:
    return kernel.residual.integer if kernel.residual is not None else None


def depthwise_body(kernel: DepthwiseKernel, taps: int, *, whole: bool, column: bool) -> DepthwiseBody:
    """The body for pixels with `taps` columns of the window inside the image."""
    assert isinstance(kernel.epilogue, IntegerEpilogue)
    rows, columns = kernel.window.kernel
    return DepthwiseBody(finish_of(kernel.epilogue), rows, columns, taps, whole, column, kernel.lookup)


def depthwise_bodies(kernel: DepthwiseKernel, *, column: bool) -> list[DepthwiseBody]:
    """All that a kernel needs."""
    bodies = []
    for taps in sorted({span.taps[1] - span.taps[0] for span in kernel.window.columns.spans}):
        if has_whole_rows(kernel, taps):
            bodies.append(depthwise_body(kernel, taps, whole=True, column=column))
        if has_partial_rows(kernel, taps):
            bodies.append(depthwise_body(kernel, taps, whole=False, column=column))
    return bodies


def has_whole_rows(kernel: DepthwiseKernel, taps: int) -> bool:
    """Whether pixels of `taps` columns that have all rows of the window inside the image have a body for these."""
    few = kernel.window.rows.kernel * taps <= _WHOLE_TAPS
    return few and taps > 0 and any(_is_whole(kernel.window.rows, row) for row in range(kernel.window.rows.outputs))


def has_partial_rows(kernel: DepthwiseKernel, taps: int) -> bool:
    """Whether some pixels of `taps` columns need the body that counts rows."""
    rows = kernel.window.rows
    return not has_whole_rows(kernel, taps) or not all(_is_whole(rows, row) for row in range(rows.outputs))


def _is_whole(axis: Axis, output: int) -> bool:
    return axis.taps(output) == (0, axis.kernel)


def depthwise_shape(kernel: DepthwiseKernel) -> DepthwiseShape:
    """The numbers of a kernel with dsp."""
    epilogue = kernel.epilogue
    assert isinstance(epilogue, IntegerEpilogue)
    window = kernel.window
    return DepthwiseShape(
        tap_bytes=window.columns.dilation * window.channels,
        row_bytes=window.rows.dilation * window.columns.size * window.channels,
        offsets=(-kernel.zero_point & 0xFFFF) * 0x10001,
        factor=1 << epilogue.left,
        start=epilogue.zero_point * (1 << epilogue.right),
        channels=window.channels,
        offset=-kernel.zero_point,
    )


def _parts_singles(kernel: ConvKernel | SeparableKernel) -> bool:
    """Whether code of groups is left out where a call has less than four pixels."""
    if isinstance(kernel, SeparableKernel):
        return kernel.depthwise.variant == "turned"
    return kernel.reads_pixels


@dataclass(frozen=True)
class Uses:
    """What kernels want of a body besides its main function: single pixels, and channels that fill no pair or four.

    `products` are those of all pixels, `single_products` those of pixels that fill no group. `alone` says that some
    layer has one channel, which no other one can be a pair with, `fours` that the code of some layer has groups of four
    pixels, though it may never come to one. `parts` are what kernels call of a body that has
    several: blocks of a RowsBody, and `stride 1` or `stride 2`; of a SeparableBody `row`, `image` and `late`, `up` and
    `down` for the ways through it.
    """

    single_products: int = 0
    products: int = 0
    odd: bool = False
    alone: bool = False
    fours: bool = False
    parts: frozenset[str] = frozenset()

    @property
    def singles(self) -> bool:
        """Whether there are pixels that fill no group."""
        return self.single_products > 0

    @property
    def late(self) -> bool:
        """Whether the last pixels of rows are late in some layer, of a RowsBody or a SeparableBody."""
        return not self.parts.isdisjoint(("late", *LATE_BLOCKS))

    @property
    def mostly_fours(self) -> bool:
        """Whether single pixels are hardly any work: their loop is then small instead of fast."""
        return self.single_products <= self.products * FEW_SINGLES

    def __or__(self, other: Uses) -> Uses:
        return Uses(
            self.single_products + other.single_products,
            self.products + other.products,
            self.odd or other.odd,
            self.alone or other.alone,
            self.fours or other.fours,
            self.parts | other.parts,
        )


def used_bodies(kernels: Iterable[McuKernel]) -> dict[Body, Uses]:
    """The bodies that kernels share, in the order of their first use."""
    found: dict[Body, Uses] = {}
    for kernel in kernels:
        for body, uses in _bodies(kernel):
            found[body] = found.get(body, Uses()) | uses
    return found


def _bodies(kernel: McuKernel) -> Iterable[tuple[Body, Uses]]:
    if isinstance(kernel, ScaleKernel) and kernel.channels >= _FOUR:
        yield scale_body(kernel), Uses()
    if isinstance(kernel, DepthwiseKernel) and kernel.variant == "planes":
        yield TurningBody(), Uses()
        yield from ((body, Uses()) for body in planes_bodies(kernel))
    if isinstance(kernel, ConvKernel) and kernel.variant == "held":
        yield held_body(kernel), Uses(odd=kernel.out_channels % 2 > 0)
    if not isinstance(kernel, ConvKernel | DepthwiseKernel | SeparableKernel) or kernel.variant != "dsp":
        return
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "rows":
        stride = f"stride {depthwise.window.columns.stride}"
        yield rows_body(depthwise), Uses(parts=row_blocks(depthwise) | {stride})
    elif isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "turned":
        yield TurningBody(), Uses()
        yield from ((body, Uses()) for body in turned_bodies(depthwise))
    elif isinstance(depthwise, DepthwiseKernel):
        for each in depthwise_bodies(depthwise, column=isinstance(kernel, SeparableKernel)):
            yield each, Uses(odd=depthwise.out_channels % 4 > 0)
    if not isinstance(kernel, DepthwiseKernel):
        pixels = pixels_of(kernel)
        products = kernel.depth * kernel.out_channels  # of a pixel
        uses = Uses(
            single_products=pixels % 4 * products,
            products=pixels * products,
            odd=kernel.out_channels % 2 > 0,
            alone=kernel.out_channels == 1,
            # The code of pixels that fill no group is apart from that of groups where they need not be gathered.
            fours=pixels >= 4 or not _parts_singles(kernel),
        )
        yield matrix_body(kernel), uses
        if isinstance(kernel, SeparableKernel) and kernel.depthwise.variant == "rows":
            rows = "row" if kernel.by_row else "late" if kernel.depthwise.late else "image"
            parts = frozenset((rows, "down" if kernel.descending else "up"))
            yield separable_body(kernel), replace(uses, parts=parts)
