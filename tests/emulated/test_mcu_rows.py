"""Assembly for images in rows on an emulated Cortex-M4. Its C twin: tests/unit/test_mcu_rows.py."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.emit.mcu_code import SharedBody, bodies_code
from dscompile.ir.ops import RELU, RELU6
from dscompile.plan.mcu.bodies import MatrixBody, RowsBody, SeparableBody, Uses
from dscompile.plan.mcu.epilogues import Finish
from dscompile.plan.mcu.rows import segment_blocks
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.mcu import random_inputs, write
from tests.unit.test_mcu_kernels import int8
from tests.unit.test_mcu_rows import CHAINS, chain, memory_for_rows  # noqa: F401 -- a fixture


@pytest.mark.slow
@pytest.mark.usefixtures("memory_for_rows")
@pytest.mark.parametrize("activation", [RELU, RELU6], ids=["relu", "relu6"])
@pytest.mark.parametrize("name", CHAINS)
def test_assembly_for_images_in_rows_equals_the_oracle(name, activation, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = int8(chain(name, activation), "single")
    device = FirmwareModel(write(network, tmp_path / "a", find_target("cortex-m4")))
    for seed in (3, 4):
        inputs = random_inputs(network, seed)
        results = device.run(inputs)
        for output, expected in oracle_outputs(network, inputs).items():
            np.testing.assert_array_equal(results[output], expected)


@pytest.mark.parametrize("limits", [(-128, 127), (-128, 100), (-100, 100)], ids=str)
def test_a_table_of_bytes_reaches_all_blocks_of_code(limits, tmp_path):
    """Whatever layers there are, late pixels among them: with limits, outputs take up to six instructions more."""
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    ways = [(left, right) for left in (False, True) for right in (False, True)]
    blocks = {
        block
        for stride in (1, 2)
        for count in range(1, 6 if stride == 1 else 5)
        for left, right in ways
        for block in segment_blocks(stride, count, left=left, right=right)
    }
    ways_through = frozenset({"image", "late", "up", "down"})
    rows, matrix = RowsBody(Finish(12, *limits, step=False)), MatrixBody(Finish(14, -128, 127, step=False), None)
    bodies = (
        SharedBody("rows", rows, Uses(parts=frozenset({*blocks, "up", "down", "stride 1", "stride 2"}))),
        SharedBody("matrix", matrix, Uses(odd=True)),
        SharedBody("way", SeparableBody(rows, matrix), Uses(odd=True, parts=ways_through)),
    )
    (tmp_path / "rows.c").write_text("#include <stdint.h>\n" + bodies_code(bodies))
    flags = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-Dstatic=", "-Wa,--fatal-warnings"]  # nobody calls it
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", "rows.c"], cwd=tmp_path, check=True)
