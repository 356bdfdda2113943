"""dscompile run DIR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
import numpy as np

from dscompile import api
from dscompile.cli import arrays, output
from dscompile.cli.arguments import artifact_argument
from dscompile.cli.settings import command as subcommand
from dscompile.errors import UsageError, did_you_mean
from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.artifact import Artifact
    from dscompile.ir.network import Array

_SHOWN = 10


@subcommand("run")
@artifact_argument
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="[NAME=]X.NPY",
    help="An array in the shape and type of the network's input. Repeats, with names, for several inputs.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(),
    metavar="Y.NPY",
    help="Where to write the output; .npz for several outputs.",
)
def command(directory: str, inputs: tuple[str, ...], destination: str | None) -> None:
    """Run one inference.

    Of a network with state, arrays with one more axis in front hold the inputs of consecutive inferences. Without
    --output, prints the largest elements of every output, by their labels if the network has any.
    """
    model = api.load(directory)
    results = _run(model, _read_inputs(model.artifact, inputs))
    if destination is not None:
        arrays.write(destination, results)
        output.result(f"wrote {destination}", {"files": [destination], "outputs": _shapes(results)})
        return
    labels = model.artifact.manifest.labels
    lines = []
    for index, (name, values) in enumerate(results.items()):
        lines += _describe(name, values, labels if index == 0 else ())
    output.result("\n".join(lines), {"outputs": _values(results)})


def _run(model: api.Model, inputs: dict[str, Array]) -> dict[str, Array]:
    """The outputs of one inference; of as many as the inputs of a network with state are for, one after the other."""
    manifest = model.artifact.manifest
    counts = {
        len(inputs[tensor.name]) if inputs[tensor.name].shape[1:] == tensor.border_shape else 0
        for tensor in manifest.inputs
        if tensor.name in inputs
    }
    if not manifest.slots or len(counts) != 1 or not (count := counts.pop()):
        return model.run(inputs)
    stream = model.stream()
    steps = [stream.run({name: values[step] for name, values in inputs.items()}) for step in range(count)]
    return {name: np.stack([outputs[name] for outputs in steps]) for name in steps[0]}


def _read_inputs(artifact: Artifact, arguments: Sequence[str]) -> dict[str, Array]:
    """`x.npy` for a network with one input, `name=x.npy` for several."""
    dtypes = {tensor.name: tensor.dtype for tensor in artifact.manifest.inputs}
    names = list(dtypes)
    result: dict[str, Array] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator or (name not in names and len(names) == 1):
            if len(names) != 1:
                raise UsageError(f"the network has {len(names)} inputs", help=f"write --input {names[0]}={argument}")
            name, path = names[0], argument
        if name not in names:
            advice = did_you_mean(name, names) or f"inputs are {', '.join(names)}"
            raise UsageError(f"the network has no input '{name}'", help=advice)
        if name in result:
            raise UsageError(f"input '{name}' is given twice")
        result[name] = arrays.read(path, dtypes[name])
    return result


def _describe(name: str, values: Array, labels: Sequence[str]) -> list[str]:
    flat = values.reshape(-1)
    order = sorted(range(flat.size), key=lambda index: -float(flat[index]))[:_SHOWN]
    more = f", the largest {len(order)}" if flat.size > len(order) else ""
    rows = [(labels[index] if labels else f"[{index}]", f"{flat[index]:.6g}") for index in order]
    return [f"{name} {list(values.shape)}{more}", text.fields(rows)]


def _values(results: Mapping[str, Array]) -> list[dict[str, object]]:
    return [
        {"name": name, "shape": list(values.shape), "values": values.reshape(-1).tolist()}
        for name, values in results.items()
    ]


def _shapes(results: Mapping[str, Array]) -> list[dict[str, object]]:
    return [{"name": name, "shape": list(values.shape)} for name, values in results.items()]
