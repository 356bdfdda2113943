"""What a caller may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from dscompile.ir.network import Array
from dscompile.ir.storage import Sparsity, WeightBits, WeightType
from dscompile.ir.tensor import Rounding

Method = Literal["min-max", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_METHOD: Method = "mse"
DEFAULT_KEEP = 0.9999
WeightRounding = Literal["nearest", "optimized"]
WEIGHT_ROUNDINGS: tuple[WeightRounding, ...] = get_args(WeightRounding)

Sample = Mapping[str, Array]
"""One float32 input of the network by name, channels last: [1, H, W, C]."""


@dataclass(frozen=True)
class Settings:
    """How ranges are chosen (`keep` is for percentile), the rounding, and which improvements may be tried.

    `rounding` is how the network requantizes when it runs; `weight_rounding` how its kernels become integers now.
    `weight_type` (int8 or int4) and `sparsity` are those of all layers that mix channels but the first and the last,
    `layer_weights` exceptions by name (quantization/stored.py).
    """

    method: Method = DEFAULT_METHOD
    keep: float = DEFAULT_KEEP
    rounding: Rounding = "tflite"
    equalize: bool = True
    bias_correction: bool = True
    weight_rounding: WeightRounding = "optimized"
    weight_type: WeightBits = "int8"
    sparsity: Sparsity | None = None
    layer_weights: Mapping[str, WeightType] = field(default_factory=lambda: MappingProxyType({}))
