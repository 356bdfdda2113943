"""An arm64 device, emulated: Debian's Python for arm64 under qemu-aarch64, with the wheels that a board installs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dscompile.farm.candidate import Candidate, Timing
from dscompile.farm.client import FarmDevices
from dscompile.farm.status import farm_status
from tests.farm.candidates import Candidates
from tests.farm.servers import COMMAND, ROOT, Server, joined, start_tracker
from tests.tools import require_tools

DIRECTORY = Path(
    os.environ.get("DSCOMPILE_ARM64_DEVICE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dscompile" / "arm64-device"
)
PYTHON = DIRECTORY / "root" / "usr" / "bin" / "python3.11"


@pytest.mark.slow
def test_an_emulated_arm64_device_measures_candidates_that_are_built_here(tmp_path: Path):
    require_tools("qemu-aarch64", "aarch64-linux-gnu-gcc")
    if not PYTHON.exists():
        pytest.skip(f"there is no {PYTHON}: tools/make_arm64_device.sh makes it")
    candidates = Candidates(tmp_path, "aarch64-linux-gnu-gcc")
    root = DIRECTORY / "root"
    libraries = ":".join(str(root / place / "aarch64-linux-gnu") for place in ("usr/lib", "lib"))
    command = ["qemu-aarch64", "-L", str(root), "-E", f"LD_LIBRARY_PATH={libraries}", str(PYTHON), *COMMAND[1:]]
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": f"{ROOT}:{DIRECTORY / 'site'}"}
    timing = Timing(number=1, repeat=2, min_repeat_ms=0)
    with start_tracker(tmp_path / "tracker") as tracker:
        options = ("--tracker", tracker.address, "--key", "arm64", "--port", 0)
        emulated = Server(tmp_path / "device", "device", *options, command=command, **environment)
        with joined(emulated) as (device,), FarmDevices(tracker.address, "arm64", session_s=40) as devices:
            (status,) = farm_status(tracker.address).devices
            assert (status.address, status.machine) == (device.address, "aarch64")
            results = [
                devices.run_on_device(Candidate(behavior, candidates[behavior], bytes(range(100)), timing))
                for behavior in ("good", "crash", "raises", "good")
            ]
            assert [result.kind for result in results] == ["ok", "crash", "failed", "ok"], results
            assert results[0].memory == results[3].memory == bytes([42, *range(2, 200, 2)])
            assert len(results[3].seconds) == 2
            assert results[1].error == "crashed with SIGSEGV"
            assert device.end() == 130
