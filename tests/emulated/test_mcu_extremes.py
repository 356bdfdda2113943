"""Int8 networks on emulated cores, with their assembly, at the ends of their inputs: bit for bit the oracle's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dscompile.frontend.load import load_network
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.extremes import wrong_at_extremes
from tests.golden.mcu_cases import CASES
from tests.mcu import write

DATA = Path(__file__).parents[1] / "data"
WITH_ASSEMBLY = [name for name, case in CASES.items() if case.target != "c99"]


def require_gcc(core: str) -> None:
    prefix = "riscv64-unknown-elf" if core.startswith("rv") else "arm-none-eabi"
    require("a cross compiler", shutil.which(f"{prefix}-gcc") is not None)


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", WITH_ASSEMBLY)
def test_every_kernel_of_a_core_at_extremes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    require_gcc(case.target)
    target = find_target(case.target)
    artifact = write(case.network(), tmp_path / "a", target, affine=case.affine, memory=case.memory)
    assert wrong_at_extremes(FirmwareModel(artifact), case.network()) == []


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", ["kws_ref_model_int8", "micro_speech_quantized", "mww_alexa", "vww_96_int8"])
def test_a_trained_network_on_a_core_at_extremes(name: str, core: str, tmp_path: Path) -> None:
    require_gcc(core)
    network = load_network(DATA / f"{name}.tflite").network
    assert wrong_at_extremes(FirmwareModel(write(network, tmp_path / "a", find_target(core))), network) == []
