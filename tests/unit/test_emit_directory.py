"""Directories that appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dscompile.emit import directory as module
from dscompile.emit.directory import replaced_directory
from dscompile.errors import ToolError, UsageError

OURS = '{"dscompile_artifact": 1}'


def build(destination: Path, content: str) -> None:
    with replaced_directory(destination) as aside:
        (aside / "manifest.json").write_text(OURS)
        (aside / "library").write_text(content)


def entries(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_a_new_directory_gets_its_missing_parents_and_modes_by_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        build(tmp_path / "deep" / "er" / "net", "one")
    finally:
        os.umask(before)
    assert entries(tmp_path / "deep" / "er") == ["net"]
    assert (tmp_path / "deep" / "er" / "net").stat().st_mode & 0o777 == 0o777 & ~umask


def test_an_artifact_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    build(tmp_path / "net", "one")
    (tmp_path / "net" / "stale").write_text("left by the user")
    build(tmp_path / "net", "two")
    assert entries(tmp_path) == ["net"]
    assert entries(tmp_path / "net") == ["library", "manifest.json"]
    assert (tmp_path / "net" / "library").read_text() == "two"


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    build(tmp_path / "net", "one")
    assert (tmp_path / "net" / "library").read_text() == "one"


def test_a_link_to_a_directory_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "net").symlink_to(tmp_path / "disk" / "real")
    build(tmp_path / "net", "one")
    assert (tmp_path / "net").is_symlink()
    assert (tmp_path / "disk" / "real" / "library").read_text() == "one"


@pytest.mark.parametrize("failure", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_leaves_the_previous_artifact_and_no_rest(tmp_path: Path, failure: BaseException) -> None:
    build(tmp_path / "net", "one")
    with pytest.raises(type(failure)), replaced_directory(tmp_path / "net") as aside:  # noqa: PT012
        (aside / "half").write_text("half")
        raise failure
    assert entries(tmp_path) == ["net"]
    assert entries(tmp_path / "net") == ["library", "manifest.json"]
    assert (tmp_path / "net" / "library").read_text() == "one"


def test_a_directory_with_other_files_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("miau")
    with pytest.raises(UsageError, match="holds files that are no artifact of dscompile"):
        build(tmp_path / "photos", "one")
    assert entries(tmp_path / "photos") == ["cat.jpg"]


@pytest.mark.parametrize("manifest", ["{}", "[1]", "not json", '{"name": "somebody else"}'])
def test_a_manifest_of_somebody_else_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text(manifest)
    with pytest.raises(UsageError, match="name another directory"):
        build(tmp_path / "net", "one")


def test_files_that_appear_meanwhile_are_not_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no artifact of dscompile"), replaced_directory(tmp_path / "net"):  # noqa: PT012
        (tmp_path / "net").mkdir()
        (tmp_path / "net" / "thesis.tex").write_text("years of work")
    assert entries(tmp_path / "net") == ["thesis.tex"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("file")
    with pytest.raises(UsageError, match="is a file; name a directory"):
        build(tmp_path / "net", "one")


def test_a_parent_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match=r"cannot write the artifact '.*file/net': .*'"):
        build(tmp_path / "file" / "net", "one")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_parent_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ToolError, match="Permission denied"):
            build(tmp_path / "net", "one")
    finally:
        tmp_path.chmod(0o755)


def test_a_disk_that_refuses_is_named_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ToolError, match=r"Read-only file system \('.*'\)") as caught:
        build(tmp_path / "net", "one")
    assert caught.value.diagnostics[0].help == "name a directory on a disk that may be written"


def test_a_full_disk_leaves_the_previous_artifact(tmp_path: Path) -> None:
    build(tmp_path / "net", "one")
    with pytest.raises(ToolError, match="No space left on device") as caught, replaced_directory(tmp_path / "net"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "make room on the disk" in (caught.value.diagnostics[0].help or "")
    assert entries(tmp_path) == ["net"]
    assert (tmp_path / "net" / "library").read_text() == "one"


@pytest.mark.parametrize("step", [1, 2])
def test_without_an_atomic_exchange_a_failure_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    build(tmp_path / "net", "one")
    monkeypatch.setattr(module, "_exchange", module._exchange_in_steps)
    rename, calls = os.rename, []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 1 + step:  # the first attempt of all finds the place taken
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "net", "two")
    assert entries(tmp_path) == ["net"]
    assert (tmp_path / "net" / "library").read_text() == "one"


def test_without_an_atomic_exchange_the_new_one_still_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_exchange", module._exchange_in_steps)
    build(tmp_path / "net", "one")
    build(tmp_path / "net", "two")
    assert entries(tmp_path) == ["net"]
    assert (tmp_path / "net" / "library").read_text() == "two"


def test_a_place_that_is_never_free_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "net", "one")

    def gone(_new: Path, final: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(final))

    monkeypatch.setattr(module, "_exchange", gone)
    with pytest.raises(ToolError, match="it keeps being replaced"):
        build(tmp_path / "net", "two")


def test_a_place_that_changes_under_our_eyes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").write_text("not ours")
    numbers = iter(range(1000))
    monkeypatch.setattr(module, "_identity", lambda _path: (0, next(numbers)))
    with pytest.raises(ToolError, match="it keeps being replaced"):
        module.check_replaceable(tmp_path)


@pytest.mark.parametrize("atomic", [True, False])
def test_of_builds_at_once_one_wins_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    if not atomic:
        monkeypatch.setattr(module, "_exchange", module._exchange_in_steps)
    build(tmp_path / "net", "first")
    failures: list[BaseException] = []

    def work(content: str) -> None:
        try:
            for _ in range(30):
                with replaced_directory(tmp_path / "net") as aside:
                    for name in ("manifest.json", "a", "b", "c"):
                        (aside / name).write_text(OURS if name == "manifest.json" else content)
        except BaseException as error:  # reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"builder {index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert entries(tmp_path) == ["net"]
    assert len({(tmp_path / "net" / name).read_text() for name in "abc"}) == 1


WORKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from dscompile.emit.directory import replaced_directory
    print("ready", flush=True)
    number = 0
    try:
        while True:
            number += 1
            with replaced_directory(Path(sys.argv[1])) as aside:
                for name in ("a", "b", "c", "d"):
                    (aside / name).write_text(str(number) * 1000)
                (aside / "manifest.json").write_text('{"dscompile_artifact": 1}')
    except KeyboardInterrupt:
        sys.exit(130)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_at_any_moment_leave_a_whole_artifact_and_nothing_else(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    for attempt in range(15):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "net")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.0037 * attempt)
        process.send_signal(number)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()  # where the signal is ignored, as by jobs that a shell put into the background
        if number == signal.SIGTERM and process.returncode == -signal.SIGTERM:
            continue  # it came between two builds, where nobody had to clean up
        assert process.returncode == code
        assert entries(tmp_path) in ([], ["net"])
        if (tmp_path / "net").exists():
            assert entries(tmp_path / "net") == ["a", "b", "c", "d", "manifest.json"]
            assert len({(tmp_path / "net" / name).read_text() for name in "abcd"}) == 1


def test_sigterm_handlers_of_the_program_are_left_alone(tmp_path: Path) -> None:
    def own(_number: int, _frame: object) -> None: ...

    previous = signal.signal(signal.SIGTERM, own)
    try:
        with replaced_directory(tmp_path / "net") as aside:
            assert signal.getsignal(signal.SIGTERM) is own
            (aside / "x").write_text("")
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_sigterm_is_back_to_its_default_afterwards(tmp_path: Path) -> None:
    build(tmp_path / "net", "one")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
