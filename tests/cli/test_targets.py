"""dscompile targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dscompile.target import machine
from tests.cli.conftest import CommandLine

HASWELL = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "sse4_2"})


@pytest.fixture
def haswell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with AVX2 and nothing newer."""
    monkeypatch.setattr(machine, "host_features", lambda: HASWELL)
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("haswell")
def test_list_says_what_runs_here(dscompile: CommandLine):
    outcome = dscompile("targets", "list")
    assert outcome.code == 0
    assert outcome.out == (
        "target          vector     runs here    what\n"
        "arm64                      no           "
        "any 64-bit Arm, one library that holds variants for NEON, dotprod and i8mm and chooses when it runs\n"
        "arm64-bf16      4 floats   no           "
        "64-bit Arm with NEON, SDOT, SMMLA and BFMMLA (Cortex-A510, A710, X2, Neoverse V1 and later)\n"
        "arm64-dotprod   4 floats   no           "
        "64-bit Arm with NEON and SDOT (Cortex-A55, A76, Neoverse N1 and later)\n"
        "arm64-i8mm      4 floats   no           "
        "64-bit Arm with NEON, SDOT and SMMLA (Cortex-A510, A710, X2, Neoverse V1 and later)\n"
        "arm64-neon      4 floats   no           64-bit Arm with NEON (Cortex-A53, A72 and every later core)\n"
        "c99                        yes          portable C99 for any compiler and any core\n"
        "cortex-m0plus              no           Arm Cortex-M0+ and M0 (RP2040, STM32L0, SAMD21, nRF51)\n"
        "cortex-m3                  no           Arm Cortex-M3 (STM32F1, LPC17xx, SAM3)\n"
        "cortex-m33                 no           Arm Cortex-M33 with DSP and FPU (nRF53, nRF91, STM32U5, LPC55)\n"
        "cortex-m4                  no           Arm Cortex-M4 with FPU (STM32L4, nRF52, SAM4, Apollo)\n"
        "cortex-m55                 no           "
        "Arm Cortex-M55 with Helium, MVE of integers and floats (Alif Ensemble, Corstone-300)\n"
        "cortex-m7                  no           Arm Cortex-M7 with double-precision FPU (STM32H7, i.MX RT)\n"
        "cuda-sm75                  no           "
        "NVIDIA GPUs of compute capability 7.5 (Turing, T4, GeForce RTX 20 and GTX 16)\n"
        "cuda-sm80                  no           NVIDIA GPUs of compute capability 8.0 (Ampere, A100, A30)\n"
        "cuda-sm86                  no           "
        "NVIDIA GPUs of compute capability 8.6 (Ampere, A10, A40, RTX A4000, GeForce RTX 30)\n"
        "cuda-sm89                  no           "
        "NVIDIA GPUs of compute capability 8.9 (Ada, L4, L40, GeForce RTX 40)\n"
        "cuda-sm90                  no           "
        "NVIDIA GPUs of compute capability 9.0 (Hopper, H100, H200, GH200)\n"
        "host                       as x86-avx2  what this machine is\n"
        "rv32imc                    no           RISC-V RV32IMC (ESP32-C3, CH32V, GD32V, Ibex)\n"
        "rv64gcv                    no           "
        "RISC-V RV64GC with vectors, RVV 1.0 of any length from 128 bits on (C908, X60, P670)\n"
        "x86                        as x86-avx2  "
        "any x86-64 with AVX2, one library that also holds better variants and chooses when it runs\n"
        "x86-avx2        8 floats   yes          x86-64 with AVX2 and FMA (Haswell, Zen and later)\n"
        "x86-avx512      16 floats  no           "
        "x86-64 with AVX-512 F/BW/DQ/VL/CD (Skylake-SP, Ice Lake, Zen 4 and later)\n"
        "x86-avx512bf16  16 floats  no           "
        "x86-64 with AVX-512 F/BW/DQ/VL/CD, VNNI and BF16 (Cooper Lake, Sapphire Rapids, Zen 4 and later)\n"
        "x86-avx512vnni  16 floats  no           "
        "x86-64 with AVX-512 F/BW/DQ/VL/CD and VNNI (Cascade Lake, Ice Lake, Zen 4 and later)\n"
    )


@pytest.mark.usefixtures("haswell")
def test_show_prints_what_is_known(dscompile: CommandLine):
    assert dscompile("targets", "show", "x86-avx2").out == (
        "x86-avx2\n"
        "  description  x86-64 with AVX2 and FMA (Haswell, Zen and later)\n"
        "  runs here    yes\n"
        "  family       x86\n"
        "  LLVM core    haswell\n"
        "  features     avx2 bmi1 bmi2 f16c fma\n"
        "  vector       32 B, 8 floats, 16 registers\n"
        "  FMA          2 per cycle, latency 5 cycles\n"
        "  caches       L1d 32.0 KiB, L2 256.0 KiB, L3 8.0 MiB\n"
        "  compiler     gcc -march=haswell\n"
        "  emulator     none\n"
        "  alignment    arena 64 B\n"
    )


@pytest.mark.usefixtures("haswell")
def test_show_names_variants_and_when_one_is_chosen(dscompile: CommandLine):
    assert dscompile("targets", "show", "x86").out == (
        "x86\n"
        "  description  any x86-64 with AVX2, one library that also holds better variants and chooses when it runs\n"
        "  runs here    as x86-avx2\n"
        "  variants     x86-avx512vnni, x86-avx512, x86-avx2\n"
        "  chosen       when it runs, in one library\n"
    )
    assert dscompile("targets", "show", "host").out.endswith("  chosen       when it is built\n")


def test_show_tells_the_chain_of_compilers_and_the_emulator(dscompile: CommandLine):
    said = dscompile("targets", "show", "arm64-neon").out
    assert (
        "  compiler     aarch64-linux-gnu-gcc -march=armv8-a or gcc -march=armv8-a"
        " or zig cc -target aarch64-linux-gnu -mcpu=generic\n" in said
    )
    assert "  emulator     qemu-aarch64 -cpu cortex-a72\n" in said


def test_a_machine_that_runs_no_variant(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch, tiny: Path):
    monkeypatch.setattr(machine, "host_features", frozenset)
    assert "host                       no " in dscompile("targets", "list").out
    outcome = dscompile("build", tiny, "-t", "host")
    assert outcome.code == 5
    assert outcome.err == (
        "error: this machine runs none of the variants of 'host' "
        "(x86-avx512vnni, x86-avx512, x86-avx2, arm64-i8mm, arm64-dotprod, arm64-neon)\n"
        "  = help: name one of them to build for another machine\n"
    )


def test_list_as_json(dscompile: CommandLine):
    record = json.loads(dscompile("targets", "list", "--json").out)
    assert record["schema"] == 1
    targets = {entry["name"]: entry for entry in record["targets"]}
    assert list(targets) == sorted(targets)
    assert targets["x86-avx2"]["vector_bytes"] == 32
    assert targets["x86-avx2"]["memories"] == []
    assert targets["cortex-m4"]["kernels"] == ["dsp", "c99"]
    assert targets["cortex-m4"]["float_unit"] == "single"
    assert targets["cortex-m4"]["memories"][1] == {"name": "ram", "origin": 0x20000000, "bytes": 4 * 2**20}


@pytest.mark.usefixtures("haswell")
def test_show_says_what_a_microcontroller_has(dscompile: CommandLine):
    assert dscompile("targets", "show", "cortex-m0plus").out == (
        "cortex-m0plus\n"
        "  description  Arm Cortex-M0+ and M0 (RP2040, STM32L0, SAMD21, nRF51)\n"
        "  runs here    no\n"
        "  family       cortex-m\n"
        "  features     none\n"
        "  float unit   none\n"
        "  kernels      m0plus, then c99\n"
        "  memories     flash 4.0 MiB at 0x00000000, ram 4.0 MiB at 0x20000000\n"
        "  compilers    arm-none-eabi-gcc -mcpu=cortex-m0plus -mthumb -mfloat-abi=soft"
        " or zig cc -target thumb-freestanding-eabi -mcpu=cortex_m0plus\n"
        "  emulators    qemu-system-arm -M mps2-an385 or unicorn CORTEX_M0\n"
        "  alignment    arena 16 B\n"
    )


def test_show_says_what_a_gpu_has(dscompile: CommandLine):
    assert dscompile("targets", "show", "cuda-sm80").out == (
        "cuda-sm80\n"
        "  description   NVIDIA GPUs of compute capability 8.0 (Ampere, A100, A30)\n"
        "  runs here     no\n"
        "  family        cuda\n"
        "  architecture  sm_80\n"
        "  threads       2048 per multiprocessor, 1024 per block\n"
        "  blocks        32 per multiprocessor\n"
        "  registers     65536 per multiprocessor, 255 per thread\n"
        "  shared        164.0 KiB per multiprocessor, 48.0 KiB per block and 1.0 KiB reserved\n"
        "  device        A100 SXM4 40 GB, 108 multiprocessors\n"
        "  FMA           64 per multiprocessor and clock, 1410 MHz, 19.5 Tflop/s\n"
        "  tensor FMA    1024 of halves, 312 Tflop/s\n"
        "  memory        1555 GB/s, L2 40.0 MiB\n"
        "  compiler      nvcc -arch=sm_80\n"
        "  alignment     arena 256 B\n"
    )
    gpu = json.loads(dscompile("targets", "show", "cuda-sm80", "--json").out)["gpu"]
    assert (gpu["arch"], gpu["clock_hz"], gpu["shared_reserved_bytes"]) == ("sm_80", 1.41e9, 1024)
    assert json.loads(dscompile("targets", "show", "x86-avx2", "--json").out)["gpu"] is None


def test_an_unknown_target_gets_the_nearest_name(dscompile: CommandLine, tiny: Path):
    for arguments in (("targets", "show", "x86-avx51"), ("build", tiny, "--target", "x86-avx51")):
        outcome = dscompile(*arguments)
        assert outcome.code == 2
        assert outcome.err.endswith("error: unknown target 'x86-avx51'\n  = help: did you mean 'x86-avx512'?\n")


def test_a_target_file_of_the_users(dscompile: CommandLine, folder: Path):
    (folder / "mine.yaml").write_text(
        "dscompile_target: 1\nname: mine\nfamily: x86\ndescription: my box\n"
        "isa: {mcpu: znver3, features: [avx2]}\nvector: {bytes: 32, registers: 16}\n"
    )
    assert dscompile("targets", "show", "./mine.yaml").out.startswith("mine\n  description  my box\n")


def test_a_multiply_that_is_not_known_is_refused(dscompile: CommandLine, folder: Path):
    (folder / "mine.yaml").write_text(
        "dscompile_target: 1\nname: mine\nfamily: arm64\ndescription: my box\nvector: {bytes: 16, multiply: lane}\n"
    )
    outcome = dscompile("targets", "show", "./mine.yaml")
    assert outcome.code == 3
    assert "the target file is wrong: multiply must be 'broadcast' or 'element', not 'lane'" in outcome.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vector: {bytes: .inf}", "'bytes' of the target file must be a number up to 2^63"),
        (f"vector: {{bytes: {'9' * 400}}}", "'bytes' of the target file must be a number up to 2^63"),
        ("vector: {bytes: .nan}", "'bytes' of the target file must be a number up to 2^63"),
        (
            "memories: {ram: {origin: 0, size: 8}}\n"
            "sections: {code: ram, constants: ram, data: ram, stack: ram}\n"
            f"clock: {'9' * 400} Hz",
            "is faster than anything",
        ),
        (f"caches: {{l1d: {'9' * 400} MB}}", "is not a whole number of bytes"),
    ],
)
def test_numbers_without_end_in_a_target_file_are_refused(
    dscompile: CommandLine, folder: Path, line: str, message: str
) -> None:
    (folder / "mine.yaml").write_text(f"dscompile_target: 1\nname: mine\nfamily: x86\ndescription: a box\n{line}\n")
    outcome = dscompile("targets", "show", "./mine.yaml")
    assert outcome.code == 3
    assert message in outcome.err


def test_show_says_what_a_memory_waits_and_the_clock(dscompile: CommandLine):
    board = Path(__file__).parents[2] / "examples" / "boards" / "stm32f405.yaml"
    said = dscompile("targets", "show", board).out
    assert "flash 1.0 MiB at 0x08000000 (5 wait states), sram 128.0 KiB at 0x20000000" in said
    assert "  clock        168 MHz\n" in said
