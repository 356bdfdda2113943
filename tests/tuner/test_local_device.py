"""This machine as a device: whatever a candidate does is said in words, and the next one is measured all the same."""

from __future__ import annotations

import errno
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dscompile.errors import ToolError
from dscompile.target import find_target
from dscompile.tuner.local_device import LocalDevice
from dscompile.tuner.this_machine import local_devices
from tests.farm.servers import ROOT, wait_until
from tests.tuner.fakes import compiled

GOOD = "memcpy(memory + 16, memory, 8);"


@pytest.fixture
def device():
    device = LocalDevice()
    yield device
    device.close()


def test_a_good_candidate_is_run_once_for_its_output_and_then_timed(device, tmp_path):
    measurement = device.measure(compiled(GOOD, tmp_path))
    assert measurement.error == ""
    assert measurement.output == b"\x01" * 8
    assert set(measurement.samples) == {1e-3}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("*(volatile int *)0 = 1;", "crashed with SIGSEGV"),
        ("abort();", "crashed with SIGABRT"),
        ("exit(3);", "ended its process with code 3"),
        ("return 7;", r"main\(\) returned 7"),
        ("for (;;) memory[20] = 1;", "ran longer than 1 s"),
    ],
)
def test_a_bad_candidate_fails_alone(device, tmp_path, body, words):
    for directory in ("bad", "good"):
        (tmp_path / directory).mkdir()
    bad = device.measure(compiled(body, tmp_path / "bad", limit_s=1.0))
    assert bad.samples == ()
    assert pytest.importorskip("re").fullmatch(words, bad.error), bad.error
    assert not bad.lost
    assert device.measure(compiled(GOOD, tmp_path / "good")).error == ""


def test_a_library_that_is_none_cannot_be_loaded(device, tmp_path):
    measurement = device.measure(compiled(GOOD, tmp_path, code=b"no library"))
    assert measurement.error.startswith("cannot be loaded: ")


def test_a_disk_that_refuses_is_held_against_no_candidate(device, tmp_path, monkeypatch):
    good = compiled(GOOD, tmp_path)
    (Path(device._scratch.name) / "output").mkdir()
    measurement = device.measure(good)
    assert (measurement.error, measurement.lost) == ("cannot be measured: Is a directory", True)

    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    measurement = device.measure(good)
    assert re.fullmatch("cannot write a candidate into '.*': No space left on device", measurement.error)
    assert measurement.lost


def test_a_candidate_that_never_ends_dies_with_a_tuner_that_is_killed(tmp_path):
    endless = compiled("if (memory[24] == 7) for (;;) memory[20] = 1; memory[24] = 7;", tmp_path, limit_s=60.0)
    (tmp_path / "endless.pickle").write_bytes(pickle.dumps(endless))
    script = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from dscompile.tuner.local_device import LocalDevice\n"
        "LocalDevice().measure(pickle.loads(Path(sys.argv[1]).read_bytes()))\n"
    )
    tuner = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "endless.pickle"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    wait_until(lambda: any(tmp_path.glob("dscompile-*/output")))  # it was loaded, and now runs
    (worker,) = _children(tuner.pid)
    tuner.kill()
    tuner.wait()
    wait_until(lambda: not Path(f"/proc/{worker}").exists() or "(zombie)" in Path(f"/proc/{worker}/status").read_text())


def _children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_a_candidate_gets_no_more_memory_than_it_may_have(device, tmp_path):
    body = "char *room = malloc((size_t)8 << 30); if (!room) return 9; memset(room, 1, (size_t)8 << 30);"
    assert device.measure(compiled(body, tmp_path)).error == "main() returned 9"
    assert "memory" in device.measure(compiled(GOOD, tmp_path, memory_bytes=1 << 50)).error


def test_every_candidate_is_loaded_anew(device, tmp_path):
    outputs = []
    for number in (1, 2, 3):
        directory = tmp_path / str(number)
        directory.mkdir()
        outputs.append(device.measure(compiled(f"memset(memory + 16, {number}, 8);", directory)).output)
    assert outputs == [bytes([number] * 8) for number in (1, 2, 3)]


def test_a_target_that_this_machine_cannot_run_needs_a_farm():
    with pytest.raises(ToolError, match="candidates for cuda-sm80 do not run on this machine") as raised:
        local_devices(find_target("cuda-sm80"))
    assert "--farm" in str(raised.value)
