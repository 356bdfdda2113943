"""Standalone C of tiny networks as whole files; every template and helper stands in one of them.

To write them anew: `make golden`, or pytest tests/golden --update-golden.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2
import numpy as np
import pytest

from dscompile.data import data_directory
from dscompile.emit import mcu_code
from dscompile.emit.mcu import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Array, Network
from dscompile.target import Target, find_target
from tests.golden.conftest import GOLDEN, from_compiler
from tests.golden.mcu_networks import (
    activations,
    backbone,
    borders,
    grids,
    indices,
    large_windows,
    pushed,
    separables,
    streaming,
    sums,
)
from tests.mcu import planned
from tests.packed_networks import stored

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


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
    "turned_m4": Case(lambda: large_windows("turned_m4", "tflite"), "cortex-m4"),
    "packed_m4": Case(lambda: stored(separables("packed_m4", "tflite"), "int4"), "cortex-m4"),
    "packed_m0plus": Case(lambda: stored(separables("packed_m0plus", "tflite"), "int4"), "cortex-m0plus"),
    "packed_rv32": Case(lambda: stored(separables("packed_rv32", "tflite"), "int4-2:4"), "rv32imc"),
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
}


def measured_here(name: str) -> Target:
    """The target with gcc in the place of its cross compiler, which only says how large the code is."""
    return replace(find_target(name), board=None, compiler="gcc", compiler_flags=())


def counting(network: Network) -> dict[str, Array]:
    """Outputs for the self-test: 0, 1, 2, ... Whether results are right is tested elsewhere, on more than one input."""
    tensors = [network.tensor(name) for name in network.user_outputs]
    return {t.name: (np.arange(t.elements) % 128).astype(t.dtype).reshape(t.border_shape) for t in tensors}


@dataclass(frozen=True)
class Generated:
    """File name -> text of a case, and the templates that they were made from."""

    files: dict[str, str]
    templates: frozenset[str]


@cache
def generated(name: str) -> Generated:
    """The files of a case."""
    case = CASES[name]
    network = case.network()
    used: set[str] = set()
    get_template = jinja2.Environment.get_template

    def recording(self: jinja2.Environment, template: str, *more: object, **named: object) -> jinja2.Template:
        used.add(str(template))
        return get_template(self, template, *more, **named)  # type: ignore[arg-type]

    inputs = selftest_input(network)
    program = planned(network, measured_here(case.target), affine=case.affine, memory=case.memory)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as scratch:
        patch.setattr(jinja2.Environment, "get_template", recording)
        mcu_code._environment.cache_clear()  # templates that are loaded already do not ask again for those they import
        artifact = write_artifact(program, inputs, counting(network), Path(scratch) / name, origin=f"{name}.yaml")
        files = {artifact.driver.name: artifact.driver.read_text(encoding="utf-8")}
        if case.whole:
            rest = (artifact.header, *artifact.sources[1:], artifact.selftest)
            files |= {path.name: from_compiler(path.read_text(encoding="utf-8")) for path in rest}
    files = {file if file.startswith(name) else f"{name}_{file}": text for file, text in files.items()}
    return Generated(files, frozenset(used))


@pytest.mark.parametrize("name", CASES)
def test_standalone_c(name: str, golden: Callable[[str, str], None]) -> None:
    for file, text in generated(name).files.items():
        golden(f"mcu/{file}", text)


def test_no_golden_file_is_left_over() -> None:
    made = {file for name in CASES for file in generated(name).files}
    assert {path.name for path in (GOLDEN / "mcu").iterdir()} - made == set(), "delete what no case makes any more"


def test_every_template_stands_in_a_golden_file() -> None:
    used = {template for name in CASES for template in generated(name).templates}
    there = {f"mcu/{path.name}" for path in (data_directory("templates") / "mcu").glob("*.j2")}
    assert there - used == set(), "add a layer that uses it to tests/golden/mcu_networks.py"


def test_every_helper_stands_in_a_golden_file() -> None:
    texts = "".join(text for name in CASES for text in generated(name).files.values())
    there = {path.stem for path in (data_directory("templates") / "mcu" / "helpers").glob("*.c")}
    assert {name for name in there if f" {name}(" not in texts} == set(), "add a layer that uses it"
