"""Programs for 64-bit Arm Linux under qemu-aarch64: what they print, and what they execute."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dscompile.errors import BadInputError, ExitCode, ToolError
from dscompile.run.emulators.qemu_user import InstructionCounts, run_counted
from tests.tools import require_tools

# 1000 rounds of five instructions, two before them and one behind them.
ASSEMBLY = """
    .text
    .globl work
    .type work, %function
work:
    sub sp, sp, #16
    mov w2, #1000
1:  ldr q1, [x0]
    fmla v0.4s, v1.4s, v1.s[1]
    str q0, [sp]
    subs w2, w2, #1
    b.ne 1b
    add sp, sp, #16
    ret
    .size work, .-work
    .section .note.GNU-stack, "", %progbits
"""
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void work(const float *values);
int main(int argc, char **argv)
{
    static const float values[4] __attribute__((aligned(16)));
    char line[80] = "";
    for (int index = 1; index < argc; ++index)
        work(values);
    if (argc == 1)
        abort();
    fgets(line, sizeof line, stdin);
    fprintf(stderr, "%s", line);
    printf("%s\\n", argv[1]);
    return argc - 2;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_tools("qemu-aarch64", "aarch64-linux-gnu-gcc")
    directory = tmp_path_factory.mktemp("program")
    (directory / "work.S").write_text(ASSEMBLY)
    (directory / "main.c").write_text(MAIN)
    command = ["aarch64-linux-gnu-gcc", "-O1", "-static", "main.c", "work.S", "-o", "program"]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "program"


def test_instructions_are_counted_by_function_and_kind(program: Path):
    once = run_counted(program, ["one"])
    assert once.counts["work"] == InstructionCounts(multiply=1000, load=1000, store=1000, other=2004, spills=1000)
    assert once.counts["work"].total == 5004
    assert run_counted(program, ["one", "two"]).counts["work"].total == 2 * 5004
    assert once.instructions > 5004
    assert once.counts["main"].total < 100


def test_input_output_and_status_pass_through(program: Path):
    run = run_counted(program, ["one", "two", "three"], cpu="cortex-a72", stdin=b"hello\n")
    assert (run.stdout, run.stderr, run.status) == (b"one\n", b"hello\n", 2)


def test_a_program_that_is_ended_by_a_signal(program: Path):
    assert run_counted(program).status == -6


def test_a_core_that_qemu_does_not_know(program: Path):
    with pytest.raises(ToolError, match=r"qemu-aarch64 -cpu cortex-b1 did not run program: .*cortex-b1") as caught:
        run_counted(program, cpu="cortex-b1")
    assert caught.value.code == ExitCode.TOOL_MISSING


def test_what_is_no_program_is_refused(tmp_path: Path):
    require_tools("qemu-aarch64")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(BadInputError, match="cannot read the ELF file"):
        run_counted(tmp_path / "text")


def test_qemu_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"qemu-aarch64 is not installed\n.*apt install qemu-user"):
        run_counted(tmp_path / "program")
