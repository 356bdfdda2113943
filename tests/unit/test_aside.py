"""What lies beside a destination until it is whole: kept while its process lives, removed when that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dscompile.aside import alone_in, aside_of, make_directory, make_file, old_of, remove_abandoned
from dscompile.frontend.paths import write_files, written_with


def abandoned(path: Path) -> Path:
    """A directory whose process has ended."""
    os.close(make_directory(path))
    (path / "half").write_text("half")
    return path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    final = tmp_path / "net"
    abandoned(aside_of(final))
    os.close(make_file(aside_of(final)))
    remove_abandoned(final)
    assert names(tmp_path) == set()


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    directory, file = aside_of(tmp_path / "net"), aside_of(tmp_path / "net")
    descriptors = [make_directory(directory), make_file(file)]
    remove_abandoned(tmp_path / "net")
    assert names(tmp_path) == {directory.name, file.name}
    for descriptor in descriptors:
        os.close(descriptor)


def test_what_belongs_to_others_stays(tmp_path: Path) -> None:
    for name in (".net.tmp", ".net.0123456789abcdef.tmpx", ".other.0123456789abcdef.tmp", "net.0123456789abcdef.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / ".net.0123456789abcdef.tmp").symlink_to(tmp_path / "net.0123456789abcdef.tmp")
    before = names(tmp_path)
    remove_abandoned(tmp_path / "net")
    assert names(tmp_path) == before


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "none" / "net")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("taken", [False, True])
def test_a_result_that_was_moved_away_goes_back_unless_another_has_come(tmp_path: Path, taken: bool) -> None:
    final = tmp_path / "net"
    aside = aside_of(final)
    abandoned(old_of(aside))
    abandoned(aside)
    if taken:
        final.mkdir()
        (final / "new").write_text("new")
    remove_abandoned(final)
    assert names(tmp_path) == {"net"}
    assert names(final) == ({"new"} if taken else {"half"})


def test_what_was_taken_for_abandoned_too_soon_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    attempts = []

    def swept(path: Path, flags: int, mode: int = 0o777) -> int:
        attempts.append(path)
        if len(attempts) == 1:
            os.rmdir(path)  # between making and opening
        descriptor = opened(path, flags, mode)
        if len(attempts) == 2:
            os.rmdir(path)  # between opening and locking
        return descriptor

    monkeypatch.setattr("dscompile.aside.os.open", swept)
    aside = aside_of(tmp_path / "net")
    os.close(make_directory(aside))
    assert len(attempts) == 3
    assert aside.is_dir()


def test_a_lock_on_a_directory_leaves_nothing_in_it(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        assert names(tmp_path) == set()


def test_files_are_replaced_together_and_nothing_waits_afterwards(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write_files(tmp_path, {"net.npz": content, "net.yaml": content})
        assert names(tmp_path) == {"net.npz", "net.yaml"}
        assert (tmp_path / "net.npz").read_bytes() == content


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("yaml", [b"new", b"old"])
def test_a_pair_is_old_or_new_whenever_its_writer_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, yaml: bytes
) -> None:
    write_files(tmp_path, {"net.npz": b"weights of old", "net.yaml": b"old"})
    replace, renames = Path.replace, []

    def dies(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) > step:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, {"net.npz": b"weights of new", "net.yaml": yaml})
    monkeypatch.undo()
    owner = (tmp_path / "net.yaml").read_bytes()
    weights = (tmp_path / written_with(tmp_path, "net.npz", owner)).read_bytes()
    assert (owner, weights) in {(b"old", b"weights of old"), (yaml, b"weights of new")}
    write_files(tmp_path, {"net.npz": b"weights of new", "net.yaml": yaml})
    assert names(tmp_path) == {"net.npz", "net.yaml"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/net.npz", "/net.npz", "none.npz"])
def test_other_names_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / ".net.for-0123456789abcdef.npz").touch()
    assert written_with(tmp_path, name, b"yaml") == name
