"""Bytes that the loads and stores of a kernel of standalone C move, by pointer: what decides where a buffer should lie.

Counted from the loops of the templates, without what compilers keep in registers beyond them. Tests hold the sums over
buffers to what an emulator counts (docs/memory.md says how near they come).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from dscompile.ir.network import Array
from dscompile.ir.storage import FOUR, KEPT, Storage, is_sparse
from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.mcu.bodies import first_slots
from dscompile.plan.mcu.held import held_pixels
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.late import groups_of_rows
from dscompile.plan.mcu.planes import row_pieces, weight_words
from dscompile.plan.mcu.products import (
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    SeparableKernel,
    half_up,
    planes_pitch,
    repeats_channel,
    rows_steps,
    word_column_bytes,
)
from dscompile.plan.mcu.rows import RECORD_WORDS, row_segments
from dscompile.plan.mcu.scaling import RECORD_BYTES
from dscompile.plan.mcu.small_kernels import (
    BinaryKernel,
    CopyKernel,
    MeanKernel,
    PoolKernel,
    ResampleKernel,
    ScaleKernel,
    SoftmaxKernel,
)
from dscompile.plan.mcu.turned import Run, runs_of_rows, turned_pitch
from dscompile.plan.mcu.windows import Window
from dscompile.plan.program import Operand, Space

_HALF = 2  # bytes of an int16 in the columns of `dsp`
_WORD = 4
_ROWS = 3  # of a window of an image in rows, those outside included
_DSP_PIXELS = _WORD_PIXELS = 4  # of a group
_DSP_CHANNELS = 2  # that one pass over columns computes


def operand_bytes(kernel: McuKernel, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes that one call loads and stores through each of the kernel's parameters.

    `sizes` are the bytes that constants have; a parameter that no rule is for counts once per byte that it spans.
    """
    match kernel:
        case ConvKernel():
            found = _convolution(kernel, sizes)
        case DepthwiseKernel():
            found = _depthwise(kernel, kernel.window.pixels * kernel.out_channels)
        case SeparableKernel():
            found = _separable(kernel, sizes)
        case DenseKernel():
            found = _dense(kernel)
        case PoolKernel():
            element = DTYPE_BYTES[kernel.element]
            read = _read_pixels(kernel.window) * kernel.window.channels * element
            found = {"x": read, "y": kernel.window.pixels * kernel.window.channels * element}
        case MeanKernel():
            found = {"x": kernel.pixels * kernel.channels, "y": kernel.channels}
        case SoftmaxKernel():
            # The largest element, the sum of powers, the powers again: three passes.
            elements = kernel.rows * kernel.length * DTYPE_BYTES[kernel.element]
            found = {"x": 3 * elements, "y": elements}
            if kernel.tabled:
                found["powers"] = 2 * _WORD * kernel.rows * kernel.length
        case BinaryKernel():
            elements = math.prod(kernel.shape) * DTYPE_BYTES[kernel.element]
            found = dict.fromkeys("aby", elements)
        case ScaleKernel():
            elements = kernel.pixels * kernel.channels
            records = RECORD_BYTES * (kernel.channels // 4)
            found = {"x": elements, "y": elements, "factors": kernel.channels, "records": records * (1 + kernel.pixels)}
        case CopyKernel():
            found = dict.fromkeys("xy", math.prod(kernel.shape) * DTYPE_BYTES[kernel.element])
        case ResampleKernel():
            elements = kernel.height * kernel.width * kernel.channels * DTYPE_BYTES[kernel.element]
            found = {"x": elements * (4 if kernel.method == "bilinear" else 1), "y": elements}
        case _:
            found = _elementwise(kernel)
    return {p.name: found.get(p.name, sizes.get(p.name, 0)) for p in kernel.parameters}


def _dense(kernel: DenseKernel) -> dict[str, int]:
    """Inputs are read once for every two results, or four with dsp and in blocks."""
    element = DTYPE_BYTES[kernel.epilogue.element]
    block = 2 if kernel.variant == "c99" else 4
    passes = -(-kernel.out_channels // block)
    made = {"y": kernel.out_channels * element}
    if kernel.gathered:
        filled = kernel.column_bytes if kernel.wide else kernel.in_channels
        return {**made, "x": kernel.in_channels, "columns": filled + passes * kernel.column_bytes}
    return {**made, "x": _column_reads(kernel.storage, kernel.depth, kernel.out_channels, block) * element}


def _elementwise(kernel: McuKernel) -> dict[str, int]:
    """A pass over as many elements as the kernel says that it has."""
    count = getattr(kernel, "elements", 0) or getattr(kernel, "rows", 1) * getattr(
        kernel, "channels", getattr(kernel, "length", 1)
    )
    return {p.name: count * DTYPE_BYTES[p.dtype] for p in kernel.parameters if p.name in ("x", "y", "table")}


def _read_pixels(window: Window) -> int:
    """Pixels of the image that all windows read together, those outside left out."""
    return math.prod(
        sum(end - first for first, end in (axis.taps(output) for output in range(axis.outputs)))
        for axis in (window.rows, window.columns)
    )


def _whole_windows(window: Window) -> int:
    """Windows that lie inside the image with all their taps."""
    return math.prod(
        sum(axis.taps(output) == (0, axis.kernel) for output in range(axis.outputs))
        for axis in (window.rows, window.columns)
    )


def _groups(pixels: int, group: int) -> int:
    """Passes over the weights: whole groups of pixels, and each pixel that is left over."""
    return pixels // group + pixels % group


def _column_reads(storage: Storage, depth: int, channels: int, block: int) -> int:
    """Elements of a column that the sums of all channels read: once for a block, or those that 2:4 keeps for each."""
    return -(-depth // FOUR) * KEPT * channels if is_sparse(storage) else depth * -(-channels // block)


def _convolution(kernel: ConvKernel, sizes: Mapping[str, int]) -> dict[str, int]:
    element = DTYPE_BYTES[kernel.epilogue.element]
    pixels = kernel.window.pixels
    read = _read_pixels(kernel.window) * kernel.window.channels * element
    if kernel.variant == "held":
        groups = -(-pixels // held_pixels(kernel.depth))
        return {"x": read, "records": groups * sizes["records"], "y": pixels * kernel.out_channels}
    found = _product(kernel, sizes["weights"])
    if kernel.variant == "dsp":
        padded = -(-kernel.depth // 4) * 4
        gathered = 0 if kernel.has_pixel_columns else pixels * (kernel.depth + padded)  # then read to be widened
        if kernel.by_words:
            gathered = (pixels - _whole_windows(kernel.window)) * 2 * kernel.depth
        found["columns"] += gathered + pixels * padded * _HALF
        found["x"] = read
    elif kernel.variant == "m0plus":
        window = 0 if kernel.window.is_pointwise else 2 * pixels * kernel.depth
        found["columns"] += window + _word_columns(pixels, kernel.depth)
        found["x"] = read
    elif kernel.gathered:
        found["columns"] += pixels * kernel.depth * element
        found["x"] = read
    else:
        found["x"] = found.pop("columns")
    return found


def _product(kernel: ConvKernel | SeparableKernel, weight_bytes: int) -> dict[str, int]:
    """The matrix product: columns that are read, `weight_bytes` of weights, constants, residual and y."""
    element = DTYPE_BYTES[kernel.epilogue.element]
    pixels, channels, depth = kernel.window.pixels, kernel.out_channels, kernel.depth
    results = pixels * channels * element
    each = 4 * len(kernel.epilogue.constants())
    if kernel.variant == "dsp":
        padded = _padded(kernel)
        passes = -(-channels // _DSP_CHANNELS)
        if repeats_channel(kernel):
            channels += 1
        groups, odd = _groups(pixels, _DSP_PIXELS), channels % _DSP_CHANNELS
        weights = padded * (groups * (channels - odd) + _DSP_CHANNELS * odd * pixels)
        columns = pixels * padded * _HALF * passes
        if kernel.storage == "int4":
            # Whole groups load each word twice, and sum up their columns before; pixels alone load each word once.
            whole = pixels // _DSP_PIXELS
            weights = (weights + padded * whole * (channels - odd)) // 2
            columns += whole * _DSP_PIXELS * padded * _HALF
        return {
            "columns": columns,
            # An odd last channel without a pair reads the weights of one, and its constants, for every pixel.
            "weights": weights,
            "constants": each * (groups * (channels - odd) + odd * pixels),
            "residual": results,
            "y": pixels * channels * element,
        }
    if kernel.variant == "m0plus":
        groups = _groups(pixels, _WORD_PIXELS)
        columns = groups * word_column_bytes(depth) * channels
    else:
        groups = _groups(pixels, kernel.group)
        block = kernel.block if kernel.variant == "block" else 2
        columns = pixels * _column_reads(kernel.storage, depth, channels, block) * element
    constants = {p.name: groups * channels * DTYPE_BYTES[p.dtype] for p in kernel.epilogue.constants()}
    return {
        "columns": columns,
        "weights": groups * (depth * channels * element if kernel.storage == "plain" else weight_bytes),
        **constants,
        "residual": results,
        "y": results,
    }


def _padded(kernel: ConvKernel | SeparableKernel) -> int:
    """Values of a column of `dsp`: fours, or of an image in rows two halves that are equally long."""
    is_halved = isinstance(kernel, SeparableKernel) and kernel.depthwise.variant == "rows"
    return 2 * rows_steps(kernel.depth, kernel.storage) if is_halved else -(-kernel.depth // 4) * 4


def _word_columns(pixels: int, depth: int) -> int:
    """Making columns of words: every second pixel is added to the word that holds the one before it."""
    return 4 * depth * (pixels + pixels // 2)


def _depthwise(kernel: DepthwiseKernel, written: int, weights: str = "weights", prefix: str = "") -> dict[str, int]:
    """The depthwise part; `written` are the bytes of its results."""
    element = DTYPE_BYTES[kernel.epilogue.element]
    taps = _read_pixels(kernel.window)
    channels = kernel.out_channels
    if kernel.variant == "rows":
        pieces, segments = _row_pieces(kernel)
        records = 4 * RECORD_WORDS * channels * segments
        return {"x": pieces * _ROWS * _WORD * channels, "records": records, "y": written}
    if kernel.variant == "turned":
        words = kernel.window.rows.kernel * weight_words(kernel.window.rows.kernel) + len(kernel.epilogue.constants())
        records = len(_turned_calls(kernel)) * _WORD * words * channels
        return {"x": kernel.window.rows.size * kernel.window.row_bytes, "records": records, "y": written}
    if kernel.variant == "planes":
        return _planes(kernel, written)
    constants = {
        p.name: kernel.window.pixels * channels * DTYPE_BYTES[p.dtype] for p in kernel.epilogue.constants(prefix)
    }
    if kernel.variant == "dsp":
        constants = {f"{prefix}constants": sum(constants.values())}
    weight = _HALF if kernel.variant == "dsp" else element
    return {"x": taps * channels * element, weights: taps * channels * weight, **constants, "y": written * element}


def _planes(kernel: DepthwiseKernel, written: int) -> dict[str, int]:
    """The image becomes planes once, of which each piece of a row reads words of all rows of its windows."""
    window, channels = kernel.window, kernel.out_channels
    rows = sum(end - first for first, end in (window.rows.taps(output) for output in range(window.rows.outputs)))
    pieces = row_pieces(window.columns)
    pairs = sum(half_up(len(piece.pattern.words)) for piece in pieces)
    weights = rows * weight_words(window.rows.kernel) + len(kernel.epilogue.constants())
    return {
        "x": window.rows.size * window.row_bytes,
        "records": _WORD * channels * len(pieces) * weights,
        "columns": channels * (window.rows.size * planes_pitch(window) + 2 * _WORD * rows * pairs),
        "y": written,
    }


def _turned_calls(kernel: DepthwiseKernel) -> list[Run]:
    """The calls of the loops over channels that compute a turned image's outputs."""
    return [run for runs in runs_of_rows(kernel) for run in runs for _ in range(run.repeats)]


def _row_pieces(kernel: DepthwiseKernel) -> tuple[int, int]:
    """Pieces of all rows of the result, each of which reads a word of three rows, and calls that read the records."""
    pieces = segments = 0
    columns, slots = kernel.window.columns, first_slots(kernel)
    for row in range(kernel.window.rows.outputs):
        for segment in row_segments(columns, slots[row % len(slots)], late=kernel.late):
            pieces += segment.repeats * len(segment.pieces)
            segments += segment.repeats
    return pieces, segments


def _separable(kernel: SeparableKernel, sizes: Mapping[str, int]) -> dict[str, int]:
    product = _product(kernel, sizes["weights"])
    between = kernel.window.pixels * kernel.depth
    first = _depthwise(kernel.depthwise, between, "taps", "taps_")
    if kernel.variant == "m0plus":
        made = _word_columns(kernel.window.pixels, kernel.depth)
    else:
        made = between * (_HALF if kernel.variant == "dsp" else DTYPE_BYTES[kernel.epilogue.element])
    if kernel.depthwise.variant == "turned":
        axis = kernel.window.rows
        ring = _HALF * axis.size * kernel.window.row_bytes + axis.before * kernel.depth * turned_pitch(kernel.window)
        words = sum(half_up(len(run.pattern.words)) * 2 for run in _turned_calls(kernel.depthwise))
        first["ring"] = ring + words * axis.kernel * _WORD * kernel.depth  # read
    del first["y"]
    if kernel.depthwise.late:
        rows, read = kernel.window.rows.outputs, groups_of_rows(kernel) * _DSP_PIXELS
        product["y"] += (rows + read) * kernel.depth  # a pixel of each waits there
        made += (read - rows) * kernel.depth * _HALF
    return {**first, **product, "columns": product["columns"] + made}


def operand_traffic(
    calls: Iterable[tuple[McuKernel, Sequence[Operand]]], constants: Mapping[str, Array]
) -> dict[tuple[Space, str], int]:
    """Bytes that calls load and store in each operand: (space, name) -> bytes.

    Borders are counted whether they lie in the arena or with the user.
    """
    moved: dict[tuple[Space, str], int] = {}
    for kernel, operands in calls:
        named = list(zip(kernel.parameters, operands, strict=True))
        sizes = {p.name: constants[o.name].nbytes for p, o in named if o.space == "constant"}
        counted = operand_bytes(kernel, sizes)
        for parameter, operand in named:
            key = (operand.space, operand.name)
            moved[key] = moved.get(key, 0) + counted[parameter.name]
    return moved
