"""Commands that are killed or that the disk refuses: a few in every run, a hundred of each with --all-cases."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.crash.commands import COMMANDS, contents, is_leftover, names
from tests.crash.trap import TOLD, Disturbance, start
from tests.crash.trials import FAULTS, Fault, Outcome, Trials, mounted, run_all
from tests.tools import require_tools

QUICK = ("build-c", "import", "import-retrained", "quantize")


def findings(trials: Trials, count: int, fault: Fault) -> list[str]:
    """What a number of trials finds, with their seeds."""
    found: list[str] = []

    def see(seed: int, outcome: Outcome) -> None:
        if outcome.found:
            found.append(f"seed {seed}, {outcome.done}: {outcome.found}")

    assert run_all(trials, range(count), fault, see) == len(found)
    return found


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.slow
@pytest.mark.every_case
def test_a_killed_command_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    assert findings(Trials(COMMANDS[name], tmp_path / "trials"), 5, "kill") == []


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.slow
@pytest.mark.seldom
def test_a_hundred_killed_commands_leave_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    require_tools("gcc")
    assert findings(Trials(COMMANDS[name], tmp_path / "trials"), 100, "kill") == []


def test_an_import_that_is_killed_before_any_change_of_the_disk_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    trials = Trials(COMMANDS["import-retrained"], tmp_path / "trials")
    for before in (trials.reference.before, {}):
        for change in range(trials.reference.changes):
            outcome = trials.killed_before(change, before)
            assert (outcome.ended, outcome.found) == ("SIGKILL", ""), outcome


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "kill"])
@pytest.mark.parametrize("name", ["build-c", "import"])
@pytest.mark.slow
@pytest.mark.every_case
def test_a_disk_that_refuses_leaves_the_old(tmp_path: Path, name: str, fault: Fault) -> None:
    trials = Trials(COMMANDS[name], tmp_path / "trials")
    try:
        assert findings(trials, 5, fault) == []
    except PermissionError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["build-c", "import", "quantize"])
@pytest.mark.slow
@pytest.mark.every_case
def test_a_read_only_disk_is_named_and_unchanged(tmp_path: Path, name: str) -> None:
    trials = Trials(COMMANDS[name], tmp_path / "trials")
    place = trials.out
    try:
        with mounted(place, 1 << 20):
            (place / "net").mkdir()
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
            status = start(trials.command.arguments, trials.folder, {}, Disturbance()).wait(60)
            assert [path.name for path in place.iterdir()] == ["net"]
    except PermissionError as error:
        pytest.skip(str(error))
    said = (trials.folder / TOLD).read_text()
    assert status == 5
    assert "error: cannot write into" in said
    assert "Read-only file system" in said


@pytest.mark.slow
def test_of_two_builds_into_one_directory_one_wins_whole(tmp_path: Path) -> None:
    command, wanted = COMMANDS["build-c"], []
    command.warm(_folder(tmp_path / "warm"))
    folders = [_folder(tmp_path / name) for name in ("old", "new")]
    for folder, new in zip(folders, (False, True), strict=True):
        command.write_inputs(folder, new)
        assert start(command.arguments, folder, {}, Disturbance()).wait(60) == 0
        wanted.append(contents(folder / "out"))
    shared = ["--output" if word == "-o" else word for word in command.arguments]
    shared[shared.index("out/net")] = str(tmp_path / "shared" / "net")
    winners = set()
    for _ in range(20):
        running = [start(shared, folder, {}, Disturbance()) for folder in folders]
        assert [one.wait(60) for one in running] == [0, 0]
        winner = contents(tmp_path / "shared")
        assert winner in wanted
        winners.add(wanted.index(winner))
    assert winners <= {0, 1}


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_tool_knows_what_may_lie_about() -> None:
    assert is_leftover(".net.0123456789abcdef.tmp/net.c")
    assert is_leftover(".small.for-0123456789abcdef.npz")
    assert not is_leftover("net/net.c")
    assert not is_leftover(".net.tmp")


def test_the_tool_takes_names_of_commands() -> None:
    assert names("build,tune") == ["build", "tune"]
    with pytest.raises(ValueError, match="'biuld' is none of build, build-c, import"):
        names("biuld")
