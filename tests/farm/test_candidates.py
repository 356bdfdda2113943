"""Candidates of all kinds on a farm on loopback: a bad one fails alone, and says why."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from dscompile.farm.candidate import Candidate, Measurement, Timing
from tests.farm.candidates import Candidates
from tests.farm.conftest import Farm
from tests.farm.servers import wait_until

MEMORY = bytes(range(200))
DOUBLED = bytes([42, *(2 * value % 256 for value in range(1, 200))])
QUICK = Timing(number=2, repeat=3, min_repeat_ms=1)


def measured(farm: Farm, library: Path | bytes, name: str = "it", timing: Timing = QUICK) -> Measurement:
    return farm.client.run_on_device(Candidate(name, library, MEMORY, timing))


def test_a_candidate_is_prepared_run_finished_and_timed_in_the_memory_it_was_given(farm: Farm, candidates: Candidates):
    result = measured(farm, candidates["good"])
    assert (result.kind, result.error) == ("ok", "")
    assert result.memory == DOUBLED
    assert len(result.seconds) == 3
    assert 0 < result.best_s == min(result.seconds) < 1e-3
    assert result.device in {str(device.address) for device in farm.devices}
    assert 0 < result.elapsed_s < 3


def test_the_library_may_be_bytes_and_the_memory_empty(farm: Farm, candidates: Candidates):
    result = farm.client.run_on_device(Candidate("x", candidates["wrong"].read_bytes(), b"", QUICK))
    assert (result.kind, result.memory) == ("ok", b"")


def test_caches_are_flushed_before_every_repeat_if_so_wished(farm: Farm, candidates: Candidates):
    timing = Timing(number=1, repeat=4, min_repeat_ms=0, flush_bytes=1 << 20)
    result = measured(farm, candidates["good"], timing=timing)
    assert (result.kind, len(result.seconds)) == ("ok", 4)


@pytest.mark.parametrize(
    ("behavior", "kind", "error"),
    [
        ("crash", "crash", "crashed with SIGSEGV"),
        ("abort", "crash", "crashed with SIGABRT"),
        ("exit", "crash", "ended the session's process with exit code 3"),
        ("closes", "crash", "ended the session's process with exit code"),
        pytest.param("sleep", "hang", "took longer than its time limit of 3 s", marks=pytest.mark.slow),
        pytest.param("hang", "hang", "took longer than its time limit of 3 s", marks=pytest.mark.slow),
        ("hungry", "memory", "took more than its memory limit of 128 MiB"),
        ("huge", "memory", "took more than its memory limit of 128 MiB"),
        ("raises", "failed", "no such tile"),
        ("silent", "failed", "a function returned an error without a message"),
        ("returns", "failed", "its function 'main' returned 7"),
    ],
)
def test_a_bad_candidate_fails_alone_and_says_why(
    farm: Farm, candidates: Candidates, behavior: str, kind: str, error: str
):
    result = measured(farm, candidates[behavior], behavior)
    assert result.kind == kind
    assert error in result.error
    assert (result.seconds, result.memory) == ((), None)
    assert result.is_verdict
    assert not result.ok
    assert measured(farm, candidates["good"]).memory == DOUBLED


def test_a_library_for_another_machine_fails(farm: Farm):
    result = measured(farm, b"\x7fELF" + bytes(100))
    assert result.kind == "failed"
    assert result.error


def test_a_library_without_main_fails_by_the_name_of_the_function(farm: Farm, candidates: Candidates):
    result = measured(farm, candidates.incomplete())
    assert result.kind == "failed"
    assert result.error.endswith("Module has no function 'main'")


def test_what_a_candidate_has_started_ends_with_its_session(farm: Farm, candidates: Candidates):
    assert measured(farm, candidates["forks"]).kind == "ok"
    name = str(farm.devices[0].temporary.parent.parent)
    wait_until(lambda: not _processes_in(name), lambda: str(_processes_in(name)))


def _processes_in(directory: str) -> list[str]:
    """Processes whose current directory is that of a session."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            place = str(link.readlink())
        except OSError:
            continue
        if place.startswith(directory) and "session-" in place:
            found.append(f"{link}: {place}")
    return found


def test_the_device_says_which_client_and_which_candidate_and_how_it_ended(farm: Farm, candidates: Candidates):
    result = measured(farm, candidates["crash"], "stem/tile 7x14")
    device = next(device for device in farm.devices if str(device.address) == result.device)
    device.wait_for("candidate stem_tile_7x14.so: crashed with SIGSEGV after")
    line = next(line for line in device.log.splitlines() if "stem_tile_7x14" in line)
    assert "client 127.0.0.1:" in line
    assert line.endswith("; the device lives on")


def test_temporary_directories_are_for_their_owner_alone_and_are_emptied(farm: Farm, candidates: Candidates):
    assert measured(farm, candidates["crash"]).kind == "crash"
    for device in farm.devices:
        (directory,) = device.temporary.iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        wait_until(lambda directory=directory: [path.name for path in directory.iterdir()] == ["lock"])


@pytest.mark.slow
def test_candidates_are_measured_on_all_devices_and_come_as_they_are_done(farm: Farm, candidates: Candidates):
    # Of 32, five are bad, of five kinds.
    bad = {3: "crash", 9: "hungry", 14: "raises", 20: "exit", 27: "hang"}
    batch = [Candidate(str(n), candidates[bad.get(n, "slow")], bytes([n]), QUICK) for n in range(32)]
    got = dict(farm.client.measure(iter(batch)))
    assert set(got) == set(batch)
    for n, candidate in enumerate(batch):
        assert got[candidate].ok == (n not in bad), got[candidate]
        assert got[candidate].memory == (None if n in bad else bytes([n]))
    assert {result.device for result in got.values()} == {str(device.address) for device in farm.devices}
    usage = farm.client.usage()
    assert [device.device for device in usage.devices] == sorted(str(device.address) for device in farm.devices)
    assert sum(device.candidates for device in usage.devices) >= 32
    assert 0 < usage.busy_share <= 1
    assert usage.candidates_per_s > 0


def test_wrong_numbers_are_for_the_caller_to_find(farm: Farm, candidates: Candidates):
    result = measured(farm, candidates["wrong"])
    assert (result.kind, result.memory == DOUBLED) == ("ok", False)
    wrong = result.found_wrong("differs from the oracle in 199 of 200 bytes")
    assert (wrong.kind, wrong.best_s, wrong.is_verdict) == ("wrong", float("inf"), True)
    assert dataclasses.replace(wrong, kind="ok", error="") == result
