"""Tools that tests need beside Python and gcc."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

from dscompile.cuda_toolkit import CUDA_ADVICE, Nvcc, installed_nvcc
from dscompile.run.selftest import SANITIZERS

# That right shifts of negative numbers must be arithmetic, every generated file says at its head. cppcheck cannot parse
# Helium's assembly, which binds a variable to a register.
CPPCHECK = (
    *("cppcheck", "--std=c99", "--enable=warning,performance,portability", "--quiet", "--error-exitcode=1"),
    *("--suppress=shiftNegativeLHS", "-U__ARM_FEATURE_MVE"),
)


def require_tools(*names: str) -> None:
    """Skips the test by name if a tool is missing; where DSCOMPILE_REQUIRE_TOOLS is set, as in CI, fails it."""
    for name in names:
        if shutil.which(name) is None:
            if os.environ.get("DSCOMPILE_REQUIRE_TOOLS"):
                pytest.fail(f"{name} is missing, and DSCOMPILE_REQUIRE_TOOLS is set")
            pytest.skip(f"{name} is not installed")


def require_nvcc() -> Nvcc:
    """The nvcc of this machine, wherever it lies; without one it skips the test by name, or fails it in CI."""
    nvcc = installed_nvcc()
    if nvcc is None:
        if os.environ.get("DSCOMPILE_REQUIRE_TOOLS"):
            pytest.fail(f"nvcc is missing ({CUDA_ADVICE}), and DSCOMPILE_REQUIRE_TOOLS is set")
        pytest.skip("nvcc is not installed")
    return nvcc


def require_sanitizers(compiler: str, flags: tuple[str, ...] = SANITIZERS) -> None:
    """Skips the test by name, or fails it, like require_tools, if a compiler or its sanitizers are missing."""
    require_tools(compiler)
    if not _links_sanitizers(compiler, flags):
        missing = f"{compiler} has no libraries for {flags[1]}"
        if os.environ.get("DSCOMPILE_REQUIRE_TOOLS"):
            pytest.fail(f"{missing} (Debian: apt install libclang-rt-dev), and DSCOMPILE_REQUIRE_TOOLS is set")
        pytest.skip(missing)


@cache
def _links_sanitizers(compiler: str, flags: tuple[str, ...]) -> bool:
    command = [compiler, *flags, "-x", "c", "-", "-o", os.devnull]
    return (
        subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True, check=False).returncode == 0
    )
