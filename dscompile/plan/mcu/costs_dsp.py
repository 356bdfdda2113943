"""What the kernels for 16-bit SIMD execute: templates/mcu/matrix_dsp.j2, depthwise_taps_dsp.j2, depthwise_rows.j2.

Assembly is counted exactly, piece by piece as the templates write it. The C around it is what GCC 12 makes of it with
-O2, rounded: other compilers differ there by a few instructions for each group of pixels.
"""

from __future__ import annotations

from dscompile.plan.mcu.bodies import (
    FEW_SINGLES,
    DepthwiseBody,
    MatrixBody,
    PlanesBody,
    RowsBody,
    SumFinish,
    depthwise_body,
    first_slots,
    has_whole_rows,
    matrix_body,
    matrix_shape,
    planes_bodies,
    rows_body,
    rows_matrix_shapes,
    turned_body,
)
from dscompile.plan.mcu.epilogues import Finish
from dscompile.plan.mcu.held import HeldBody, held_body
from dscompile.plan.mcu.kernels import pixels_of
from dscompile.plan.mcu.mix import NOTHING, Mix, code, total
from dscompile.plan.mcu.planes import Pattern, immediates, planes_shape, row_pieces, weight_words
from dscompile.plan.mcu.products import (
    ConvKernel,
    DepthwiseKernel,
    SeparableKernel,
    half_up,
    repeats_channel,
)
from dscompile.plan.mcu.rows import Block, Segment, row_segments
from dscompile.plan.mcu.turned import Run, runs_of_rows, turned_pitch, words_before, words_behind
from dscompile.plan.mcu.windows import Axis

_GROUP = 4
_UNROLLED = 16  # steps that a pass of the matrix body has
SHORT_STEPS = _UNROLLED + 1  # that need no loop,
SHARED_STEPS = 8  # and from which on weights that share halves save more than it takes to part the sums
_CLAMP = code("3p")  # compare, IT and a move that may do nothing
_STEP_BYTES, _APART_BYTES, _PAIR_BYTES = 48, 52, 260  # of code: a step, one with weights apart, the rest of a pair
WINDOW_BYTES = 480  # of code: a channel of a depthwise part

# The matrix body, for four pixels and two channels.
_STEP = code("l c 2w p 4p 2w 4p")  # 12 instructions for 16 products
_STEP_APART = code("l c 2w 2p 4p 2w 4p")  # 13
_SHARED_PAIR = code("8p")  # taking the sums of weights that share halves apart
_PASS = code("l 2p j")
_PAIRS_CALL = code("9w p 2w l 2w 6w 2w 2p 2w 2p s p 9w j")
_PAIR = (
    code("l") + code("l j") + code("2w") + code("l 2p j")
)  # columns, into the loop, factor and start; the loop over pairs
_FLOAT_RESULT = code("15p") * 0.5  # of two sums: bias, to floats, product, to integers, zero point, clamp
_CONSTANTS, _STEPPED_CONSTANTS = code("l 2w 2c 2w 2c s"), code("l p s 3w 3c l p s 3w 3c")  # bias, multiplier, step
_WEIGHTS_KEPT = code("s l")  # in memory, where a finish wants the register
_STORED = code("2w l 5p 4s p s")
_ROWS_CALL = code("2w p 3w 2w s")
_ROWS_STORED = code("p 5w 4s p 4s p s")
_LOOKED_UP = code("l")  # where the table is; each result is a load
_RESIDUAL_CALL = code("l s")
_RESIDUAL = code("l p 4w l 3p l p s")
_RESIDUAL_SUM = code("l 3p")

# Columns that stay in registers.
_HELD_CALL, _HELD_GROUP = code("9w p 7w 2p 2w 2w 2w 2w 2w 3p 9w j"), code("2w 2w 2w p s p s p j")
_HELD_OTHERS = 10  # instructions of a channel besides products, about

# C: one pixel of a group, and a last channel without a partner.
_ONE_CALL = code("9w p 2l 2p 9w j")
_ONE_WORD = code("2l c 5p j")
_TWO_WORDS = code("2l 2p 2w 2c 8p j")
_ONE_APART = code("p")  # of a word
_ONE_PAIR = code("l 2w 8l 4c 2s 30p j")
_LAST_WORD = code("2l c 5p j")
_LAST = code("5w 5l s 20p 5w j")
_REPEATED = code("9w 5w 5w 5w 5w 3l 3s 18p 9w j")  # channel: finding its place
_LASTS = code("9w 8l 8s 36p 9w j")  # of a group of four, without the calls

# C: columns.
_WIDEN_WORD = code("l 5p 2s j")
_WIDEN = code("4l 2s 14p j")  # a column: finding its place, the loop's beginning, going on
_GROUP_CALL = code("5l 3s 6p j")
_WIDEN_PIXEL, _STRAIGHT_WORDS = code("6p j"), 8  # of a pixel that is a column; words that need no loop
_WORD_OF_ROW = code("l 2p 2s")
_FEW_WORDS = 4  # of a row, up to which there is no loop over them
_GATHER_CALL = code("2w 2p 2w j")
_GATHER_ROW = code("5p j")
_PADDING = code("p s 2p j")  # of a byte that is not in a run of words
_COPY = code("l s")
_COPY_BYTE = code("l s 2p j")
_COPY_LOOP = code("3p j")
_LONGEST_COPY, _STRAIGHT_COPY = 64, 32  # bytes: of copies without a loop over bytes, and without any
_FILL = code("4l 2s 16p 2j")

# Depthwise, four channels of a pixel.
_FOURS_CALL = code("9w p 2w l 6w 2p 2w 2w 2p s p 9w j")
_FOURS = code("2l 2w l s s l s 2w p s 2p j")
_FOURS_PARTIAL_CALL = code("l 3p 2w")
_FOURS_PARTIAL = code("l 6p l p")
_TAP = code("l 2w 2c 6p")
_FOURS_CONSTANTS, _FOURS_STEPPED_CONSTANTS = code("4w 4c 4w 4c"), code("3w 3c") * 4
_TO_COLUMN, _TO_BYTES = code("2p 2s p"), code("3p s")
_ONE_CHANNEL = code("6l 2c s 24p j")
_ONE_CHANNEL_TAP = code("2l c 4p")
_ONE_CHANNEL_ROW = code("6p j")
_PIXEL = code("6l 3s 15p 2j")  # of a walk: where its window begins, how many rows it has

# Depthwise, rows.
_PIECES_CALL = code("9w p 6w 2p 2w 3p l 3p 3w 6p 2w 2p s 2p j s 2p 2w s 2p j 2w s 3p 9w j")
_CHANNEL = code("7w 7c s l j")
_CHANNEL_END = code("4w 4p j")
_UP, _DOWN = code("6p l j"), code("5p l j")
_ROW = code("l 2p")
_TO_NEXT = code("l j")
_LATE_STORED = code("p s")
# Outputs, pieces, and what is around them.
_BLOCKS: dict[Block, tuple[int, int, Mix]] = {
    "two": (2, 1, NOTHING),
    "two_right": (2, 1, NOTHING),
    "one": (1, 1, NOTHING),
    "one_right": (1, 1, NOTHING),
    "first_two": (2, 1, _TO_NEXT),
    "two_left": (2, 1, _TO_NEXT),
    "one_left": (1, 1, _TO_NEXT),
    "ones_1": (1, 1, _TO_NEXT),
    "ones_2": (2, 2, _TO_NEXT),
    "ones_3": (3, 3, _TO_NEXT),
    "two_late": (3, 2, _LATE_STORED),
    "two_late_right": (3, 2, _LATE_STORED),
}

# Depthwise, a turned image.
_TURNED_CALL = code("9w p l 3w 4p 2w 2w 2p j 2w 2p p 9w j")
_TURNED_CHANNEL = code("l c l c 3p j")
_TURNED_ROW = code("10w 10l 4s 24p 4j 9w")  # of the result: C, finding its places
_RING_ROW = code("4l 16p 2j")  # of the image: C, finding its place in the ring

# Depthwise, planes.
_TURNING_CALL, _TURNING_ROW = code("4p j 9w p 5w 2w 3p p 9w j"), code("l 2p l 3p l p s p j")
_FOUR_PIXELS = code("4l 6p 8p 2w 2w 2w 2w 2p j")  # of four channels
_TWO_PIXELS, _LAST_PIXEL = code("2l 4p s p s p s p s"), code("l 4p s p s p s p s p")
_FOUR_PLANES = code("5l 2s 10p j")  # C: finding their place, the loop over channels
_PLANES_CALL = code("9w p s l s 4p s 9w p j")  # for four planes
_PLANE = code("l 3p s j")
_PLANE_CONSTANTS = {2: code("2w s s"), 3: code("3w 2w s")}
_PLANES_ROW = code("p j s l l j")  # into the code and back, bias

# C: the way through rows.
_ROWS_SEGMENT = code("14l 6s 30p 4j")
_ROWS_PRODUCT = code("3w 3l 4s 12p 2j")
_ROW_OF_IMAGE = code("24l 26s 55p 3j")
_LATE_SEGMENT = code("4l s 9p 3j")
_LATE_ROW = code("13l 8s 32p 6j")
_LATE_GROUP = code("6l 2s 22p 2j")  # of rows: finding out where their late pixels are
_LATE_PAIR = code("8l 4s 8p j")  # of channels, into four columns
_TURNED_SEGMENT = code("2l 2s 8p j")
_TURNED_PRODUCT = code("2w l s 5p j")
_KERNEL_CALL = code("9w p 2l 4s 8p 9w j")


def loop_bytes(kernel: ConvKernel | SeparableKernel) -> int:
    """Code that the matrix body goes through for a pair of channels."""
    return _PAIR_BYTES + (_APART_BYTES if kernel.apart else _STEP_BYTES) * min(column_steps(kernel), _UNROLLED + 1)


def conv_mix(kernel: ConvKernel) -> Mix:
    """Of one call: windows become columns, four of them are multiplied."""
    pixels = pixels_of(kernel)
    words = -(-kernel.depth // 4)
    if kernel.by_words:
        return _KERNEL_CALL + _word_columns(kernel) * pixels + _gathered(kernel) + products_mix(kernel)
    if kernel.has_pixel_columns:
        return _KERNEL_CALL + _widened_pixel(words) * pixels + products_mix(kernel)
    columns = (_WIDEN + _WIDEN_WORD * words) * pixels
    return _KERNEL_CALL + columns + _gathered(kernel) + products_mix(kernel)


def held_mix(kernel: ConvKernel) -> Mix:
    """Of one call of a convolution whose columns stay in registers."""
    body = held_body(kernel)
    groups, single = divmod(pixels_of(kernel), body.pixels)
    fours, left = divmod(kernel.depth, 4)
    pixel = code("l 2p") * fours + code("l") * left + code("p") * (left // 2)
    each = _HELD_GROUP + pixel * body.pixels + code("l p") * (body.pixels > 1)
    each += code("l 2p") * (kernel.out_channels % 2)
    each += _held_channel(body) * kernel.out_channels
    loads_step = body.steps_pixels and "step" not in body.kept
    turn = code("2p j") if loads_step or "end" in body.kept else code("l 2p j")
    each += turn * half_up(kernel.out_channels)
    calls = _HELD_CALL * ((groups > 0) + single)
    if body.row_step and not kernel.by_row:
        calls = (_HELD_CALL + code("5p 4l s j")) * kernel.window.rows.outputs
    return _KERNEL_CALL + calls + each * (groups + single)


def _held_channel(body: HeldBody) -> Mix:
    """Of all pixels of a group."""
    loads = total(code(f"{len(load)}w {len(load)}c" if len(load) > 1 else "l c") for load in body.loads)
    result = _stored(body.finish, lookup=body.lookup) + code("p") * body.words
    others = (body.steps_pixels and "step" not in body.kept) + (body.lookup and "table" not in body.kept)
    return loads + result * body.pixels + code("l") * others


def held_bytes(kernel: ConvKernel) -> int:
    """Code that a turn of its body goes through."""
    return 2 * 4 * (held_body(kernel).words * held_body(kernel).pixels + _HELD_OTHERS)


def _widened_pixel(words: int) -> Mix:
    """A column of a pixel of whole words: some in a row, else one or two a turn of a loop."""
    turn = words if words <= _STRAIGHT_WORDS else 2 - words % 2
    return _WIDEN_PIXEL + _WORD_OF_ROW * words + (code("4p j") * (words // turn) if turn < words else NOTHING)


def depthwise_mix(kernel: DepthwiseKernel) -> Mix:
    """Of one call of a depthwise convolution alone."""
    if kernel.variant == "planes":
        return _KERNEL_CALL + _planes(kernel)
    return _KERNEL_CALL + _taps(kernel, column=False)


def separable_mix(kernel: SeparableKernel) -> tuple[Mix, Mix]:
    """Of one call: the depthwise part, then the pointwise one."""
    if kernel.depthwise.variant == "turned":
        return _KERNEL_CALL + _turned(kernel), products_mix(kernel)
    if kernel.depthwise.variant == "rows":
        return _KERNEL_CALL + _rows(kernel.depthwise), products_mix(kernel)
    return _KERNEL_CALL + _taps(kernel.depthwise, column=True), products_mix(kernel)


def products_mix(kernel: ConvKernel | SeparableKernel) -> Mix:
    """The products of all columns of a call with all channels."""
    body, steps = matrix_body(kernel), column_steps(kernel)
    pixels, channels = pixels_of(kernel), kernel.out_channels
    single = pixels % _GROUP
    call = _product_call(kernel)
    group = call + pairs_mix(body, steps, channels // 2)
    one = call + one_mix(body, steps, channels // 2, fast=single > pixels * FEW_SINGLES)
    if repeats_channel(kernel):
        group += _REPEATED + pairs_mix(body, steps, 1)
        one += _REPEATED + one_mix(body, steps, 1, fast=single > pixels * FEW_SINGLES)
    elif channels % 2:
        last = _last(body, steps)
        group += _LASTS + last * _GROUP
        one += last
    return group * (pixels // _GROUP) + one * single


def _product_call(kernel: ConvKernel | SeparableKernel) -> Mix:
    """Of a group of pixels, besides what it calls."""
    variant = kernel.depthwise.variant if isinstance(kernel, SeparableKernel) else ""
    return _ROWS_PRODUCT if variant == "rows" else _TURNED_PRODUCT if variant == "turned" else _GROUP_CALL


def column_steps(kernel: ConvKernel | SeparableKernel) -> int:
    """Steps of the matrix body for a pair of channels: words of a column."""
    shapes = rows_matrix_shapes(kernel) if kernel.in_rows else (matrix_shape(kernel),)
    return shapes[0].column_bytes // 16


def pairs_mix(body: MatrixBody, steps: int, pairs: int) -> Mix:
    """A call of `<body>_pairs`: four pixels, `pairs` of channels, columns of `steps` words."""
    if not pairs:
        return NOTHING
    passes = 0 if body.short else -(-(steps - 1) // _UNROLLED)
    each = _PAIR + (_STEP_APART if body.apart else _STEP) * steps + (NOTHING if body.apart else _SHARED_PAIR)
    each += _PASS * passes + _finished(body.finish) * (2 * _GROUP)
    each += _STEPPED_CONSTANTS if body.finish.step else _CONSTANTS
    if body.finish.step or body.sum is not None:
        each += _WEIGHTS_KEPT
    if body.sum is not None:
        each += _RESIDUAL + (_RESIDUAL_SUM + _halves(body.sum) + _clamps(body.sum)) * (2 * _GROUP)
    if body.lookup:
        each += _LOOKED_UP + code("8l")
    each += _ROWS_STORED if body.in_rows else _STORED
    once = _PAIRS_CALL + (_ROWS_CALL if body.in_rows else NOTHING)
    return once + (_RESIDUAL_CALL if body.sum is not None else NOTHING) + each * pairs


def one_mix(body: MatrixBody, steps: int, pairs: int, *, fast: bool) -> Mix:
    """A call of `<body>_single`: one pixel, `pairs` of channels; a `fast` one takes two words at once."""
    words = _TWO_WORDS * (steps // 2) + _ONE_WORD * (steps % 2) if fast else _ONE_WORD * steps
    words += _ONE_APART * steps if body.apart else code("2p")
    each = _ONE_PAIR + words + (_clamps(body.finish) + (code("3p l") if body.finish.step else NOTHING)) * 2
    if body.lookup:
        each += code("2l 2p")
    if body.sum is not None:
        each += (code("5l 5p") + _halves(body.sum) + _clamps(body.sum)) * 2
    return _ONE_CALL + each * pairs


def _last(body: MatrixBody, steps: int) -> Mix:
    extra = code("5l 5p") + _halves(body.sum) if body.sum is not None else NOTHING
    return _LAST + _LAST_WORD * steps + _clamps(body.finish) + extra


def _finished(finish: Finish) -> Mix:
    """Of one sum in assembly: bias, multiplication, shift."""
    return _FLOAT_RESULT if finish.scale else code("5p" if finish.step else "3p") + _clamps(finish)


def _stored(finish: Finish, *, lookup: bool) -> Mix:
    """Of a sum that begins with its bias, to the byte that is stored; `lookup`: which a table has."""
    made = _FLOAT_RESULT + code("s") if finish.scale else code("2p s")
    return made + code("2p") * finish.step + code("l") * lookup + _clamps(finish)


def _pattern_row(pattern: Pattern, weight_words: int) -> Mix:
    """What some outputs take of a row of int16, as weights of a row are constants in that many words."""
    loads = code(f"{weight_words}w {weight_words}c") + code("2w") * half_up(len(pattern.words))
    return loads + code("p") * pattern.terms


def _clamps(finish: Finish | SumFinish) -> Mix:
    """Of a level within its limits, where these are not those of a byte."""
    return _CLAMP * ((finish.low > -128) + (finish.high < 127))


def _halves(finish: SumFinish) -> Mix:
    """Of a sum whose halves are no plane's."""
    return code("2p") if finish.halves is not None else NOTHING


def _word_columns(kernel: ConvKernel) -> Mix:
    """One column from the rows of a window: whole words, then what is left of each row."""
    rows = kernel.window.rows.kernel
    words, left = divmod(kernel.window.columns.kernel * kernel.window.channels, 4)
    row = (_WORD_OF_ROW + (code("2p j") if words > _FEW_WORDS else NOTHING)) * words + code("p")
    return _WIDEN + row * rows + (code("l") * (left * rows) + code("3p 2s") * -(-left * rows // 4))


def _gathered(kernel: ConvKernel) -> Mix:
    """Windows copied to where they become columns; the share of a row of the output for kernels by row.

    By words, only those that are not all inside the image.
    """
    columns, rows, channels = kernel.window.columns, kernel.window.rows, kernel.window.channels
    per_row = kernel.window.columns.kernel * channels
    total_mix = NOTHING
    for taps, times in _times(columns).items():
        bytes_inside = (taps[1] - taps[0]) * channels
        copied = _copied(bytes_inside, columns.dilation == 1) + _PADDING * (per_row - bytes_inside)
        for inside, rows_like in _times(rows).items():
            count = inside[1] - inside[0]
            if kernel.by_words and (taps, inside) == ((0, columns.kernel), (0, rows.kernel)):
                continue
            window = _GATHER_CALL + (_GATHER_ROW + copied) * count
            outside = (rows.kernel - count) * per_row
            window += _FILL + code("s 2p j") * (outside / 4) if outside else NOTHING
            total_mix += window * (times * rows_like)
    return total_mix * (1 / rows.outputs if kernel.by_row else 1)


def _copied(size: int, is_run: bool) -> Mix:
    if not is_run or size > _LONGEST_COPY:
        return _COPY_BYTE * size
    whole = size // 4 if size <= _STRAIGHT_COPY else size // 16 * 4
    rest = size - 4 * whole
    loops = _COPY_LOOP * (size // 16) if size > _STRAIGHT_COPY else NOTHING
    return loops + _COPY * (whole + rest // 4 + (rest % 4).bit_count())


def _times(axis: Axis) -> dict[tuple[int, int], int]:
    """How many outputs have the same taps inside the image."""
    found: dict[tuple[int, int], int] = {}
    for output in range(axis.outputs):
        found[axis.taps(output)] = found.get(axis.taps(output), 0) + 1
    return found


def _taps(kernel: DepthwiseKernel, *, column: bool) -> Mix:
    """All pixels of a call, channels in fours."""
    rows, columns = kernel.window.rows, kernel.window.columns
    total_mix = NOTHING
    for taps, times in _times(columns).items():
        count = taps[1] - taps[0]
        for inside, rows_like in _times(rows).items():
            number = inside[1] - inside[0]
            whole = has_whole_rows(kernel, count) and number == rows.kernel
            body = depthwise_body(kernel, count, whole=whole, column=column)
            total_mix += (_PIXEL + _pixel(body, number, kernel.out_channels)) * (times * rows_like)
    return total_mix * (1 / rows.outputs if kernel.by_row else 1)


def _pixel(body: DepthwiseBody, rows: int, channels: int) -> Mix:
    fours, single = channels // 4, channels % 4
    one = _ONE_CHANNEL + _ONE_CHANNEL_ROW * rows + _ONE_CHANNEL_TAP * (rows * body.taps) + _clamps(body.finish)
    row = _TAP * body.taps + code("2p") * (max(body.taps - 1, 0) // 3) + code("p") * (body.taps < body.kernel_columns)
    each = (
        _FOURS
        + (_FOURS_STEPPED_CONSTANTS if body.finish.step else _FOURS_CONSTANTS)
        + _finished(body.finish) * 4
        + (_TO_COLUMN if body.column else _TO_BYTES)
        + (_LOOKED_UP + code("4l") if body.lookup else NOTHING)
    )
    if body.whole:
        each += row * rows + code("p") * (rows - 1)
        once = _FOURS_CALL
    else:
        each += _FOURS_PARTIAL + (row + code("3p j")) * rows
        once = _FOURS_CALL + _FOURS_PARTIAL_CALL
    return once * (fours > 0) + each * fours + (one * single + code("9w 3l 8p 9w 2j") if single else NOTHING)


def _rows(kernel: DepthwiseKernel) -> Mix:
    """All rows of a call, an image in rows; with late pixels, also what makes columns of them."""
    axis, rows = kernel.window.columns, kernel.window.rows
    slots = first_slots(kernel)
    edges = [_edge(rows.taps(output)) for output in range(rows.outputs)]
    around_row, around = (_LATE_ROW, _LATE_SEGMENT) if kernel.late else (_ROW_OF_IMAGE, _ROWS_SEGMENT)
    total_mix = NOTHING
    if kernel.late:
        total_mix += (_LATE_GROUP + _LATE_PAIR * (kernel.window.channels // 2)) * -(-rows.outputs // _GROUP)
    for output, edge in enumerate(edges):
        total_mix += around_row
        for segment in row_segments(axis, slots[output % len(slots)], late=kernel.late):
            each = around + pieces_mix(rows_body(kernel), segment, edge, kernel.window.channels)
            total_mix += each * segment.repeats
    return total_mix * (1 / rows.outputs if kernel.by_row else 1)


def _turned(kernel: SeparableKernel) -> Mix:
    """All groups of a call: rows of the image are turned into a ring first; the share of a row for kernels by row."""
    depthwise, window = kernel.depthwise, kernel.window
    rows, size = window.rows, window.rows.kernel
    total_mix = NOTHING
    for runs in runs_of_rows(depthwise):
        total_mix += _TURNED_ROW
        for run in runs:
            total_mix += (_TURNED_SEGMENT + _turned_run(kernel, run)) * run.repeats
    pairs, fours = window.columns.size // 2, half_up(half_up(window.channels))
    turned = (_TURNING_CALL + _TURNING_ROW + _TWO_PIXELS * pairs) * fours + _RING_ROW
    cleared = code("s 2p j") * (window.channels * turned_pitch(window) / 4) + _RING_ROW
    reached = (rows.outputs - 1) * rows.stride + size - rows.before  # rows of the image, and below it
    total_mix += turned * min(reached, rows.size) + cleared * (rows.before + max(reached - rows.size, 0))
    padding = words_before(window) + words_behind(window)
    total_mix += (code("2p j") + code("s") * padding) * (window.channels * size)
    return total_mix * (1 / rows.outputs if kernel.by_row else 1)


def _turned_run(kernel: SeparableKernel, run: Run) -> Mix:
    """Some outputs, in all channels."""
    body = turned_body(kernel.depthwise, run.pattern)
    words = weight_words(body.kernel)
    row, result = _pattern_row(body.pattern, words), _stored(body.finish, lookup=body.lookup)
    around = _TURNED_CHANNEL + code("2w") * (words > 2) + code("l") * body.lookup + code("c") * body.finish.step
    each = row * body.kernel + around + result * body.pattern.outputs
    return _TURNED_CALL + code("2w s") * (words > 2) + each * kernel.window.channels


def _planes(kernel: DepthwiseKernel) -> Mix:
    """Four channels become planes, then each of these the rows of its result."""
    window, fours = kernel.window, half_up(half_up(kernel.window.channels))
    shape = planes_shape(kernel)
    row = _FOUR_PIXELS * (shape.width // 4) + _TWO_PIXELS * (shape.width // 2 % 2) + _LAST_PIXEL * (shape.width % 2)
    turned = _TURNING_CALL + (_TURNING_ROW + row) * shape.height
    made = total(_rows_of_plane(body) for body in planes_bodies(kernel))
    calls = _PLANES_CALL * len(row_pieces(window.columns))
    return (turned + _FOUR_PLANES + calls) * fours + made * window.channels


def _rows_of_plane(body: PlanesBody) -> Mix:
    """One plane."""
    walk, outputs, words, finish = body.walk, body.pattern.outputs, body.weight_words, body.finish
    row = _pattern_row(body.pattern, words)
    result = _stored(finish, lookup=body.lookup) + code("p") * (body.shift > 0)
    around = _PLANES_ROW + (code("3w") if finish.step else code("2w"))
    around += _advance(body.row_end) + total(_advance(on) for on, _ in body.stores)
    around += code("s") * (not body.spare)
    around += code("2w" if body.lookup and not body.spare else "l") * (
        not body.spare or body.lookup * (body.spare == 1)
    )
    each = _PLANE + _PLANE_CONSTANTS[finish.constants] + _advance(walk.plane_step) + _advance(walk.weight_step)
    each += _advance(1 - body.rows.outputs * body.y_row_bytes) + code("l s") * (not body.spare)
    for run in walk.runs:
        entered = _advance(run.plane_step) + _advance(run.weight_step)
        entered += code("j") * (run.taps < walk.most_taps)
        each += (entered + row * run.taps + around + result * outputs) * run.rows
        each += code("p s") + code("l p s j") * run.rows if run.is_long else NOTHING
    return each


def _advance(size: int) -> Mix:
    return code("p") * len(immediates(size))


def _edge(taps: tuple[int, int]) -> int:
    return 1 if taps[0] > 0 else 2 if taps[1] < 3 else 0


def pieces_mix(body: RowsBody, segment: Segment, edge: int, channels: int) -> Mix:
    """A call of a rows body: its pieces in all channels; `edge` is as in C, 1 without a first row, 2 without a last."""
    blocks = total(_block(block, body.finish) for block in segment.blocks)
    each = _CHANNEL + (NOTHING, _UP, _DOWN)[edge] + blocks + _CHANNEL_END
    return _PIECES_CALL + each * channels


def _block(block: Block, finish: Finish) -> Mix:
    """Of one channel: for each piece a word of three rows, then its outputs."""
    outputs, pieces, around = _BLOCKS[block]
    made = code("5p") if finish.scale else code("p")  # of a pair of sums also three moves
    output = code("2p") * 3 + made + code("p") + _clamps(finish) + code("s")
    return _ROW * (3 * pieces) + output * outputs + around
