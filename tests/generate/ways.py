"""The ways in which a network is built, run and compared with the oracle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dscompile.errors import DscompileError
from dscompile.ir.network import Network
from tests import mcu, native
from tests.generate.cases import Case
from tests.mcu import HostModel

Differences = Callable[[Network], list[str]]

_here = cache(mcu.here)


@dataclass(frozen=True)
class Verdict:
    """What went wrong. Two verdicts of one `kind` have probably one cause."""

    kind: str
    text: str


@dataclass(frozen=True)
class Way:
    """A name, and what finds every output of a network that is not the oracle's."""

    name: str
    differences: Differences

    def verdict(self, network: Network) -> Verdict | None:
        """None if all outputs are the oracle's. A refusal of a valid network, or any exception, is a verdict, too."""
        try:
            found = self.differences(network)
        except DscompileError as error:
            return Verdict(f"refused with {error.diagnostics[0].message.split(':')[0]}", str(error))
        except Exception as error:
            return Verdict(type(error).__name__, f"{type(error).__name__}: {error}")
        return Verdict("differs", "; ".join(found)) if found else None


def standalone_c(core: str, *, affine: bool = True) -> Way:
    """Standalone C99 with the kernels of a core, compiled by gcc for this machine."""

    def differences(network: Network) -> list[str]:
        with tempfile.TemporaryDirectory() as scratch:
            artifact = mcu.write(network, Path(scratch) / "artifact", _here(core), affine=affine, measured=False)
            return mcu.differences(HostModel(artifact), network, (0,), near=True)

    return Way(f"c99 ({core})", differences)


def library(target: str) -> Way:
    """A library for a processor with an operating system, compiled by TVM."""

    def differences(network: Network) -> list[str]:
        concrete = native.target_here(target)
        return native.differences(native.opened(network, concrete), network, native.input_sets(network, 0), near=True)

    return Way(target, differences)


def ways_of(case: Case, names: tuple[str, ...]) -> list[Way]:
    """The ways called "c99" and "x86" for a case."""
    made = {
        "c99": lambda: standalone_c(case.core, affine=case.seed % 6 != 1),
        "x86": lambda: library(native.TARGETS[0]),
    }
    return [made[name]() for name in names]
