"""Which layers get weights of four bits or zeros two of four, and what that leaves of a kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError, Diagnostic, did_you_mean
from dscompile.ir.network import Layer, Network
from dscompile.ir.storage import (
    FOUR,
    INT4_RANGE,
    KEPT,
    Storage,
    WeightBits,
    WeightType,
    in_fours,
    is_narrow,
    is_sparse,
    mixes_channels,
)
from dscompile.quantization.settings import Settings

_BYTE_LIMIT = 127  # -128 and -8 are not used: kernels are symmetric


def chosen_storage(network: Network, settings: Settings) -> Mapping[str, Storage]:
    """The layers of a lowered float32 network whose weights are not to have a byte each, and what these shall be.

    All that mix channels, but for the first and the last, where rounding costs most and little is saved; exceptions of
    the settings come first. Raises BadInputError for exceptions that name no such layer.
    """
    able = [layer.name for layer in network.layers if _mixes_channels(network, layer)]
    _check_names(able, settings.layer_weights)
    inside = _TYPES[settings.weight_type, settings.sparsity is not None]
    chosen: dict[str, Storage] = dict.fromkeys(able[1:-1], inside)
    chosen |= {name: as_storage(kind) for name, kind in settings.layer_weights.items()}
    return {name: storage for name, storage in chosen.items() if storage != "plain"}


_TYPES: Mapping[tuple[WeightBits, bool], Storage] = {
    ("int8", False): "plain",
    ("int4", False): "int4",
    ("int8", True): "2:4",
    ("int4", True): "int4-2:4",
}


def as_storage(kind: WeightType) -> Storage:
    """`int8` is stored as it is; the other words are those of storage."""
    return "plain" if kind == "int8" else kind


def _mixes_channels(network: Network, layer: Layer) -> bool:
    return bool(layer.inputs) and mixes_channels(layer.op, network.shape(layer.inputs[0]))


def _check_names(able: list[str], named: Mapping[str, WeightType]) -> None:
    problems = [
        Diagnostic(
            f"there is no layer '{name}' whose weights can be stored as {kind}",
            help=did_you_mean(name, able) or f"there are {', '.join(able)}",
        )
        for name, kind in named.items()
        if name not in able
    ]
    if problems:
        raise BadInputError(problems)


def weight_limit(storage: Storage) -> int:
    """The largest magnitude of a symmetric weight."""
    return INT4_RANGE[1] if is_narrow(storage) else _BYTE_LIMIT


def kept_places(kernel: NDArray[np.generic], storage: Storage) -> NDArray[np.bool_]:
    """Where weights of a float32 kernel [..., C_out] may be other than 0: 2:4 keeps the two largest of each four."""
    if not is_sparse(storage):
        return np.ones(kernel.shape, np.bool_)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    order = np.argsort(np.argsort(-np.abs(in_fours(matrix)), axis=1, kind="stable"), axis=1, kind="stable")
    kept = (order < KEPT).reshape(-1, FOUR, matrix.shape[1]).reshape(-1, matrix.shape[1])[: len(matrix)]
    return np.asarray(kept.reshape(kernel.shape))
