"""`<net>_parallel.c`: an inference that threads of a pool share (docs/decisions/threads.md).

An object of its own in the static library, so that a program that does not call it needs no threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.emit.driver import Driver
from dscompile.emit.interface import Interface
from dscompile.emit.render import render
from dscompile.target import Target
from dscompile.version import __version__


@dataclass(frozen=True)
class ParallelProgram:
    """A program as C for several threads. `name` and `scope` are those of its variant, if it is one."""

    driver: Driver
    name: str = ""
    scope: str = ""

    @property
    def table(self) -> str:
        """The array of its phases."""
        return f"{self.scope}_phases" if self.scope else "phases"


def parallel_source(interface: Interface, programs: Sequence[ParallelProgram], target: Target) -> str:
    """The source for one program, or for all variants in the order of the driver's."""
    return render(
        "native/parallel.c.j2",
        net=interface,
        programs=programs,
        target=target,
        version=__version__,
        has_constants=any(program.driver.constants for program in programs),
        cuts=any(not phase.alone for program in programs for phase in program.driver.phases),
    )
