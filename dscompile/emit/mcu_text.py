"""Texts of a standalone C artifact: arrays of weights and the self-test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dscompile.emit.interface import Interface, Port
from dscompile.emit.names import C_TYPES, c_comment, c_float, unique_identifiers
from dscompile.emit.render import render
from dscompile.emit.selftest import STEPS, TOLERANCE
from dscompile.ir.network import Array
from dscompile.ir.tensor import DType
from dscompile.plan.program import Program

VALUES_PER_LINE = 16
_BYTES = {value: str(value) for value in range(-128, 256)}  # signed and unsigned: weights are millions of them


@dataclass(frozen=True)
class ConstantArray:
    """A constant of the program as a C array.

    `region` is the memory that the linker places it in, if that has a name. `copied_to` is the member of `<net>_arenas`
    that it is copied into, if it is, `offset_bytes` its place there.
    """

    name: str
    c_type: str
    values: Array
    comment: str
    region: str = ""
    copied_to: str = ""
    offset_bytes: int = 0

    @property
    def attribute(self) -> str:
        """The end of the macro that says where the linker puts it."""
        return f"WEIGHTS_{self.region.upper()}_ATTR" if self.region else "WEIGHTS_ATTR"

    @property
    def elements(self) -> int:
        """Number of elements; a C array has at least one."""
        return max(self.values.size, 1)

    @cached_property
    def lines(self) -> list[str]:
        """Its elements, 16 on a line."""
        return literal_lines(self.values)


@dataclass(frozen=True)
class Vector:
    """The self-test's values of one port."""

    port: Port
    values: Array

    @property
    def lines(self) -> list[str]:
        """Its elements, 16 on a line."""
        return literal_lines(self.values)

    @property
    def exact(self) -> bool:
        """Whether results must be the same bytes."""
        return self.port.is_integer or (self.port.is_index and not self.has_near_ties)

    @property
    def has_near_ties(self) -> bool:
        """Whether an index is -1: two elements are equally large but for rounding, and any index passes."""
        return self.port.is_index and int(self.values.min()) < 0

    @property
    def limit(self) -> str:
        """The largest error of a float output."""
        return c_float(TOLERANCE * (float(np.abs(self.values).max()) or 1.0))


def constant_arrays(program: Program, interface: Interface) -> tuple[ConstantArray, ...]:
    """All constants, in the order of the program."""
    names = unique_identifiers(
        {name: f"{interface.prefix}_{name}" for name in program.constants}, "weights", interface.declared
    )
    uses = {name: use for use in program.weights for name in use.offsets}
    homes = [use.region.name for use in program.weights if not use.region.copy]

    def made(name: str, array: Array) -> ConstantArray:
        plain = ConstantArray(names[name], C_TYPES[_dtype(array)], array, c_comment(f"{name}: {list(array.shape)}"))
        use = uses.get(name)
        if use is None:
            return plain
        if not use.region.copy:
            return replace(plain, region=use.region.name)
        copied_to = f"weights_{use.region.name.lower()}"
        return replace(plain, region=homes[-1], copied_to=copied_to, offset_bytes=use.offsets[name])

    return tuple(made(name, array) for name, array in program.constants.items())


def _dtype(array: Array) -> DType:
    names: dict[str, DType] = {"float32": "float32", "int8": "int8", "uint8": "uint8", "int32": "int32"}
    return names[array.dtype.name]


def literal_lines(values: Array) -> list[str]:
    """Elements as C literals, 16 on a line."""
    literal = c_float if values.dtype == np.float32 else _BYTES.__getitem__ if values.itemsize == 1 else _integer
    literals = list(map(literal, values.reshape(-1).tolist()))
    return [
        ", ".join(literals[start : start + VALUES_PER_LINE]) + "," for start in range(0, len(literals), VALUES_PER_LINE)
    ] or ["0,"]


def _integer(value: int) -> str:
    """-2147483648 is no literal of int: it is minus a long."""
    return "-2147483647 - 1" if value == -(1 << 31) else str(value)


def mcu_selftest_source(interface: Interface, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> str:
    """The text of selftest.c with literal inputs and outputs, all in border shapes."""
    return render(
        "mcu/selftest.c.j2",
        net=interface,
        steps=STEPS,
        inputs=[Vector(port, inputs[port.tensor.name]) for port in interface.inputs],
        outputs=[Vector(port, outputs[port.tensor.name]) for port in interface.outputs],
    )
