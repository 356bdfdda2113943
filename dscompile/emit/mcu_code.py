"""C text of the standalone kernels: one template per kind, and the helpers that the texts use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import jinja2

from dscompile.data import data_directory
from dscompile.emit.mcu_mve import MVE_FILTERS, mve_values
from dscompile.emit.mcu_rvv import RVV_FILTERS, rvv_values
from dscompile.emit.names import C_TYPES, c_float
from dscompile.emit.render import environment
from dscompile.plan.kernels import Parameter
from dscompile.plan.mcu.bodies import (
    Body,
    SeparableBody,
    TurningBody,
    Uses,
    depthwise_bodies,
    depthwise_shape,
    matrix_body,
    matrix_shape,
    planes_bodies,
    rows_matrix_shapes,
    separable_body,
    separable_shape,
    turned_bodies,
    turned_shape,
    turning_shape,
    used_bodies,
)
from dscompile.plan.mcu.epilogues import Epilogue, IntegerEpilogue
from dscompile.plan.mcu.held import held_body, held_pixels, held_shape
from dscompile.plan.mcu.kernels import McuKernel, pixels_of, row_bounds
from dscompile.plan.mcu.mve import Body as MveBody
from dscompile.plan.mcu.mve import used_mve_bodies
from dscompile.plan.mcu.planes import immediates, planes_record_words, planes_shape, row_pieces
from dscompile.plan.mcu.products import (
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    SeparableKernel,
)
from dscompile.plan.mcu.rows import rows_table, y_row_bytes
from dscompile.plan.mcu.rvv import Body as RvvBody
from dscompile.plan.mcu.rvv import used_rvv_bodies
from dscompile.plan.mcu.scaling import scale_bias, scale_body, scale_shape
from dscompile.plan.mcu.small_kernels import (
    CopyKernel,
    FillKernel,
    MeanKernel,
    PoolKernel,
    RowSumKernel,
    ScaleKernel,
)
from dscompile.plan.mcu.turned import (
    group_slots,
    tap_words,
    turned_pitch,
    turned_runs,
    words_before,
    words_behind,
)
from dscompile.plan.mcu.windows import Axis, Span, Window
from dscompile.plan.program import Function

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# In an order in which every helper comes after those that it calls.
HELPERS = (
    "in_order",
    "clip",
    "exponential",
    "error_function",
    "sigmoid",
    "clamp_int8",
    "clamp_range",
    "saturate_int8",
    "sum_pixels",
    "max_pixels",
    "copy_run",
    "fill_run",
    "interleave_row",
    "load_word",
    "store_word",
    "store_half",
    "low_half",
    "low_nibble",
    "even_bytes",
    "odd_bytes",
    "widen_even",
    "widen_odd",
    "add_widened_even",
    "add_widened_odd",
    "add_low_product",
    "add_high_product",
    "add_products",
    "add_four_rows",
    "add_four_wide_rows",
    "add_bytes",
    "larger_bytes",
    "pack_halves",
    "high_product",
    "float_of_bits",
    "doubling_high_product",
    "product_q31",
    "divide_by_power",
    "shift_up",
    "requantize_tflite",
    "requantize_half_up",
    "requantize_single",
    "multiply_add",
    "rounded_product",
    "round_to_even",
    "round_away",
    "exp_of_negative",
    "reciprocal_of_one_plus",
)

# Of templates; `block` and `rvv` have other inner loops only.
_SUFFIXES = {
    "c99": "",
    "block": "",
    "dsp": "_dsp",
    "rows": "_rows",
    "turned": "_turned",
    "planes": "_planes",
    "held": "_held",
    "mve": "_mve",
    "rvv": "",
    "m0plus": "_m0plus",
}

# Up to the type of a static function's result; variables have `=` or `;` before any parenthesis.
_CALLED = re.compile(r"\b(\w+)\(")
_STATIC_FUNCTION = re.compile(r"^(?:__attribute__\(\(.*?\)\) )?static (?:inline )?(?=[^=;\n]*\()", re.MULTILINE)


AnyBody = Body | MveBody | RvvBody


@dataclass(frozen=True)
class Code:
    """What a kernel template needs besides its kernel.

    `name` is the C function; `element` and `sum` are the types of elements and sums, `constants` the per-channel
    arrays of the epilogue, `padding` the literal that stands outside of an image, `residual` says whether the kernel
    adds one.
    """

    name: str
    element: str
    sum: str
    parameters: tuple[str, ...]
    constants: tuple[Parameter, ...] = ()
    padding: str = "0"
    residual: bool = False

    @property
    def constant_parameters(self) -> list[str]:
        """Declarations of the constants."""
        return [declaration(parameter) for parameter in self.constants]

    @property
    def constant_arguments(self) -> str:
        """The constants as arguments."""
        return ", ".join(parameter.name for parameter in self.constants)

    @property
    def matrix_parameters(self) -> list[str]:
        """Declarations of a matrix product: columns, weights, constants, y."""
        e = self.element
        residual = [f"const {e} *residual"] if self.residual else []
        return [f"const {e} *columns", f"const {e} *weights", *self.constant_parameters, *residual, f"{e} *y"]

    @property
    def matrix_arguments(self) -> str:
        """Weights and constants as arguments."""
        return ", ".join(["weights", *(parameter.name for parameter in self.constants)])

    def offset(self, elements: int) -> str:
        """` + 64`, ` - 64` or nothing."""
        return f" {'+' if elements > 0 else '-'} {abs(elements)}" if elements else ""


@dataclass(frozen=True)
class SharedBody:
    """A body under its C name, and what is wanted of it."""

    name: str
    body: AnyBody
    uses: Uses


@dataclass(frozen=True)
class Pixels:
    """The functions for depthwise pixels: with all rows of the window inside the image, and with some; '' for none."""

    whole: str
    partial: str


def shared_bodies(functions: Sequence[Function], prefix: str) -> tuple[SharedBody, ...]:
    """The inner loops that kernels share; their names begin with `prefix`."""
    kernels = [function.kernel for function in functions if isinstance(function.kernel, McuKernel)]
    return tuple(
        SharedBody(f"{prefix}_shared_{body.kind}_{index}", body, uses)
        for index, (body, uses) in enumerate(
            [*used_bodies(kernels).items(), *used_mve_bodies(kernels).items(), *used_rvv_bodies(kernels).items()]
        )
    )


def bodies_code(bodies: Sequence[SharedBody]) -> str:
    """The C text of shared bodies, or nothing."""
    texts = []
    for template, kinds in (("bodies", Body), ("bodies_mve", MveBody), ("bodies_rvv", RvvBody)):
        found = [each for each in bodies if isinstance(each.body, kinds)]
        if found:
            texts.append(
                _tidy(
                    _environment()
                    .get_template(f"mcu/{template}.c.j2")
                    .render(bodies=found, shared={each.body: each for each in found})
                )
            )
    return "\n".join(texts)


def kernel_code(function: Function, name: str, bodies: Sequence[SharedBody] = ()) -> str:
    """The C text of a function and of those that it alone calls; `name` is its C identifier."""
    kernel = function.kernel
    if not isinstance(kernel, McuKernel):
        raise ValueError(f"{function.symbol} is a kernel of the hosted backend")
    values: dict[str, object] = {"k": kernel, "c": _code(kernel, name)}
    shared = {each.body: each for each in bodies}
    names = {body: each.name for body, each in shared.items()}
    if isinstance(kernel, SeparableKernel):
        values["d"] = _code(kernel.depthwise, f"{name}_depthwise", "taps_")
    template = "conv" if isinstance(kernel, ConvKernel) else kernel.kind
    if isinstance(kernel, PoolKernel) and kernel.from_rows:
        template += "_rows"
    if isinstance(kernel, ScaleKernel):
        values["scale"] = names.get(scale_body(kernel), "")
    if isinstance(kernel, DenseKernel):
        template += _SUFFIXES[kernel.variant]
    if isinstance(kernel, ConvKernel | DepthwiseKernel | SeparableKernel):
        variant = kernel.variant
        if isinstance(kernel, SeparableKernel) and kernel.depthwise.variant in ("rows", "turned"):
            variant = kernel.depthwise.variant
        template += _SUFFIXES[variant]
        if kernel.variant == "dsp":
            values.update(_body_names(kernel, shared, names))
        if isinstance(kernel, ConvKernel) and kernel.variant == "held":
            values["held"] = names[held_body(kernel)]
        if isinstance(kernel, DepthwiseKernel) and kernel.variant == "planes":
            values["turning"] = names[TurningBody()]
            own = [names[body] for body in planes_bodies(kernel)]
            values["pieces"] = list(zip(row_pieces(kernel.window.columns), own, strict=True))
        if kernel.variant == "mve":
            values.update(mve_values(kernel, names))
        values.update(rvv_values(kernel, names))
    return _tidy(_environment().get_template(f"mcu/{template}.c.j2").render(**values))


def is_thin(function: Function) -> bool:
    """Whether a function only hands over its arguments to one that it shares with others."""
    return isinstance(function.kernel, SeparableKernel) and function.kernel.depthwise.variant == "rows"


def _body_names(
    kernel: ConvKernel | DepthwiseKernel | SeparableKernel,
    shared: Mapping[AnyBody, SharedBody],
    names: Mapping[AnyBody, str],
) -> dict[str, object]:
    """The values `matrix`, `pixels` and so on of templates for dsp."""
    values: dict[str, object] = {}
    if not isinstance(kernel, DepthwiseKernel):
        values["matrix"] = names[matrix_body(kernel)]
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "rows":
        assert isinstance(kernel, SeparableKernel)
        way = shared[separable_body(kernel)]
        values["way"] = way.name
        values["singles"] = way.uses.singles
        values["sums"] = any(isinstance(body, SeparableBody) and body.matrix.sum for body in names)
    elif isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "turned":
        values["turning"] = names[TurningBody()]
        values["turned"] = {body.pattern: names[body] for body in turned_bodies(depthwise)}
    elif isinstance(depthwise, DepthwiseKernel):
        found: dict[int, Pixels] = {}
        for body in depthwise_bodies(depthwise, column=isinstance(kernel, SeparableKernel)):
            before = found.get(body.taps, Pixels("", ""))
            found[body.taps] = replace(before, **{"whole" if body.whole else "partial": names[body]})
        values["pixels"] = found
    return values


def _tidy(text: str) -> str:
    """Without the empty lines that templates leave."""
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r"\n\n}", "\n}", text).strip("\n") + "\n"


def helper_code(texts: str) -> str:
    """The helpers that `texts` call, and those that these call, each after what it needs."""
    wanted: list[str] = []
    called = set(_CALLED.findall(texts))
    for name in reversed(HELPERS):
        if name in called:
            text = (data_directory("templates") / "mcu" / "helpers" / f"{name}.c").read_text(encoding="utf-8")
            wanted.insert(0, text)
            called.update(_CALLED.findall(text))
    return "\n".join(wanted)


def placeable(code: str, macro: str) -> str:
    """C text with `<macro>_CODE_ATTR` at every static function, so that firmware can choose a memory for all code."""
    return _STATIC_FUNCTION.sub(rf"\g<0>{macro}_CODE_ATTR ", code)


def declaration(parameter: Parameter) -> str:
    """`const int8_t *x`."""
    return f"{'' if parameter.written else 'const '}{C_TYPES[parameter.dtype]} *{parameter.name}"


def _code(kernel: McuKernel, name: str, prefix: str = "") -> Code:
    pointers = [declaration(parameter) for parameter in kernel.parameters]
    parameters = (*pointers, *(f"int32_t {name}" for name in row_bounds(kernel)))
    constants: tuple[Parameter, ...] = ()
    if isinstance(kernel, ConvKernel | SeparableKernel | DepthwiseKernel | DenseKernel | MeanKernel):
        constants = kernel.epilogue.constants(prefix)
    element = kernel.parameters[-1].dtype
    padding = "0"
    if isinstance(kernel, RowSumKernel) and isinstance(kernel.whole, MeanKernel):
        constants = kernel.whole.epilogue.constants()
    if isinstance(kernel, ConvKernel):
        padding = _literal(kernel.padding, element == "float32")
    if isinstance(kernel, FillKernel):
        padding = _literal(kernel.value, element == "float32")
    if isinstance(kernel, CopyKernel):
        element = kernel.element
    return Code(
        name=name,
        element=C_TYPES[element],
        sum="float" if element == "float32" else "int32_t",
        parameters=parameters,
        constants=constants,
        padding=padding,
        residual=isinstance(kernel, ConvKernel | SeparableKernel) and kernel.residual is not None,
    )


def _literal(value: float, real: bool) -> str:
    return c_float(float(value)) if real else str(int(value))


def _bound(value: float) -> str:
    """A bound of a clip; infinities become the largest float."""
    return c_float(max(min(value, 3.4028234e38), -3.4028234e38)) if math.isinf(value) else c_float(value)


def _signed(value: int) -> str:
    """A number that can stand after an operator."""
    return str(value) if value >= 0 else f"({value})"


def _times(name: str, factor: int) -> str:
    return name if factor == 1 else f"{name} * {factor}"


def _minus(expression: str, value: int) -> str:
    """`(x - 3)`, `(x + 3)` or just the expression."""
    if not value:
        return expression
    return f"({expression} {'-' if value > 0 else '+'} {abs(value)})"


def _all_inside(axis: Axis) -> bool:
    return axis.all_inside


def _spans(axis: Axis, descending: bool) -> tuple[Span, ...]:
    return tuple(reversed(axis.spans)) if descending else axis.spans


def _column_taps(axis: Axis) -> list[tuple[int, int]]:
    """The different ranges of taps inside the image."""
    return sorted({span.taps for span in axis.spans})


def _window_start(axis: Axis, span: Span, channels: int) -> str:
    """Elements from the start of an image row to the first tap inside, as an expression in `column`."""
    first, end = span.taps
    if first == end:
        return "0"
    if span.end - span.begin == 1:
        return str(axis.position(span.begin, first) * channels)
    start = axis.position(0, first) * channels
    shift = f" {'+' if start > 0 else '-'} {abs(start)}" if start else ""
    return f"column * {axis.stride * channels}{shift}"


def _describe(window: Window, out_channels: int) -> str:
    """`3x3, stride 2: [48, 48, 8] -> [24, 24, 16]`."""
    rows, columns = window.rows, window.columns
    strides = {rows.stride, columns.stride}
    stride = f"stride {strides.pop()}" if len(strides) == 1 else f"strides {rows.stride} and {columns.stride}"
    shapes = f"[{rows.size}, {columns.size}, {window.channels}] -> [{rows.outputs}, {columns.outputs}, {out_channels}]"
    return f"{rows.kernel}x{columns.kernel}, {stride}: {shapes}"


def _index(strides: tuple[int, ...]) -> str:
    terms = [_times(f"i{axis}", stride) for axis, stride in enumerate(strides) if stride]
    return " + ".join(terms) or "0"


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _largest_divisor(value: int, limit: int) -> int:
    return max(divisor for divisor in range(1, limit + 1) if value % divisor == 0)


def _numbers(shape: DataclassInstance) -> list[str]:
    """The integers of a structure, as C."""
    return [str(value) for value in astuple(shape)]


def _depthwise_numbers(kernel: DepthwiseKernel) -> list[str]:
    """A depthwise_shape as C; its third number is a word of two halves."""
    return [
        f"0x{value:08x}u" if place == 2 else str(value) for place, value in enumerate(astuple(depthwise_shape(kernel)))
    ]


def _matrix_numbers(kernel: ConvKernel | SeparableKernel) -> list[str]:
    """A matrix_shape as C."""
    return _numbers(matrix_shape(kernel))


def _held_numbers(kernel: ConvKernel, pixels: int) -> list[str]:
    """A held_shape as C."""
    return _numbers(held_shape(kernel, pixels))


def _held_pixels(kernel: ConvKernel) -> int:
    """Pixels of a group whose columns are held."""
    return held_pixels(kernel.depth)


def _separable_numbers(kernel: SeparableKernel, sums: bool) -> list[str]:
    """A separable_shape as C; it has the constants of a sum only if some layer has `sums`."""
    numbers = _numbers(separable_shape(kernel))
    return numbers if sums else numbers[:-3]


def _scale_numbers(kernel: ScaleKernel) -> list[str]:
    """A scale_shape as C."""
    return _numbers(scale_shape(kernel))


def _turned_numbers(kernel: DepthwiseKernel) -> list[str]:
    """A turned_shape as C."""
    return _numbers(turned_shape(kernel))


def _start(epilogue: Epilogue) -> str:
    """The zero point of a searched multiplication before its last shift, as C."""
    assert isinstance(epilogue, IntegerEpilogue)
    return str(epilogue.zero_point * (1 << epilogue.right))


def _planes_numbers(kernel: DepthwiseKernel) -> list[str]:
    """A planes_shape as C; its last number is a word of two halves."""
    shape = turning_shape(kernel) if kernel.variant == "turned" else planes_shape(kernel)
    *numbers, offsets = astuple(shape)
    return [*map(str, numbers), f"0x{offsets:08x}u"]


def _rows_matrix_numbers(kernel: ConvKernel | SeparableKernel) -> list[list[str]]:
    """All matrix_rows_shape of a kernel as C."""
    return [_numbers(shape) for shape in rows_matrix_shapes(kernel)]


@cache
def _environment() -> jinja2.Environment:
    overlay = environment().overlay()
    overlay.filters = {
        **overlay.filters,
        **MVE_FILTERS,
        **RVV_FILTERS,
        "all_inside": _all_inside,
        "bound": _bound,
        "c_type": C_TYPES.__getitem__,
        "column_taps": _column_taps,
        "depthwise_shape": _depthwise_numbers,
        "describe": _describe,
        "group_slots": group_slots,
        "held_pixels": _held_pixels,
        "held_shape": _held_numbers,
        "immediates": immediates,
        "index": _index,
        "largest_divisor": _largest_divisor,
        "matrix_shape": _matrix_numbers,
        "minus": _minus,
        "pixels": pixels_of,
        "planes_record_words": planes_record_words,
        "planes_shape": _planes_numbers,
        "round_up": _round_up,
        "rows_table": rows_table,
        "rows_matrix_shapes": _rows_matrix_numbers,
        "scale_bias": scale_bias,
        "scale_shape": _scale_numbers,
        "separable_shape": _separable_numbers,
        "signed": _signed,
        "spans": _spans,
        "start": _start,
        "tap_words": tap_words,
        "times": _times,
        "turned_pitch": turned_pitch,
        "turned_runs": turned_runs,
        "turned_shape": _turned_numbers,
        "window_start": _window_start,
        "words_before": words_before,
        "words_behind": words_behind,
        "y_row_bytes": y_row_bytes,
    }
    return overlay
