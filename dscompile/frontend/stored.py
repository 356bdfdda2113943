"""How a net.yaml wants the weights of its layers stored: each layer that says so, or all by `quantization:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from dscompile.errors import Position
from dscompile.frontend.fields import Fields, Problems
from dscompile.ir.network import Layer, NetworkBuilder
from dscompile.ir.storage import STORAGES, Storage, mixes_channels, smallest_storage, storage_problem

AskedStorage = Storage | Literal["auto"]
_ASKED: tuple[AskedStorage, ...] = (*STORAGES, "auto")


def read_storage(fields: Fields) -> AskedStorage | None:
    """The key `storage`; None where it is absent."""
    if not fields.has("storage"):
        return None
    word = fields.choice("storage", _ASKED, "plain")
    return next(each for each in _ASKED if each == word)


def set_storage(
    builder: NetworkBuilder,
    asked: Mapping[str, AskedStorage],
    default: AskedStorage,
    positions: Mapping[str, Position],
    problems: Problems,
    *,
    loaded: bool,
) -> None:
    """Gives the layers their storage: `asked` by their names, `default` for the others that have a choice.

    `auto` is the smallest that a layer's weights fit. What does not fit is recorded at the layer's place. Weights that
    are not `loaded` are taken to fit, and to need a byte each where nobody says what they are.
    """
    for index, layer in enumerate(builder.layers):
        wanted = asked.get(layer.name, default if _has_choice(builder, layer) else "plain")
        if wanted == "plain":
            continue
        if not _has_choice(builder, layer):
            message = f"its weights cannot be stored as {wanted}: that is for int8 layers whose sums are over channels"
            help = "`dscompile quantize` makes an int8 network"
            problems.add(message, positions[layer.name], layer=layer.name, help=help)
            continue
        kernel = builder.weights.get(f"{layer.name}.kernel")
        if kernel is None:  # missing, and reported as such
            continue
        if not loaded:
            builder.layers[index] = replace(layer, storage="plain" if wanted == "auto" else wanted)
            continue
        storage = smallest_storage(kernel) if wanted == "auto" else wanted
        problem = storage_problem(storage, kernel)
        if problem is not None:
            message = f"its weights cannot be stored as {storage}: it has {problem}"
            help = "`storage: auto` packs what fits; `dscompile quantize` makes such weights"
            problems.add(message, positions[layer.name], layer=layer.name, help=help)
            continue
        builder.layers[index] = replace(layer, storage=storage)


def _has_choice(builder: NetworkBuilder, layer: Layer) -> bool:
    """Whether a layer is int8 and its sums are over channels."""
    if not layer.inputs:
        return False
    given = builder.tensors[layer.inputs[0]]
    return given.dtype == "int8" and mixes_channels(layer.op, given.shape)
