"""Windows of ONNX convolutions and pools: kernel, stride, dilation and the padding that `auto_pad` stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.onnx.reader import OnnxNode
from dscompile.ir.ops import Pads, Pair
from dscompile.ir.shapes import dilated_extent, same_pads


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution or a pool on one image."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    pads: Pads


def window_of(node: OnnxNode, image: Pair, kernel: Pair | None = None) -> Window:
    """Reads the attributes of a node on an image [H, W]. `kernel` is that of the weights, if there are any."""
    given = _pair(node, "kernel_shape", kernel)
    if given is None:
        raise BadInputError("attribute 'kernel_shape' is missing")
    if kernel is not None and given != kernel:
        raise BadInputError(f"kernel_shape {list(given)} contradicts weights of {list(kernel)}")
    stride = _pair(node, "strides", (1, 1)) or (1, 1)
    dilation = _pair(node, "dilations", (1, 1)) or (1, 1)
    return Window(given, stride, dilation, _pads(node, image, given, stride, dilation))


def with_ceil_mode(image: Pair, window: Window, *, counts: bool) -> Window:
    """The window with the padding that `ceil_mode` stands for: the last window may reach over the border.

    Raises UnsupportedError where that adds windows to an average that `counts` its padding, but not this one.
    """
    pads = window.pads
    befores, afters = (pads.top, pads.left), (pads.bottom, pads.right)
    more = [
        _beyond(image[axis], window.kernel[axis], window.stride[axis], befores[axis], afters[axis]) for axis in (0, 1)
    ]
    if counts and any(more):
        raise UnsupportedError("ceil_mode with windows that reach over the border of an average that counts padding")
    return replace(window, pads=Pads(pads.top, pads.bottom + more[0], pads.left, pads.right + more[1]))


def _beyond(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Elements behind the padding that a last window needs, which must begin inside the image or its padding."""
    windows = -(-(size + before + after - kernel) // stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return max(0, (windows - 1) * stride + kernel - (size + before + after))


def _pair(node: OnnxNode, name: str, default: Pair | None) -> Pair | None:
    values = node.integers(name)
    if values is None:
        return default
    if len(values) != 2:
        raise UnsupportedError(f"{name} {list(values)}; only 2-D windows are supported")
    if min(values) < 1:
        raise BadInputError(f"{name} {list(values)} must be positive")
    return values[0], values[1]


def _pads(node: OnnxNode, image: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    mode = node.text("auto_pad", "NOTSET")
    match mode:
        case "SAME_UPPER":
            return same_pads(*image, kernel, stride, dilation)
        case "SAME_LOWER":  # the odd row comes first
            upper = same_pads(*image, kernel, stride, dilation)
            return Pads(upper.bottom, upper.top, upper.right, upper.left)
        case "VALID":
            return Pads()
        case "NOTSET" | "":
            pads = node.integers("pads") or (0, 0, 0, 0)
            if len(pads) != 4:
                raise UnsupportedError(f"pads {list(pads)}; only 2-D windows are supported")
            if min(pads) < 0:
                raise UnsupportedError(f"pads {list(pads)}; negative padding (cropping) is not supported")
            top, left, bottom, right = pads
            return Pads(top, bottom, left, right)
    raise BadInputError(f"auto_pad '{mode}' is none of NOTSET, SAME_UPPER, SAME_LOWER, VALID")


@dataclass(frozen=True)
class TransposedPadding:
    """What a transposed convolution cuts off, and the rows and columns of nothing but bias that it adds `behind`."""

    pads: Pads
    behind: Pair


def pads_of_transposed(node: OnnxNode, image: Pair, window: Window) -> TransposedPadding:
    """The padding of a ConvTranspose: given, or what is too much for the size that it asks for."""
    added = node.integers("output_padding") or (0, 0)
    if len(added) != 2 or min(added) < 0:
        raise BadInputError(f"output_padding {list(added)} must be two numbers from 0 on")
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = (image[0] * window.stride[0], image[1] * window.stride[1])
    if wanted is None:
        return TransposedPadding(
            _pads(node, image, window.kernel, window.stride, window.dilation), (added[0], added[1])
        )
    sides = []
    for axis, size in enumerate(wanted[-2:]):
        extent = dilated_extent(window.kernel[axis], window.dilation[axis])
        total = (image[axis] - 1) * window.stride[axis] + added[axis] + extent - size
        if total < 0:
            raise UnsupportedError(f"an output of {list(wanted)} is larger than what the windows reach")
        less, more = total // 2, total - total // 2
        sides.append((less, more) if mode == "SAME_UPPER" else (more, less))
    (top, bottom), (left, right) = sides
    return TransposedPadding(Pads(top, bottom, left, right), (added[0], added[1]))
