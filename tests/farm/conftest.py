"""A farm of one tracker and two devices, which the tests of a module share: they live on whatever a test does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dscompile.farm.address import Address
from dscompile.farm.client import FarmDevices
from tests.farm.candidates import Candidates
from tests.farm.servers import Server, joined, start_device, start_tracker
from tests.tools import require_tools


@dataclass(frozen=True)
class Farm:
    """A tracker, devices of key x86 that allow 128 MiB and 20 s, and a client that allows 3 s."""

    tracker: Server
    devices: tuple[Server, ...]
    client: FarmDevices

    @property
    def address(self) -> Address:
        return self.tracker.address


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    require_tools("gcc")
    return Candidates(tmp_path_factory.mktemp("candidates"))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    root: Path = tmp_path_factory.mktemp("farm")
    options = ("--memory-limit", 128, "--time-limit", 20)
    with (
        start_tracker(root / "tracker") as tracker,
        joined(*(start_device(root / name, tracker.address, *options) for name in ("one", "two"))) as devices,
        FarmDevices(tracker.address, "x86", session_s=3.0, patience_s=20.0) as client,
    ):
        yield Farm(tracker, devices, client)
        assert all(server.is_alive for server in (tracker, *devices))
