"""Damaged inputs of every kind: some in every run, hundreds of each with `-m slow`, a thousand with `--all-cases`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import watch
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.samples import Sample
from tests.fuzz.watch import run_all


@pytest.mark.every_case
@pytest.mark.parametrize(
    "count",
    [30, pytest.param(200, marks=pytest.mark.slow), pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.seldom])],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_input_is_read_or_refused(kind: str, count: int) -> None:
    codes, findings = run_all(KINDS[kind], range(count))
    assert [f"seed {finding.seed}: {finding.cause}" for finding in findings] == []
    assert sum(codes.values()) == count


# By kind, how many samples are refused as they are: for a reason of their own.
REFUSED = {"netyaml": 1, "onnx": 2, "manifest": 6}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_was_good_before(kind: str, tmp_path: Path) -> None:
    samples = KINDS[kind].samples()
    codes = [KINDS[kind].read(sample.write(tmp_path / str(index))) for index, sample in enumerate(samples)]
    assert sum(code != 0 for code in codes) == REFUSED.get(kind, 0)


def _causes(read: Callable[[Path], int]) -> list[str]:
    """What the watch finds of one input that is read so."""
    kind = Kind("made", lambda: [Sample("input", b"x")], lambda: [lambda _rng, sample: sample], read)
    return [finding.cause for finding in run_all(kind, range(1))[1]]


def _raise(_path: Path) -> int:
    raise KeyError("a")


def _allocate(_path: Path) -> int:
    return int(np.ones(1 << 28).sum()) % 4


def test_what_an_input_must_not_do_is_found(tmp_path: Path) -> None:
    def write_outside(_path: Path) -> int:
        (tmp_path / "outside").touch()
        return 0

    assert _causes(lambda _path: 3) == []
    assert _causes(lambda _path: 5)[0].startswith("exit code 5")
    assert _causes(_raise)[0].startswith("KeyError in ")
    assert _causes(write_outside) == ["outside: open"]
    assert "MemoryError" in _causes(_allocate)[0]


def test_an_input_that_takes_too_long_is_found_unless_only_the_machine_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "TIME_S", 0.2)
    calls = []

    def sleep_once(path: Path) -> int:
        calls.append(path)
        time.sleep(1.0 if len(calls) == 1 else 0.0)
        return 0

    def sleep(_path: Path) -> int:
        time.sleep(1.0)
        return 0

    assert _causes(sleep_once) == []
    assert _causes(sleep)[0].startswith("it takes more than")


def test_an_input_that_does_not_come_back_is_found_if_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TIME_S", 0.2)
    monkeypatch.setattr(watch, "_GRACE_S", 0.3)

    def out_of_reach(work: Callable[[], object]) -> Callable[[Path], int]:
        def read(_path: Path) -> int:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # when it can come again
            work()
            return 0

        return read

    def compute() -> None:
        while True:
            pass

    assert _causes(out_of_reach(compute)) == ["it hangs, out of the interpreter's reach"]
    assert _causes(out_of_reach(lambda: time.sleep(2.5))) == []
    monkeypatch.setattr(watch, "_ASLEEP_S", 1.0)
    assert _causes(out_of_reach(lambda: time.sleep(600))) == ["it hangs, out of the interpreter's reach"]
