"""Networks for targets and memory modes: between them they use every template and helper of standalone C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Network
from dscompile.target import Target, find_target
from tests.golden.mcu_networks import (
    activations,
    backbone,
    borders,
    by_channel,
    grids,
    indices,
    large_windows,
    pushed,
    rows_of_five,
    separables,
    squeezed,
    streaming,
    sums,
)
from tests.packed_networks import stored


@dataclass(frozen=True)
class Case:
    """A network, the target whose kernels it gets, whether its requantization is searched, and the memory mode.

    `whole` ones have golden headers, weights and self-tests as well; these look much the same in all.
    """

    network: Callable[[], Network]
    target: str = "c99"
    affine: bool = True
    whole: bool = False
    memory: MemoryMode = "fast"


# One case for each target whose kernels differ; a new set of kernels needs a line here.
CASES = {
    "float_c99": Case(lambda: backbone("float_c99"), whole=True),
    "int8_c99": Case(lambda: backbone("int8_c99", "tflite")),
    "int8_m4": Case(lambda: backbone("int8_m4", "tflite"), "cortex-m4", whole=True),
    "separables_m4": Case(lambda: separables("separables_m4", "tflite"), "cortex-m4"),
    "late_m4": Case(lambda: rows_of_five("late_m4", "tflite"), "cortex-m4"),
    "turned_m4": Case(lambda: large_windows("turned_m4", "tflite"), "cortex-m4"),
    "squeezed_m4": Case(lambda: squeezed("squeezed_m4", "tflite"), "cortex-m4"),
    "planes_m4": Case(lambda: by_channel("planes_m4", "tflite"), "cortex-m4"),
    "factors_m4": Case(lambda: backbone("factors_m4", "float32"), "cortex-m4", affine=False),
    "int8_m55": Case(lambda: backbone("int8_m55", "tflite"), "cortex-m55"),
    "int8_m0plus": Case(lambda: backbone("int8_m0plus", "tflite"), "cortex-m0plus"),
    "int8_rv32": Case(lambda: backbone("int8_rv32", "tflite"), "rv32imc"),
    "int8_rv64": Case(lambda: backbone("int8_rv64", "tflite"), "rv64gcv"),
    "borders": Case(lambda: borders("borders"), affine=False),
    "activations": Case(lambda: activations("activations")),
    "grids_float": Case(lambda: grids("grids_float")),
    "grids_int8": Case(lambda: grids("grids_int8", "tflite")),
    "indices": Case(lambda: indices("indices")),
    "sums_tflite": Case(lambda: sums("sums_tflite", "tflite"), affine=False),
    "sums_half_up": Case(lambda: sums("sums_half_up", "half-up"), affine=False),
    "streaming": Case(lambda: streaming("streaming"), whole=True),
    "streamed_c99": Case(lambda: backbone("streamed_c99"), whole=True, memory="stream"),
    "streamed_m4": Case(lambda: separables("streamed_m4", "tflite"), "cortex-m4", memory="balanced"),
    "streamed_m0plus": Case(lambda: pushed("streamed_m0plus", "tflite"), "cortex-m0plus", memory="stream"),
    "sums_single": Case(lambda: sums("sums_single", "single"), affine=False),
    "packed_m4": Case(lambda: stored(separables("packed_m4", "tflite"), "int4"), "cortex-m4"),
    "packed_m0plus": Case(lambda: stored(separables("packed_m0plus", "tflite"), "int4"), "cortex-m0plus"),
    "packed_m55": Case(lambda: stored(separables("packed_m55", "tflite"), "int4"), "cortex-m55"),
    "packed_rv64": Case(lambda: stored(separables("packed_rv64", "tflite"), "2:4"), "rv64gcv"),
    "packed_rv32": Case(lambda: stored(separables("packed_rv32", "tflite"), "int4-2:4"), "rv32imc"),
}


def measured_here(name: str) -> Target:
    """The target with gcc in the place of its cross compiler, which only says how large the code is."""
    return replace(find_target(name), board=None, compiler="gcc", compiler_flags=())
