"""Inner loops: found in a disassembly, and what llvm-mca says of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dscompile.api.networks import inspect
from dscompile.cli.main import main
from dscompile.errors import ExitCode, ToolError, UsageError
from dscompile.report.cycles import find_mca, inner_loops, mca_options
from dscompile.target import find_target
from tests.cli.conftest import TINY
from tests.tools import require_tools

X86 = """
kernels.o:     file format elf64-x86-64

Disassembly of section .text:

0000000000000000 <net_k0_conv>:
   0:	xor    %eax,%eax
   2:	vmovups (%rdi),%zmm0
   8:	vfmadd231ps (%rsi),%zmm0,%zmm1
   e:	vfmadd231ps 0x40(%rsi){1to16},%zmm0,%zmm2
  15:	dec    %rcx
  18:	jne    8 <net_k0_conv+0x8>
  1a:	vaddps 0x0(%rip),%zmm1,%zmm1        # 24 <net_k0_conv+0x24>
  24:	inc    %rax
  27:	jne    2 <net_k0_conv+0x2>
  29:	vfmadd231ss (%rsi),%xmm0,%xmm1
  2f:	jne    29 <net_k0_conv+0x29>
  31:	ret

0000000000000040 <net_k1_fill>:
  40:	vmovups %zmm0,(%rdi)
  46:	jne    40 <net_k1_fill>
  48:	ret

0000000000000050 <net_k2_softmax>:
  50:	vfmadd231ss (%rsi),%xmm0,%xmm1
  56:	call   5b <net_k2_softmax+0xb>
  5b:	jne    50 <net_k2_softmax>
  5d:	ret
"""


def test_the_innermost_loop_with_most_multiplications_is_taken() -> None:
    loops = inner_loops(X86)
    assert list(loops) == ["net_k0_conv"]
    assert loops["net_k0_conv"].macs == 32
    assert loops["net_k0_conv"].body == (
        "vfmadd231ps (%rsi),%zmm0,%zmm1",
        "vfmadd231ps 0x40(%rsi){1to16},%zmm0,%zmm2",
        "dec %rcx",
        "jne 8 <net_k0_conv+0x8>",
    )


@pytest.mark.parametrize(
    ("instruction", "macs"),
    [
        ("fmla\tv0.4s, v1.4s, v2.s[3]", 4),
        ("fmla\tv0.2s, v1.2s, v2.2s", 2),
        ("fmadd\ts0, s1, s2, s3", 1),
        ("sdot\tv0.4s, v1.16b, v2.4b[1]", 16),
        ("smmla\tv0.4s, v1.16b, v2.16b", 32),
        ("smlal2\tv0.4s, v1.8h, v2.8h", 4),
        ("vfmadd213ps %ymm0,%ymm1,%ymm2", 8),
        ("vfnmadd231ps %xmm0,%xmm1,%xmm2", 4),
        ("vpdpbusd (%rax),%zmm1,%zmm2", 64),
        ("fadd\tv0.4s, v1.4s, v2.4s", 0),
    ],
)
def test_what_an_instruction_multiplies(instruction: str, macs: int) -> None:
    text = (
        f"0000000000000000 <f>:\n   0:\tfmla\tv9.2s, v1.2s, v2.2s\n   4:\t{instruction}\n   8:\tb.ne\t0 <f>  // b.any\n"
    )
    assert inner_loops(text)["f"].macs == 2 + macs


def test_immediates_of_arm_are_no_comments() -> None:
    text = "0000000000000000 <f>:\n   0:\tldur\ts0, [x0, #-4]\n   4:\tfmadd\ts0, s1, s2, s3\n   8:\tcbnz\tx8, 0 <f>\n"
    assert inner_loops(text)["f"].body == ("ldur s0, [x0, #-4]", "fmadd s0, s1, s2, s3", "cbnz x8, 0 <f>")


def test_the_core_is_that_of_the_target() -> None:
    assert mca_options(find_target("x86-avx2")) == ("-mtriple=x86_64-linux-gnu", "-mcpu=haswell")
    assert mca_options(find_target("arm64-i8mm")) == (
        "-mtriple=aarch64-linux-gnu",
        "-mcpu=neoverse-n1",
        "-mattr=+i8mm",
    )


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_one_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"needs llvm-mca of LLVM 17 or newer, which is not installed") as caught:
        find_mca()
    assert caught.value.code == ExitCode.TOOL_MISSING
    assert caught.value.diagnostics[0].help == "on Debian and Ubuntu: apt install llvm-19"
    fake(tmp_path, "llvm-mca", "echo Debian LLVM version 14.0.6")
    with pytest.raises(ToolError, match="not installed"):
        find_mca()
    fake(tmp_path, "llvm-mca-19", "echo Debian LLVM version 19.1.7")
    assert find_mca() == "llvm-mca-19"
    fake(tmp_path, "llvm-mca", "echo LLVM version 18.1.0")
    assert find_mca() == "llvm-mca"


# Says of every region that a hundred passes take 250 cycles.
MCA = """case "$*" in *--version*) echo "LLVM version 19.1.7"; exit 0 ;; esac
for file; do :; done
sed -n 's/^# LLVM-MCA-BEGIN //p' "$file" | while read -r name; do
    printf '[0] Code Region - %s\\n\\nIterations: 100\\nInstructions: 900\\nTotal Cycles: 250\\n' "$name"
done"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


def test_inspect_shows_the_loops_of_every_step(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    fake(tmp_path / "bin", "llvm-mca", MCA)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert main(["inspect", str(net), "-t", "x86-avx2", "--cycles", "--json"]) == 0
    loops = {loop["step"]: loop for loop in json.loads(capsys.readouterr().out)["loops"]}
    assert {"stem", "block.depthwise"} <= set(loops)
    assert "softmax" not in loops
    assert loops["stem"]["cycles"] == 2.5
    assert loops["stem"]["macs_per_cycle"] == loops["stem"]["macs"] / 2.5
    assert loops["stem"]["macs"] % 8 == 0
    assert main(["inspect", str(net), "-t", "x86-avx2", "--cycles"]) == 0
    said = capsys.readouterr().out
    assert "one pass of the inner loop on x86-avx2, by llvm-mca's model of haswell\n" in said
    assert main(["inspect", str(net), "-t", "x86-avx2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loops"] is None


def test_an_answer_without_cycles_is_not_believed(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    fake(tmp_path / "bin", "llvm-mca", 'case "$*" in *--version*) echo "LLVM version 19.1.7" ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match="llvm-mca did not say how many cycles"):
        inspect(net, "x86-avx2", cycles=True)


def test_cycles_are_those_of_a_target_with_compiled_kernels(net: Path) -> None:
    with pytest.raises(UsageError, match="cycles are those of a target's core"):
        inspect(net, cycles=True)
    with pytest.raises(UsageError, match="cortex-m4 gets C, and cycles are estimated of compiled kernels"):
        inspect(net, "cortex-m4", cycles=True)


@pytest.mark.parametrize("target", ["arm64-neon", "x86-avx512"])
def test_a_real_llvm_mca_stays_below_what_the_core_can_multiply(net: Path, target: str) -> None:
    try:
        find_mca()
    except ToolError:
        require_tools("llvm-mca-19")
    if target.startswith("arm64"):
        require_tools("aarch64-linux-gnu-gcc")
    loops = inspect(net, target, cycles=True).loops
    assert loops
    core = find_target(target)
    assert all(0.1 < loop.macs_per_cycle <= core.lanes * core.fma_per_cycle for loop in loops)
