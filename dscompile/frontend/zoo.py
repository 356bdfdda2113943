"""The zoo: well-known networks that travel with the package as net.yaml files with seeded weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dscompile.data import data_directory
from dscompile.errors import BadInputError, UsageError, did_you_mean
from dscompile.frontend.netfile import netfile_from_text
from dscompile.frontend.paths import refuse_existing, write_files
from dscompile.frontend.zoo_scaling import scaled_name, scaled_yaml
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.ops import Pair
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


def zoo_yaml(name: str, width: float | None = None, resolution: Pair | None = None) -> str:
    """The net.yaml of a network, at another width or with another size of its image if these are given.

    UsageError if there is no such network, if it takes no width or has no image, or if the image is too small for it.
    """
    path = zoo_path(name)
    text = path.read_text(encoding="utf-8")
    if width is None and resolution is None:
        return text
    scaled = scaled_yaml(name, text, width, resolution)
    try:
        netfile_from_text(scaled, Path(f"{name}.yaml"), load_weights=False)
    except BadInputError as error:
        raise UsageError(
            f"'{name}' cannot have this size: {error.diagnostics[0].message}", help="try a larger --resolution"
        ) from None
    return scaled


def zoo_entry(name: str, width: float | None = None, resolution: Pair | None = None) -> ZooEntry:
    """What the zoo knows of a network, as it is or scaled. UsageError as of `zoo_yaml`."""
    file = netfile_from_text(zoo_yaml(name, width, resolution), zoo_path(name), load_weights=False)
    network = file.network
    return ZooEntry(
        network.name,
        file.title,
        file.paper,
        network.tensor(network.inputs[0]),
        sum(layer_macs(network, layer) for layer in network.layers),
        sum(layer_parameters(network, layer) for layer in network.layers),
    )


def list_zoo() -> tuple[ZooEntry, ...]:
    """All networks, by name."""
    return tuple(zoo_entry(name) for name in zoo_names())


def write_zoo(name: str, directory: Path, width: float | None = None, resolution: Pair | None = None) -> Path:
    """Writes a network's net.yaml, comments and all, to `<directory>/<name>.yaml`; the name of a scaled one says so.

    UsageError as of `zoo_yaml`, or if there is such a file already; ToolError if the disk refuses.
    """
    text = zoo_yaml(name, width, resolution)
    file = f"{scaled_name(name, width, resolution)}.yaml"
    refuse_existing(directory, (file,))
    return write_files(directory, {file: text.encode()})[0]
