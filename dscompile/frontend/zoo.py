"""The zoo: well-known networks that travel with the package as net.yaml files with seeded weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dscompile.data import data_directory
from dscompile.errors import UsageError, did_you_mean
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.paths import refuse_existing, write_files
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.tensor import Tensor


@dataclass(frozen=True)
class ZooEntry:
    """One network of the zoo. `macs` and `parameters` are counted from its layers, batch norm folded."""

    name: str
    title: str
    paper: str
    input: Tensor
    macs: int
    parameters: int


def zoo_names() -> tuple[str, ...]:
    """Names of all networks, sorted."""
    return tuple(sorted(path.stem for path in data_directory("nets").glob("*.yaml")))


def zoo_path(name: str) -> Path:
    """The net.yaml of a network. UsageError, with the nearest name, if there is none."""
    names = zoo_names()
    if name not in names:
        raise UsageError(
            f"the zoo has no network '{name}'", help=did_you_mean(name, names) or f"it has {', '.join(names)}"
        )
    return data_directory("nets") / f"{name}.yaml"


def zoo_entry(name: str) -> ZooEntry:
    """What the zoo knows of a network. UsageError if there is none of this name."""
    file = read_netfile(zoo_path(name), load_weights=False)
    network = file.network
    return ZooEntry(
        name,
        file.title,
        file.paper,
        network.tensor(network.inputs[0]),
        sum(layer_macs(network, layer) for layer in network.layers),
        sum(layer_parameters(network, layer) for layer in network.layers),
    )


def list_zoo() -> tuple[ZooEntry, ...]:
    """All networks, by name."""
    return tuple(zoo_entry(name) for name in zoo_names())


def write_zoo(name: str, directory: Path) -> Path:
    """Copies a network's net.yaml, comments and all, to `<directory>/<name>.yaml`.

    UsageError if there is no such network, or such a file already; ToolError if the disk refuses.
    """
    source = zoo_path(name)
    refuse_existing(directory, (source.name,))
    return write_files(directory, {source.name: source.read_bytes()})[0]
