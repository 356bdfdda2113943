"""What the CUDA shim counted, as records (docs/cuda-shim.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dscompile.errors import ToolError

_SECTOR_BYTES = 32


@dataclass(frozen=True)
class ClassTraffic:
    """A kernel's traffic with memory of one class, over all its launches.

    `loads` and `stores` are accesses of single threads and `..._bytes` what these name, the same byte as often as it is
    named. `..._block_bytes`: the 32-byte sectors that each block touches, once per block; what the levels behind a
    perfect cache of each block move. `footprint_bytes`: sectors once per launch, the least that must move.
    Shared memory has only accesses and bytes.
    """

    name: str
    loads: int
    load_bytes: int
    load_block_bytes: int
    stores: int
    store_bytes: int
    store_block_bytes: int
    footprint_bytes: int


@dataclass(frozen=True)
class KernelTraffic:
    """One kernel, over all its launches.

    `classes` are those with any traffic: the named ranges, "other" for the rest of device memory, "shared". Counts by
    warp are those of `sampled_blocks` alone: `requests` are instructions of a warp on global memory.
    """

    name: str
    launches: int
    blocks: int
    threads: int
    barriers: int
    shared_bytes: int
    classes: tuple[ClassTraffic, ...]
    sampled_blocks: int
    requests: int
    uncoalesced_requests: int
    sectors: int
    ideal_sectors: int
    distinct_bytes: int
    shared_requests: int
    shared_wavefronts: int
    shared_ideal_wavefronts: int

    @property
    def efficiency(self) -> float:
        """Bytes that warps asked for over bytes of the sectors they touched, 0..1; 1 if nothing was sampled."""
        return self.distinct_bytes / (_SECTOR_BYTES * self.sectors) if self.sectors else 1.0

    @property
    def bank_conflicts(self) -> int:
        """Wavefronts of shared memory beyond the least that the requests of the sampled blocks need."""
        return self.shared_wavefronts - self.shared_ideal_wavefronts

    def traffic(self, name: str) -> ClassTraffic:
        """The traffic with memory of one class; zeros if there was none."""
        for one in self.classes:
            if one.name == name:
                return one
        return ClassTraffic(name, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class ShimReport:
    """What one run of a program counted: kernels in the order of their names, and what was wrong."""

    checked: bool
    kernels: tuple[KernelTraffic, ...]
    errors: tuple[str, ...]

    def kernel(self, name: str) -> KernelTraffic:
        """The kernel of this name. Raises KeyError if it never ran."""
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise KeyError(name)

    def total(self, name: str) -> ClassTraffic:
        """The traffic of all kernels with memory of one class."""
        parts = [kernel.traffic(name) for kernel in self.kernels]
        return ClassTraffic(
            name,
            sum(part.loads for part in parts),
            sum(part.load_bytes for part in parts),
            sum(part.load_block_bytes for part in parts),
            sum(part.stores for part in parts),
            sum(part.store_bytes for part in parts),
            sum(part.store_block_bytes for part in parts),
            sum(part.footprint_bytes for part in parts),
        )


def read_report(path: Path) -> ShimReport:
    """The report in a file that the shim wrote. Raises ToolError if there is none, or it is cut short."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ToolError(f"the CUDA shim wrote no report: {error}") from error
    return ShimReport(content["checked"], tuple(map(_kernel, content["kernels"])), tuple(content["errors"]))


def _kernel(row: Mapping[str, object]) -> KernelTraffic:
    classes, sampled = row["classes"], row["sampled"]
    if not isinstance(classes, dict) or not isinstance(sampled, dict):
        raise ToolError("the CUDA shim wrote a report of another version")
    return KernelTraffic(
        name=str(row["name"]),
        launches=_number(row, "launches"),
        blocks=_number(row, "blocks"),
        threads=_number(row, "threads"),
        barriers=_number(row, "barriers"),
        shared_bytes=_number(row, "shared_bytes"),
        classes=tuple(_class(name, values) for name, values in classes.items()),
        sampled_blocks=_number(sampled, "blocks"),
        requests=_number(sampled, "requests"),
        uncoalesced_requests=_number(sampled, "uncoalesced_requests"),
        sectors=_number(sampled, "sectors"),
        ideal_sectors=_number(sampled, "ideal_sectors"),
        distinct_bytes=_number(sampled, "distinct_bytes"),
        shared_requests=_number(sampled, "shared_requests"),
        shared_wavefronts=_number(sampled, "shared_wavefronts"),
        shared_ideal_wavefronts=_number(sampled, "shared_ideal_wavefronts"),
    )


def _class(name: str, row: Mapping[str, object]) -> ClassTraffic:
    return ClassTraffic(
        name,
        loads=_number(row, "load_accesses"),
        load_bytes=_number(row, "load_bytes"),
        load_block_bytes=_number(row, "load_block_bytes"),
        stores=_number(row, "store_accesses"),
        store_bytes=_number(row, "store_bytes"),
        store_block_bytes=_number(row, "store_block_bytes"),
        footprint_bytes=_number(row, "footprint_bytes"),
    )


def _number(row: Mapping[str, object], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int):
        raise ToolError(f"the CUDA shim's report has no number '{key}'")
    return value
