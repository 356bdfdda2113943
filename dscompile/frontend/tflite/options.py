"""Options of TFLite operators as one plain record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Table = Any  # an object of the generated reader; it has no types


@dataclass(frozen=True)
class Masks:
    """Bits per entry of a STRIDED_SLICE: begins and ends that do not count, axes that go; entries of other meanings."""

    begin: int = 0
    end: int = 0
    shrink: int = 0
    ellipsis: int = 0
    new_axis: int = 0


@dataclass(frozen=True)
class Options:
    """Options of all supported operators; each operator has some of them. Pairs are (height, width)."""

    activation: str = "NONE"
    padding: str = "VALID"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    axis: int = 0
    keep_axes: bool = False
    scale: float = 0.0  # beta of SOFTMAX, alpha of LEAKY_RELU
    sizes: tuple[int, ...] = ()  # new shape of RESHAPE, axes of SQUEEZE
    shuffled_weights: bool = False
    masks: Masks = Masks()
    relative_ends: bool = False  # STRIDED_SLICE: ends count from the begins
    align_corners: bool = False
    half_pixel_centers: bool = False
    block_size: int = 1
    mode: str = ""  # of MIRROR_PAD
    approximate: bool = False  # GELU with tanh
    adjoint: tuple[bool, bool] = (False, False)  # BATCH_MATMUL: which matrices are transposed
    variable: str = ""  # VAR_HANDLE: which one
    subgraph: int = 0  # CALL_ONCE: which one runs before the first inference


class OptionReader:
    """Reads options with the generated reader `tflite`, a module."""

    def __init__(self, tflite: Any) -> None:  # noqa: ANN401 - a module, imported late
        self.tflite = tflite

    def read(self, op: str, table: Table) -> Options:
        """The options of an operator. Raises OptionsError for those of another one."""
        if op not in _OPTIONS:
            return Options()
        kind, read = _OPTIONS[op]
        union = table.BuiltinOptions()
        if union is None:
            return Options()
        if table.BuiltinOptionsType() != getattr(self.tflite.BuiltinOptions, kind):
            raise OptionsError(f"{op} has options of another operator")
        options = getattr(self.tflite, kind)()
        options.Init(union.Bytes, union.Pos)
        return read(self, options)

    def activation(self, code: int) -> str:
        """The name of a fused activation."""
        return names(self.tflite.ActivationFunctionType).get(code, f"activation {code}")

    def padding(self, code: int) -> str:
        """SAME or VALID."""
        return names(self.tflite.Padding).get(code, f"padding {code}")


class OptionsError(Exception):
    """Options that do not belong to their operator; the message says so."""


def names(enumeration: type) -> dict[int, str]:
    """The names of an enumeration of the generated reader by their codes."""
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int) and name[0] != "_"}


def text(raw: bytes | None) -> str:
    """A string of the file."""
    return (raw or b"").decode("utf-8", "replace")


def sizes(found: Any) -> tuple[int, ...]:  # noqa: ANN401 - 0 stands for "no vector"
    """The numbers of a vector; none if it is absent."""
    return tuple(int(size) for size in found) if isinstance(found, np.ndarray) else ()


def _convolution(reader: OptionReader, table: Table) -> Options:
    return Options(
        activation=reader.activation(table.FusedActivationFunction()),
        padding=reader.padding(table.Padding()),
        stride=(table.StrideH(), table.StrideW()),
        dilation=(table.DilationHFactor(), table.DilationWFactor()),
    )


def _pool(reader: OptionReader, table: Table) -> Options:
    return Options(
        activation=reader.activation(table.FusedActivationFunction()),
        padding=reader.padding(table.Padding()),
        stride=(table.StrideH(), table.StrideW()),
        window=(table.FilterHeight(), table.FilterWidth()),
    )


def _fully_connected(reader: OptionReader, table: Table) -> Options:
    return Options(
        activation=reader.activation(table.FusedActivationFunction()),
        keep_axes=bool(table.KeepNumDims()),
        shuffled_weights=table.WeightsFormat() != 0,
    )


def _fused(reader: OptionReader, table: Table) -> Options:
    return Options(activation=reader.activation(table.FusedActivationFunction()))


def _concatenation(reader: OptionReader, table: Table) -> Options:
    return Options(activation=reader.activation(table.FusedActivationFunction()), axis=table.Axis())


def _transpose_conv(reader: OptionReader, table: Table) -> Options:
    return Options(
        activation=reader.activation(table.FusedActivationFunction()),
        padding=reader.padding(table.Padding()),
        stride=(table.StrideH(), table.StrideW()),
    )


def _resize(_: OptionReader, table: Table) -> Options:
    return Options(align_corners=bool(table.AlignCorners()), half_pixel_centers=bool(table.HalfPixelCenters()))


def _block(_: OptionReader, table: Table) -> Options:
    return Options(block_size=table.BlockSize())


def _reducer(_: OptionReader, table: Table) -> Options:
    return Options(keep_axes=bool(table.KeepDims()))


def _axis(_: OptionReader, table: Table) -> Options:
    return Options(axis=table.Axis())


def _mirror(reader: OptionReader, table: Table) -> Options:
    return Options(mode=names(reader.tflite.MirrorPadMode).get(table.Mode(), f"{table.Mode()}"))


def _strided_slice(_: OptionReader, table: Table) -> Options:
    masks = Masks(table.BeginMask(), table.EndMask(), table.ShrinkAxisMask(), table.EllipsisMask(), table.NewAxisMask())
    return Options(masks=masks, relative_ends=bool(table.Offset()))


_OPTIONS: dict[str, tuple[str, Callable[[OptionReader, Table], Options]]] = {
    "ADD": ("AddOptions", _fused),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _pool),
    "BATCH_MATMUL": (
        "BatchMatMulOptions",
        lambda _, table: Options(adjoint=(bool(table.AdjX()), bool(table.AdjY()))),
    ),
    "CALL_ONCE": ("CallOnceOptions", lambda _, table: Options(subgraph=table.InitSubgraphIndex())),
    "CONCATENATION": ("ConcatenationOptions", _concatenation),
    "CONV_2D": ("Conv2DOptions", _convolution),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _convolution),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", _block),
    "DIV": ("DivOptions", _fused),
    "FULLY_CONNECTED": ("FullyConnectedOptions", _fully_connected),
    "GELU": ("GeluOptions", lambda _, table: Options(approximate=bool(table.Approximate()))),
    "LEAKY_RELU": ("LeakyReluOptions", lambda _, table: Options(scale=table.Alpha())),
    "MAX_POOL_2D": ("Pool2DOptions", _pool),
    "MEAN": ("ReducerOptions", _reducer),
    "MIRROR_PAD": ("MirrorPadOptions", _mirror),
    "MUL": ("MulOptions", _fused),
    "PACK": ("PackOptions", _axis),
    "REDUCE_MAX": ("ReducerOptions", _reducer),
    "RESHAPE": ("ReshapeOptions", lambda _, table: Options(sizes=sizes(table.NewShapeAsNumpy()))),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", _resize),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", _resize),
    "SOFTMAX": ("SoftmaxOptions", lambda _, table: Options(scale=table.Beta())),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", _block),
    "SQUEEZE": ("SqueezeOptions", lambda _, table: Options(sizes=sizes(table.SqueezeDimsAsNumpy()))),
    "STRIDED_SLICE": ("StridedSliceOptions", _strided_slice),
    "SUB": ("SubOptions", _fused),
    "SUM": ("ReducerOptions", _reducer),
    "TRANSPOSE_CONV": ("TransposeConvOptions", _transpose_conv),
    "UNPACK": ("UnpackOptions", _axis),
    "VAR_HANDLE": (
        "VarHandleOptions",
        lambda _, table: Options(variable=f"{text(table.Container())}/{text(table.SharedName())}"),
    ),
}
