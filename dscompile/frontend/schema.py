"""What a net.yaml says about layers, after reading and before shapes are known.

One small frozen dataclass for each body of a layer; `layers` makes them from YAML, `builder` turns them into operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dscompile.errors import Position
from dscompile.frontend.integers import ResultType
from dscompile.frontend.stored import AskedStorage
from dscompile.ir.ops import NONE, RELU, SIGMOID, Activation, Op, Pads, Pair, Resize
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import BorderLayout, Tensor

Padding = Literal["same", "valid"] | Pads


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image. `kernel` (0, 0) is the whole image."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = "same"
    dilation: Pair = (1, 1)

    def pads(self, height: int, width: int) -> Pads:
        """The padding of an image of this size."""
        match self.padding:
            case "same":
                kernel = (height, width) if self.kernel == (0, 0) else self.kernel
                return same_pads(height, width, kernel, self.stride, self.dilation)
            case "valid":
                return Pads()
            case pads:
                return pads


@dataclass(frozen=True)
class Defaults:
    """`network.defaults`: used where a layer does not say otherwise. A bias of None is as the weights file has it."""

    padding: Padding = "same"
    activation: Activation | None = None
    bias: bool | None = None


@dataclass(frozen=True)
class ConvBody:
    """Convolution with `out` channels; pointwise is the one with a 1x1 window."""

    out: int
    window: Window
    groups: int = 1
    activation: Activation = NONE
    bias: bool | None = None


@dataclass(frozen=True)
class DepthwiseBody:
    """Every channel has `multiplier` filters of its own.

    With `kernels` the channels are parted, and each part has square kernels of one of these sizes instead of the
    window's (Tan and Le 2019, MixConv, section 3.1).
    """

    window: Window
    multiplier: int = 1
    activation: Activation = NONE
    bias: bool | None = None
    kernels: tuple[int, ...] = ()


@dataclass(frozen=True)
class SeparableBody:
    """Depthwise, then pointwise (Howard et al. 2017, figure 3, right); activation and bias are the pointwise half's."""

    out: int
    depthwise: DepthwiseBody
    activation: Activation = NONE
    bias: bool | None = None


@dataclass(frozen=True)
class SqueezeExciteBody:
    """Channels scaled by a gate computed from their means (Hu et al. 2018).

    `channels` 0: `ratio` of those that are scaled, or of those that the block around it reads, if it is `of_input`;
    rounded to a multiple of `multiple`.
    """

    ratio: float = 0.25
    channels: int = 0
    activation: Activation = RELU
    gate: Activation = SIGMOID
    multiple: int = 1
    of_input: bool = False


@dataclass(frozen=True)
class InvertedResidualBody:
    """Pointwise to `expand` times the channels, depthwise, linear pointwise (Sandler et al. 2018, table 1).

    `hidden` is the number of channels in between itself, unless it is 0. The pointwise convolutions may be grouped.
    """

    out: int
    expand: float
    hidden: int
    depthwise: DepthwiseBody
    squeeze: SqueezeExciteBody | None = None
    expand_groups: int = 1
    project_groups: int = 1


@dataclass(frozen=True)
class ShuffleV1Body:
    """A unit of ShuffleNet (Zhang et al. 2018, figure 2): grouped pointwise convolutions with a shuffle in between.

    The first of them has `reduce_groups` groups: the paper's very first unit has it ungrouped.
    """

    out: int
    groups: int
    reduce_groups: int
    stride: int = 1
    activation: Activation = RELU
    bias: bool | None = None


@dataclass(frozen=True)
class ShuffleV2Body:
    """A unit of ShuffleNetV2 (Ma et al. 2018, figure 3 c and d)."""

    out: int
    stride: int = 1
    activation: Activation = RELU
    bias: bool | None = None


@dataclass(frozen=True)
class BlazeBlockBody:
    """A block of BlazeFace (Bazarevsky et al. 2019, figure 1), the double one if `project` is not 0."""

    out: int
    kernel: Pair = (5, 5)
    project: int = 0
    stride: int = 1
    activation: Activation = RELU
    bias: bool | None = None


@dataclass(frozen=True)
class TransposedConvBody:
    """A transposed convolution; `same` padding makes the image as many times larger as the stride says."""

    out: int
    window: Window
    groups: int = 1
    output_padding: Pair = (0, 0)
    activation: Activation = NONE
    bias: bool | None = None


@dataclass(frozen=True)
class DenseBody:
    """Fully connected; an input of another rank than 2 is flattened first."""

    out: int
    activation: Activation = NONE
    bias: bool | None = None


@dataclass(frozen=True)
class PoolBody:
    """Average or maximum over windows; with `into` over that many side by side, which make up the image."""

    kind: Literal["average", "max"]
    window: Window
    count_pads: bool = False
    activation: Activation = NONE
    into: Pair | None = None


@dataclass(frozen=True)
class ResizeBody:
    """An image on another grid: of the size of `op`, `factor` times that of the input, or of the size of `like`."""

    op: Resize
    factor: tuple[float, float] | None = None
    like: Reference | None = None


@dataclass(frozen=True)
class ConcatBody:
    """Joins its inputs; a negative axis counts from the last."""

    axis: int = -1


@dataclass(frozen=True)
class SplitBody:
    """Cuts its input along `axis`: into `parts` equal ones, or by `sizes`; a negative axis counts from the last."""

    parts: int = 0
    sizes: tuple[int, ...] = ()
    axis: int = -1


@dataclass(frozen=True)
class SliceBody:
    """The elements from the first number of each pair up to but not including the second; None: all of them.

    Or those between two corners, of which each has a number per axis; every `step`-th of them if that is given.
    """

    rows: Pair | None = None
    columns: Pair | None = None
    channels: Pair | None = None
    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    step: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReshapeBody:
    """Another shape for the same elements; one size may be -1."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class FlattenBody:
    """All but the first axis become one."""


@dataclass(frozen=True)
class OperatorBody:
    """A layer whose operator does not depend on its input's shape."""

    op: Op


Body = (
    ConvBody
    | DepthwiseBody
    | SeparableBody
    | SqueezeExciteBody
    | InvertedResidualBody
    | ShuffleV1Body
    | ShuffleV2Body
    | BlazeBlockBody
    | TransposedConvBody
    | DenseBody
    | PoolBody
    | ResizeBody
    | ConcatBody
    | SplitBody
    | SliceBody
    | ReshapeBody
    | FlattenBody
    | OperatorBody
)


@dataclass(frozen=True)
class Reference:
    """A tensor or layer named in `from:` or `outputs:`."""

    name: str
    position: Position


@dataclass(frozen=True)
class LayerSpec:
    """One entry of `layers:`.

    `inputs` is None where the file has no `from:`. `body` is None if its keys were wrong: the entry still names a
    tensor, so that layers reading it are not reported as well. `result` is None where the file leaves the type of the
    result to the layer's input, `storage` where it leaves that of the weights to `quantization:`.
    """

    kind: str
    name: str
    inputs: tuple[Reference, ...] | None
    output: str | None
    repeat: int
    body: Body | None
    position: Position
    result: ResultType | None = None
    storage: AskedStorage | None = None

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the repeats: block1, block2, ... (stage1_1, stage1_2, ... after a digit); the name itself if 1."""
        if self.repeat == 1:
            return (self.name,)
        return repeated_names(self.name, self.repeat)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything `from:` may call the entry by, its inner layers aside."""
        return (self.name, *self.block_names, *([self.output] if self.output else []))


def repeated_names(name: str, repeat: int) -> tuple[str, ...]:
    """`name` numbered from 1, with an underscore between two digits."""
    joint = "_" if name[-1:].isdigit() else ""
    return tuple(f"{name}{joint}{number}" for number in range(1, repeat + 1))


@dataclass(frozen=True)
class InputSpec:
    """One input of the network; `tensor` is None if its description was wrong."""

    name: str
    tensor: Tensor | None
    position: Position


@dataclass(frozen=True)
class StateSpec:
    """One entry of `states:`: `given` as of an input, the tensor that it becomes, and its first value, a real number.

    An `initial` of None is an array among the weights.
    """

    given: InputSpec
    next: Reference
    initial: float | None


@dataclass(frozen=True)
class OutputSpec:
    """One entry of `outputs:`. A layout of None is the tensor's own."""

    reference: Reference
    layout: BorderLayout | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """The section `network:`. `outputs` is None where the file leaves it to the last layer."""

    name: str
    title: str
    paper: str
    version: str
    license: str
    inputs: tuple[InputSpec, ...]
    layers: tuple[LayerSpec, ...]
    outputs: tuple[OutputSpec, ...] | None
    labels: tuple[str, ...]
    labels_position: Position | None = None
    states: tuple[StateSpec, ...] = ()
