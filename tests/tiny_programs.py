"""Programs made by hand, with kernels in C that gcc compiles: emitters and runners are tested without TVM."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dscompile.artifact import Artifact
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.emit.variants import Variant, write_variants
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Binary, Constant
from dscompile.ir.tensor import Tensor
from dscompile.plan.kernels import FlatKernel, Parameter
from dscompile.plan.program import Buffer, Call, Function, Operand, Program, Step
from dscompile.target import Target

TARGET = Target(
    name="tiny-x86",
    family="x86",
    description="any x86-64, for tests",
    mcpu="x86-64",
    features=frozenset({"sse2"}),
    vector_bytes=16,
    arena_alignment=64,
)

KERNELS = """
#include <stdint.h>
#include <string.h>
int32_t {p}copy(const float *a, float *y) {{ memcpy(y, a, {n} * sizeof(float)); return 0; }}
int32_t {p}add(const float *a, const float *b, float *y)
{{
    for (int i = 0; i < {n}; ++i) y[i] = a[i] + b[i];
    return 0;
}}
int32_t helper(void) {{ return 7; }}
"""


@dataclass(frozen=True)
class Tiny:
    """A program, its kernels, and what it computes."""

    program: Program
    kernels: bytes

    @property
    def network(self) -> Network:
        return self.program.network

    def expected(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by NumPy, in border shapes."""
        n = self.network
        first = inputs[n.inputs[0]].ravel()
        total = first + inputs[n.inputs[1]].ravel() if len(n.inputs) > 1 else 2 * first
        results = [total + OFFSETS[: total.size], total][: len(n.outputs)]
        return {
            name: result.reshape(n.tensor(name).border_shape).astype(np.float32)
            for name, result in zip(n.outputs, results, strict=True)
        }

    def write(self, destination: Path, origin: str = "tiny.yaml") -> Artifact:
        """The artifact in `destination`."""
        inputs = selftest_input(self.network)
        return write_artifact(self.program, self.kernels, inputs, self.expected(inputs), destination, origin=origin)


OFFSETS = np.arange(1, 200_001, dtype=np.float32) / 8


def single(name: str = "tiny", shape: tuple[int, ...] = (1, 2, 3, 2), labels: bool = True) -> Tiny:
    """y = 2 x + offsets: input "image" (nchw outside), output "scores", over an arena with reuse."""
    count = int(np.prod(shape))
    builder = NetworkBuilder(name)
    builder.input(Tensor("image", shape, border="nchw"))
    builder.add("offsets", Constant(shape), value=OFFSETS[:count].reshape(shape))
    builder.add("twice", Binary("add"), ["image", "image"])
    builder.add("shift", Binary("add"), ["twice", "offsets"], output="scores")
    network = builder.build(["scores"], [f"class {i}" for i in range(count)] if labels else ())
    size = count * 4
    room = -(-size // 64) * 64
    steps = (
        Step(
            "twice",
            "add",
            ("twice",),
            (
                Call(f"{name}_copy", (Operand("input", "image"), Operand("arena", "twice:copy"))),
                Call(
                    f"{name}_add",
                    (Operand("arena", "twice:copy"), Operand("input", "image"), Operand("arena", "twice")),
                ),
            ),
            macs=1234567,
            result=Operand("arena", "twice"),
            result_bytes=size,
        ),
        Step(
            "shift",
            "add",
            ("shift",),
            (
                Call(
                    f"{name}_add",
                    (Operand("arena", "twice"), Operand("constant", "shift.offsets"), Operand("output", "scores")),
                ),
            ),
            macs=0,
            result=Operand("output", "scores"),
            result_bytes=size,
            note="the end",
        ),
    )
    program = Program(
        network=network,
        target=TARGET,
        steps=steps,
        functions=_functions(f"{name}_", count),
        buffers=(
            Buffer("input:image", size, -1, 0, 0),
            Buffer("twice:copy", size, 0, 0, room),
            Buffer("twice", size, 0, 1, 2 * room),
            Buffer("output:scores", size, 1, 2, 0),
        ),
        arena_bytes=2 * room + size,
        arena_lower_bound_bytes=2 * room + size,
        inputs={"image": "input:image"},
        outputs={"scores": "output:scores"},
        constants={"shift.offsets": OFFSETS[:count]},
        fallback_layers=("shift",),
    )
    return Tiny(program, compiled(KERNELS.format(p=f"{name}_", n=count)))


def several(name: str = "3 Möbel*/net") -> Tiny:
    """Two inputs and two outputs with names that C does not like: total = left + right, shifted = total + offsets."""
    count, size = 4, 16
    left, right, shifted, total = 'le"ft', "le?ft", "double", "Double"
    builder = NetworkBuilder(name)
    builder.input(Tensor(left, (1, count)))
    builder.input(Tensor(right, (1, count)))
    builder.add("offsets", Constant((1, count)), value=OFFSETS[:count].reshape(1, count))
    builder.add("add it", Binary("add"), [left, right], output=total)
    builder.add("while", Binary("add"), [total, "offsets"], output=shifted)
    network = builder.build([shifted, total], ['a "b"', "c\\d", "??/", "é\n"])
    steps = (
        Step(
            "add it",
            "add",
            ("add it",),
            (Call("odd$add", (Operand("input", left), Operand("input", right), Operand("output", total))),),
            macs=2**33,
            result=Operand("output", total),
            result_bytes=size,
        ),
        Step(
            "while",
            "add",
            ("while",),
            (Call("odd$add", (Operand("output", total), Operand("constant", "c*/x"), Operand("output", shifted))),),
            macs=5,
            result=Operand("output", shifted),
            result_bytes=size,
        ),
    )
    buffers = tuple(
        Buffer(f"{index}:{tensor}", size, -1, 2, 64 * index)
        for index, tensor in enumerate((left, right, shifted, total))
    )
    program = Program(
        network=network,
        target=TARGET,
        steps=steps,
        functions=tuple(
            Function(f"odd${f.symbol}", f.kernel, f.parameters) for f in _functions("", count) if f.symbol == "add"
        ),
        buffers=buffers,
        arena_bytes=64 * 3 + size,
        arena_lower_bound_bytes=4 * size,
        inputs={left: buffers[0].name, right: buffers[1].name},
        outputs={shifted: buffers[2].name, total: buffers[3].name},
        constants={"c*/x": OFFSETS[:count]},
    )
    return Tiny(program, compiled(KERNELS.format(p="odd$", n=count)))


def _functions(prefix: str, count: int) -> tuple[Function, ...]:
    shape, dense = (count,), (1,)
    a, b, y = Parameter("a"), Parameter("b"), Parameter("y", written=True)
    return (
        Function(f"{prefix}copy", FlatKernel("copy", shape, dense, dense), (a, y)),
        Function(f"{prefix}add", FlatKernel("add", shape, dense, dense, dense), (a, b, y)),
    )


NEW = replace(TARGET, name="tiny-new", features=frozenset({"avx2", "avx512_vnni"}))
OLD = replace(TARGET, name="tiny-old", features=frozenset({"avx2"}))
BOTH = replace(TARGET, name="tiny", features=frozenset({"avx2"}), variants=("tiny-new", "tiny-old"), choice="run")


def variants() -> tuple[Variant, ...]:
    """Two variants of `single`: the new one has its buffers elsewhere and a step more, the old one is as it was."""
    tiny = single()
    program = tiny.program
    alive = {"input:image": (-1, 1), "twice:copy": (0, 1), "twice": (0, 2), "output:scores": (2, 3)}
    moved = tuple(
        replace(b, offset_bytes=b.offset_bytes + 64, first=alive[b.name][0], last=alive[b.name][1])
        for b in program.buffers
    )
    first, last = program.steps
    again = replace(first, name="again", calls=first.calls[1:], macs=0)
    new = replace(program, target=NEW, buffers=moved, arena_bytes=program.arena_bytes + 64, steps=(first, again, last))
    return (
        Variant(new, compiled(KERNELS.format(p="tiny_", n=12), "-O3"), ("tiny-new",)),
        Variant(replace(program, target=OLD), tiny.kernels, ("tiny-old",)),
    )


def write_both(destination: Path, made: tuple[Variant, ...] | None = None, target: Target = BOTH) -> Artifact:
    """The artifact of `variants` (or of `made`) in `destination`."""
    tiny = single()
    inputs = selftest_input(tiny.network)
    return write_variants(target, made or variants(), inputs, tiny.expected(inputs), destination, origin="tiny.yaml")


@cache
def compiled(source: str, *flags: str, compiler: str = "gcc") -> bytes:
    """A relocatable object of C source."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "kernels.c"
        path.write_text(source)
        command = [compiler, "-O2", "-fPIC", *flags, "-c", path.name, "-o", "kernels.o"]
        subprocess.run(command, cwd=scratch, check=True)
        return (Path(scratch) / "kernels.o").read_bytes()
