"""Networks over a window of frames as networks that take frames one after the other. Nothing here imports tvm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.networks import Source, destination_beside, read_network

if TYPE_CHECKING:
    from dscompile.frontend.input_shapes import InputShapes
    from dscompile.ir.network import Network
    from dscompile.passes.slide import Slid


@dataclass(frozen=True)
class StreamResult:
    """What became of the network, and the net.yaml that describes it (its weights lie beside it)."""

    slid: Slid
    path: Path


def stream(
    source: Source,
    output: str | Path | None = None,
    *,
    step: int | None = None,
    axis: int | None = None,
    weights: str | Path | None = None,
    input_shapes: InputShapes | None = None,
) -> StreamResult:
    """Turns a network over a window of frames into one with state that takes new frames alone.

    After every step it gives what `source` gives on the window of the last frames, of int8 networks bit for bit; before
    the first frame there are zeros. Frames follow each other along `axis` of the input, counted in its own order
    (default: the first one after the batch, channels last, that is longer than 1). A step takes `step` frames (default:
    as many as strides over time make necessary). `output` is the net.yaml to write (default: <net>_stream.yaml in the
    current directory); `input_shapes` are those of build().

    Raises UsageError, BadInputError naming every layer that pads time, or UnsupportedError where nothing can be kept.
    """
    from dscompile.frontend.writer import write_netfile

    path = destination_beside(source, output, "stream")
    made = slid(read_network(source, weights, input_shapes=input_shapes).network, step=step, axis=axis)
    return StreamResult(made, write_netfile(made.network, path.parent, path.name, weights_stem=path.stem))


def slid(network: Network, *, step: int | None = None, axis: int | None = None) -> Slid:
    """`stream` of a network in memory, which writes nothing."""
    import numpy as np

    from dscompile.oracle.execute import run_all
    from dscompile.passes.slide import slide, time_axis

    along = time_axis(network, axis)
    (name,) = network.inputs
    tensor = network.tensor(name)
    zero = tensor.quantization.zero_point if tensor.quantization is not None else 0
    return slide(network, along, step, run_all(network, {name: np.full(tensor.shape, zero, tensor.dtype)}))
