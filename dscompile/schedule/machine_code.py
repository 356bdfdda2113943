"""From LLVM's intermediate language to an object file, by the LLVM that compiles the kernels: no other tool."""

from __future__ import annotations

import re
import tempfile
from functools import lru_cache
from pathlib import Path

import tvm
from tvm import tirx

from dscompile.schedule.native import llvm_target
from dscompile.target import Target

_FLAGS = '\n!llvm.module.flags = !{{!0, !1}}\n!0 = {tvm}\n!1 = !{{i32 8, !"PIC Level", i32 2}}\n'


def object_of(module: str, target: Target) -> bytes:
    """A relocatable ELF object, position independent, of a module without data layout, triple and flags.

    Raises what TVM raises for a module that LLVM does not understand.
    """
    begin, flag = _frame(target)
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        source, code = Path(scratch, "module.ll"), Path(scratch, "module.o")
        source.write_text(f"{begin}{module}{_FLAGS.format(tvm=flag)}", encoding="utf-8")
        tvm.get_global_func("ffi.Module.load_from_file.ll")(str(source), "ll").write_to_file(str(code))
        return code.read_bytes()


def llvm_version() -> str:
    """The major version of TVM's LLVM, which decides on the machine code."""
    return str(tvm.get_global_func("target.llvm_version_major")())


@lru_cache
def _frame(target: Target) -> tuple[str, str]:
    """What LLVM wants to know of the machine, and TVM's flag that names it: as in a module that TVM wrote."""
    machine = llvm_target(target)
    empty = tirx.PrimFunc([], tirx.Evaluate(0)).with_attr({"global_symbol": "f", "calling_conv": 0})
    written = tvm.get_global_func("target.build.llvm")(tvm.IRModule({"f": empty.with_attr("target", machine)}), machine)
    text = written.inspect_source("ll")
    lines = re.findall(r"^target (?:datalayout|triple) = .*\n", text, re.MULTILINE)
    (flag,) = re.findall(r'!\{i32 \d+, !"tvm_target", .*\}', text)
    return "".join(lines), flag
