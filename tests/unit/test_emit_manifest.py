"""Manifests: what is written is read again, and what was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dscompile.artifact import (
    ArenaInfo,
    Artifact,
    BufferInfo,
    Checksum,
    InputFile,
    LayerInfo,
    MadeFrom,
    Manifest,
    Sizes,
    Tool,
    TuningInfo,
    Versions,
    checksums,
    load_artifact,
    read_manifest,
    write_manifest,
)
from dscompile.errors import BadInputError, CheckFailedError, UsageError
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.target import Caches
from tests.tiny_programs import TARGET, single

MANIFEST = Manifest(
    name="Möbel",
    c_name="mobel",
    origin="net.yaml",
    target=replace(TARGET, compiler_flags=("-march=x",), caches=Caches(1, 2, 3)),
    inputs=(Tensor("x", (1, 2, 3, 4), "int8", Quantization((0.5,), -7), "nchw"),),
    outputs=(Tensor("y", (1, 2)),),
    labels=("ja", "nein"),
    layers=(LayerInfo("a", "conv", ("a", "b"), 5, 6, (2, 3)),),
    macs=5,
    parameters=7,
    arena=ArenaInfo(64, 60, 64, (BufferInfo("a", 0, 60, -1, 1),)),
    sizes=Sizes(10, 20, 30, 40),
    fingerprint=0x00ABCDEF,
    versions=Versions("0.1.0", "gcc 12", "0.27"),
    fallback_layers=("a",),
    tuning=(TuningInfo("x86-avx2", ("a1b2c3d4",), ("a",), ("b",), ("c",)),),
    checksums=(Checksum("mobel.h", "00"),),
    latency_budget_us=0.5,
    made_from=MadeFrom((InputFile("network", "net.yaml", 12, "0f" * 32),), (Tool("numpy", "2.0"),)),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    assert read_manifest(tmp_path / "manifest.json") == MANIFEST


def test_a_layer_that_lacks_some_macs_is_wrong(tmp_path: Path) -> None:
    write_manifest(replace(MANIFEST, layers=(LayerInfo("a", "conv", ("a", "b"), 5, 6, (2,)),)), tmp_path)
    with pytest.raises(BadInputError, match=r"'layers\[0\].layer_macs' must have an entry for each of 'layers'"):
        read_manifest(tmp_path / "manifest.json")


def test_a_manifest_without_a_latency_budget_has_none(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    del content["latency_budget_us"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert read_manifest(tmp_path / "manifest.json") == replace(MANIFEST, latency_budget_us=None)


@pytest.mark.parametrize(("key", "nothing"), [("tuning", ()), ("made_from", MadeFrom())])
def test_a_manifest_of_before_there_was_such_a_key_has_none(tmp_path: Path, key: str, nothing: object) -> None:
    write_manifest(MANIFEST, tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    del content[key]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert read_manifest(tmp_path / "manifest.json") == replace(MANIFEST, **{key: nothing})


def test_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["dscompile_artifact"] == 1
    assert content["version"] == "0.1.0"
    assert content["fingerprint"] == "0x00abcdef"
    assert content["flash_bytes"] == 30
    assert content["sizes"] == {"weights": 10, "text": 20, "so": 30, "a": 40}
    assert content["arena"] == {
        "bytes": 64,
        "lower_bound": 60,
        "alignment": 64,
        "buffers": [{"name": "a", "offset": 0, "size": 60, "first": -1, "last": 1}],
    }
    assert content["inputs"] == [
        {
            "name": "x",
            "shape": [1, 2, 3, 4],
            "border": "nchw",
            "dtype": "int8",
            "elements": 24,
            "quantization": {"scales": [0.5], "zero_point": -7},
        }
    ]
    assert content["checksums"] == {"mobel.h": "00"}
    assert content["tuning_ids"] == ["a1b2c3d4"]
    assert content["made_from"] == {
        "files": [{"role": "network", "name": "net.yaml", "bytes": 12, "sha256": "0f" * 32}],
        "tools": [{"name": "numpy", "version": "2.0"}],
    }
    assert list(content)[-1] == "manifest_sha256"
    assert content["tuning"] == [
        {"target": "x86-avx2", "ids": ["a1b2c3d4"], "from_records": ["a"], "from_similar": ["b"], "by_rule": ["c"]}
    ]


def put(*path: Any) -> Callable[[Any], None]:
    """A change: the last of `path` becomes the value at the keys before it."""
    *keys, last, value = path

    def change(content: Any) -> None:
        for key in keys:
            content = content[key]
        content[last] = value

    return change


SLOT = {
    **{"name": "s", "shape": [1, 4], "border": "nhwc", "dtype": "float64", "elements": 4, "quantization": None},
    **{"offset": 0, "initial": 0},
}
WRONG: dict[str, Callable[[Any], object]] = {
    "'state.slots[0].dtype' must be one of float32, int8, uint8, int32": put(
        "state", {"bytes": 16, "alignment": 64, "slots": [SLOT]}
    ),
    "'name' is missing": lambda m: m.pop("name"),
    "'name' must be a string, not 5": put("name", 5),
    "'c_name' must be a C identifier, not '../x'": put("c_name", "../x"),
    "'macs' must be a whole number, not 'many'": put("macs", "many"),
    "'macs' must be a whole number, not True": put("macs", True),
    "'macs' must be a whole number of at least 0, not -1": put("macs", -1),
    "'arena.bytes' must be a whole number of at least 1, not 0": put("arena", "bytes", 0),
    "'arena' must be an object, not []": put("arena", []),
    "'arena.buffers[0].size' must be a whole number, not None": put("arena", "buffers", 0, "size", None),
    "'layers' must be a list, not {}": put("layers", {}),
    "'layers[0].layers[1]' must be a string, not 1": put("layers", 0, "layers", 1, 1),
    "'layers[0]' must be an object, not 'a'": put("layers", 0, "a"),
    "'inputs[0].border' must be one of nhwc, nchw, not 'hwcn'": put("inputs", 0, "border", "hwcn"),
    "'inputs[0].dtype' must be one of float32, int8, uint8, int32": put("inputs", 0, "dtype", "float64"),
    "'inputs[0].elements' does not fit the shape [1, 2, 3, 4]": put("inputs", 0, "elements", 25),
    "'outputs[0].elements' does not fit the shape [1, -2]": put("outputs", 0, "shape", [1, -2]),
    "'inputs[0].quantization': quantization scales must be positive": put(
        "inputs", 0, "quantization", "scales", [-1.0]
    ),
    "'inputs[0].quantization.scales[0]' must be a number": put("inputs", 0, "quantization", "scales", ["x"]),
    "'target': vector_bytes must be a power of two, not 3": put("target", "vector_bytes", 3),
    "'fingerprint' must be eight hexadecimal digits after 0x, not '7'": put("fingerprint", "7"),
    "'made_from.files[0].role' must be one of network, weights, target, tuning, not 'virus'": put(
        "made_from", {"files": [{"role": "virus", "name": "a", "bytes": 1, "sha256": "0" * 64}], "tools": []}
    ),
    "'made_from.files[0].sha256' must be 64 hexadecimal digits, not 'ff'": put(
        "made_from", {"files": [{"role": "tuning", "name": "a", "bytes": 1, "sha256": "ff"}], "tools": []}
    ),
    "'made_from.tools[0].version' must be a string, not 3": put(
        "made_from", {"files": [], "tools": [{"name": "numpy", "version": 3}]}
    ),
    "'checksums' names '../../etc/passwd', which is no file of an artifact": put("checksums", {"../../etc/passwd": ""}),
}


@pytest.mark.parametrize("message", WRONG)
def test_changes_are_named_with_their_place(tmp_path: Path, message: str) -> None:
    write_manifest(MANIFEST, tmp_path)
    file = tmp_path / "manifest.json"
    content = json.loads(file.read_text())
    WRONG[message](content)
    file.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as caught:
        read_manifest(file)
    assert message in str(caught.value)
    assert f"--> {file}" in str(caught.value)


def test_all_changes_are_named_at_once(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    file = tmp_path / "manifest.json"
    content = json.loads(file.read_text())
    for key in ("name", "macs", "arena"):
        del content[key]
    file.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as caught:
        read_manifest(file)
    found = [diagnostic.message for diagnostic in caught.value.diagnostics]
    assert {"manifest: 'name' is missing", "manifest: 'macs' is missing", "manifest: 'arena' is missing"} <= set(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the manifest is not JSON"),
        ('{"dscompile_artifact": 1,', "the manifest is not JSON"),
        ("\xff\xfe", "the manifest is not JSON"),
        ("[" * 100_000, "the manifest is not JSON"),
        ("[]", "this is no manifest of dscompile"),
        ('{"name": "x"}', "the key 'dscompile_artifact' is missing"),
        ('{"dscompile_artifact": 99}', "has version 99; this dscompile reads 1"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInputError, match=message):
        read_manifest(file)


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read the manifest: No such file"):
        read_manifest(tmp_path / "manifest.json")


def test_directories_that_are_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no artifact '.*nowhere'"):
        load_artifact(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"is not an artifact: it has no manifest\.json"):
        load_artifact(tmp_path)


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    artifact = single().write(tmp_path / "tiny")
    (artifact.directory / "libtiny.so").unlink()
    (artifact.directory / "tiny.h").unlink()
    with pytest.raises(BadInputError, match=r"the artifact is incomplete: libtiny\.so, tiny\.h missing"):
        load_artifact(artifact.directory)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact. Tests must not change it."""
    return single().write(tmp_path_factory.mktemp("written") / "tiny").directory


@pytest.fixture
def artifact(written: Path, tmp_path: Path) -> Artifact:
    """A copy that a test may change."""
    return load_artifact(Path(shutil.copytree(written, tmp_path / "copy")))


def problems(artifact: Artifact, *, added: bool = True) -> list[str]:
    """What is wrong with its files."""
    with pytest.raises(CheckFailedError) as caught:
        artifact.verify_files(added=added)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def test_an_artifact_may_be_moved(artifact: Artifact) -> None:
    artifact.verify_files()


def test_every_file_of_an_artifact_but_the_manifest_has_a_checksum(artifact: Artifact) -> None:
    listed = {checksum.file for checksum in artifact.manifest.checksums}
    assert {path.name for path in artifact.directory.iterdir()} == {*listed, "manifest.json"}


def test_every_changed_missing_and_added_file_is_named(artifact: Artifact) -> None:
    for name in ("tiny.h", "libtiny.a"):
        with (artifact.directory / name).open("ab") as file:
            file.write(b" ")
    (artifact.directory / "tiny.c").unlink()
    (artifact.directory / "selftest.c").unlink()
    (artifact.directory / "selftest.c").mkdir()
    (artifact.directory / ".hidden").touch()
    objects = artifact.directory / "objects"
    objects.mkdir()
    (objects / "a.o").touch()
    (artifact.directory / "elsewhere").symlink_to(artifact.directory.parent)
    changed = "was changed after the build: its checksum differs from manifest.json"
    own = [
        f"'libtiny.a' {changed}",
        "'selftest.c' is missing: manifest.json lists it",
        "'tiny.c' is missing: manifest.json lists it",
        f"'tiny.h' {changed}",
    ]
    assert problems(artifact, added=False) == own
    assert problems(artifact) == [
        *own,
        "'.hidden' is a file that the build did not write",
        "'elsewhere' is a file that the build did not write",
        "'objects' is a folder that the build did not write",
    ]


def test_files_of_packages_are_looked_for_in_their_folders(artifact: Artifact) -> None:
    inner = artifact.directory / "package" / "arduino"
    inner.mkdir(parents=True)
    (inner / "library.properties").write_text("name=tiny")
    write_manifest(
        replace(artifact.manifest, checksums=checksums(artifact.directory, ["package/arduino/library.properties"])),
        artifact.directory,
    )
    resealed = load_artifact(artifact.directory)
    assert not [problem for problem in problems(resealed) if "package" in problem]
    (inner / "more.txt").touch()
    (inner.parent / "zephyr").mkdir()
    assert [problem for problem in problems(resealed) if "package" in problem] == [
        "'package/zephyr' is a folder that the build did not write",
        "'package/arduino/more.txt' is a file that the build did not write",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"macs": ', '"macs": 1', 1),
        lambda text: text.replace("\n", "", 1),
        lambda text: text + " ",
        lambda text: text.replace('"manifest_sha256": "', '"manifest_sha256": "0', 1),
        lambda text: text.replace('"manifest_sha256"', '"x": 1, "manifest_sha256"', 1),
    ],
)
def test_a_changed_manifest_is_noticed(artifact: Artifact, change: Callable[[str], str]) -> None:
    file = artifact.directory / "manifest.json"
    text = file.read_text()
    changed = change(text)
    assert changed != text
    file.write_text(changed)
    expected = "'manifest.json' was changed after the build: it differs from its checksum"
    assert problems(load_artifact(artifact.directory)) == [expected]


def test_a_manifest_from_before_it_had_a_checksum_passes(artifact: Artifact) -> None:
    file = artifact.directory / "manifest.json"
    content = json.loads(file.read_text())
    del content["manifest_sha256"]
    file.write_text(json.dumps(content))
    load_artifact(artifact.directory).verify_files()


def test_the_shared_library_that_a_build_without_a_linker_tells_to_make_is_not_added(artifact: Artifact) -> None:
    kept = tuple(checksum for checksum in artifact.manifest.checksums if checksum.file != "libtiny.so")
    write_manifest(replace(artifact.manifest, checksums=kept), artifact.directory)
    load_artifact(artifact.directory).verify_files()


def test_files_and_folders_that_cannot_be_read_are_named(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("dscompile.artifact.integrity._digest", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    found = problems(artifact)
    assert "'tiny.h' cannot be read: Permission denied" in found
    assert found[-1] == "cannot look into the folder: Permission denied"


def test_checksums_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read the file: No such file"):
        checksums(tmp_path, ["nowhere"])
