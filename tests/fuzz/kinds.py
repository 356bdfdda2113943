"""What can be damaged: its good inputs, how they are damaged, and the commands that then read them."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

from dscompile.cli.main import main
from dscompile.emit.mcu_measure import Compiler, Measured
from dscompile.errors import DscompileError, ExitCode
from dscompile.frontend.netfile import read_netfile
from dscompile.target import Target
from tests.fuzz import archives, messages, seeds
from tests.fuzz.damage import damaged_bytes, damaged_text, truncated
from tests.fuzz.samples import Sample
from tests.fuzz.trees import as_json, json_changes, words_of, yaml_changes

Damage = Callable[[Random, Sample], Sample]
_BUILT_MACS, _BUILT_PARAMETERS = 200_000, 20_000


@dataclass(frozen=True)
class Kind:
    """One kind of input. `read` gives the exit code of what reads a sample, or raises what it should not."""

    name: str
    samples: Callable[[], Sequence[Sample]]
    damages: Callable[[], Sequence[Damage]]
    read: Callable[[Path], int]

    def sample(self, seed: int) -> Sample:
        """The damaged input that a seed stands for."""
        rng = Random(f"{self.name} {seed}")
        sample, damages = rng.choice(self.samples()), self.damages()
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            sample = rng.choice(damages)(rng, sample)
        return sample


def command(*arguments: str | Path) -> int:
    """The exit code of a command; the traceback of a bug goes to stderr."""
    return main([*map(str, arguments), "-v"])


def coded(read: Callable[[], object]) -> int:
    """0, or the exit code of the DscompileError that `read` raises."""
    try:
        read()
    except DscompileError as error:
        if not error.diagnostics or not str(error):
            raise AssertionError("an error without words") from error
        return int(error.code)
    return 0


def _read_net(path: Path) -> int:
    """Checks it, inspects what is small with its weights, and builds it for c99."""
    told = io.StringIO()
    with redirect_stdout(told):
        code = command("check", path, "--json")
    if code:
        return code
    sizes = json.loads(told.getvalue())
    if sizes["macs"] > _BUILT_MACS or sizes["parameters"] > _BUILT_PARAMETERS:
        return 0
    if sum(tensor.elements for tensor in read_netfile(path).network.tensors.values()) > _BUILT_MACS:
        return 0
    return command("build", path, "-t", "c99", "-o", path.parent / "out")


def _read_target(path: Path) -> int:
    """Shows it, plans a small network for it, and writes that as C if the target takes C.

    No compiler runs: whether there is the one that a file names, and what it makes of flags, is not ours.
    """
    net = path.parent / "net.yaml"
    code = command("targets", "show", path, "--json") or command("inspect", net, "-t", path)
    if code == ExitCode.TOOL_MISSING and b"variants" in path.read_bytes():
        return 0  # this machine runs none of those that are left
    if code == 0 and b"kernels" in path.read_bytes():
        made = "dscompile.emit.mcu"
        with patch(f"{made}.target_compiler", _no_compiler), patch(f"{made}.measure", _nothing_measured):
            code = command("build", net, "-t", path, "-o", path.parent / "out")
    return code


def _no_compiler(_target: Target) -> Compiler:
    return Compiler((), "", is_gcc=False)


def _nothing_measured(_compiler: Compiler, _directory: Path, _prefix: str) -> Measured:
    return Measured(0, 0, 0)


def _read_model(path: Path) -> int:
    """Imports it; what was written must be a good net.yaml."""
    net = path.parent / "out" / "net.yaml"
    code = command("import", path, "-o", net)
    if code == 0 and command("check", net):
        raise AssertionError("the net.yaml of the import is refused")
    return code


def _read_arrays(path: Path) -> int:
    """What reads a file of this name: weights of the net.yaml beside it, calibration, vectors, or one array."""
    from dscompile.cli.arrays import read
    from dscompile.ir.tensor import Tensor
    from dscompile.quantization.data import read_samples
    from dscompile.report.vectors import FILE_NAME, read_vectors

    net = path.parent / "net.yaml"
    if path.name in ("test.npz", "test.safetensors"):
        return command("inspect", net)
    if path.name == FILE_NAME:
        return coded(lambda: read_vectors(path, [Tensor("y", (1, 4))]))
    if path.suffix == ".npy":
        return coded(lambda: read(str(path), "int8" if path.stem == "i" else "float32"))
    network = read_netfile(net).network
    return coded(lambda: read_samples(path, network))


def _read_manifest(path: Path) -> int:
    """Loads the artifact and compares its checksums; nothing of it is run."""
    from dscompile.artifact import is_artifact, load_artifact
    from dscompile.run.arrays import fresh_state

    def load() -> None:
        is_artifact(path.parent)
        artifact = load_artifact(path.parent)
        for file in (artifact.header, artifact.driver, artifact.static_library, artifact.selftest, *artifact.sources):
            assert file.parent == path.parent, f"the manifest names {file}, outside its directory"
        fresh_state(artifact.manifest.slots)
        artifact.verify_files()

    return coded(load)


def _read_tuning(path: Path) -> int:
    """Reads it as a build does."""
    from dscompile.plan.tuning_file import read_tuning, require_fits
    from tests.tuning_files import AVX2, WORKLOADS

    def read() -> None:
        file = read_tuning(path)
        require_fits(file, AVX2, path)
        tuning = file.tuning()
        for workload in WORKLOADS:
            tuning.choose(workload, AVX2)

    return coded(read)


def _read_journal(path: Path) -> int:
    """Opens it, adds to it, and opens it again: what was opened once can be opened twice."""
    from dscompile.plan.spaces import space
    from dscompile.plan.workloads import ConvWorkload
    from dscompile.target import find_target
    from dscompile.tuner.journal import Journal

    target = find_target("x86-avx512")
    workload = ConvWorkload(1, 196, 16, 256)

    def add() -> None:
        with Journal(path.parent, target) as journal:
            for known in journal.workloads:
                journal.known(known), journal.failures(known)
            journal.add(workload, next(iter(space(workload, target))), (1e-4,))

    code = coded(add)
    if code == 0 and coded(lambda: Journal(path.parent, target).close()):
        raise AssertionError("a journal that was opened cannot be opened again")
    return code


@functools.cache
def _yaml_damages(samples: Callable[[], Sequence[Sample]]) -> tuple[Damage, ...]:
    good = [sample.data for sample in samples()]
    tree = yaml_changes(words_of(json.loads(as_json(data)) for data in good), good)
    return (tree, tree, tree, damaged_text, damaged_text, damaged_bytes, truncated)


@functools.cache
def _json_damages(samples: Callable[[], Sequence[Sample]]) -> tuple[Damage, ...]:
    words = words_of(json.loads(sample.data) for sample in samples())
    tree = json_changes(words)
    return (tree, tree, tree, damaged_text, damaged_bytes, truncated)


@functools.cache
def _line_damages() -> tuple[Damage, ...]:
    lines = [json.loads(line) for sample in seeds.journals() for line in sample.data.splitlines()]
    tree = json_changes(words_of(lines), lines=True)
    return (tree, tree, tree, damaged_text, damaged_bytes, truncated)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("netyaml", seeds.netfiles, lambda: _yaml_damages(seeds.netfiles), _read_net),
        Kind("target", seeds.target_files, lambda: _yaml_damages(seeds.target_files), _read_target),
        Kind("board", seeds.board_files, lambda: _yaml_damages(seeds.board_files), _read_target),
        Kind(
            "onnx",
            seeds.onnx_models,
            lambda: (*[messages.damaged_message] * 5, messages.lengthened_fields, damaged_bytes, truncated),
            _read_model,
        ),
        Kind(
            "tflite",
            seeds.tflite_models,
            lambda: (
                messages.damaged_flatbuffer,
                messages.damaged_words,
                messages.damaged_words,
                damaged_bytes,
                truncated,
            ),
            _read_model,
        ),
        Kind(
            "npz",
            seeds.npz_files,
            lambda: (
                archives.damaged_archive,
                archives.damaged_archive,
                archives.damaged_npy,
                damaged_bytes,
                truncated,
            ),
            _read_arrays,
        ),
        Kind("bomb", seeds.npz_files, lambda: (archives.bomb,), _read_arrays),
        Kind(
            "safetensors",
            seeds.safetensors_files,
            lambda: (archives.damaged_safetensors, archives.damaged_safetensors, damaged_bytes, truncated),
            _read_arrays,
        ),
        Kind("manifest", seeds.manifests, lambda: _json_damages(seeds.manifests), _read_manifest),
        Kind("tuning", seeds.tuning_records, lambda: _json_damages(seeds.tuning_records), _read_tuning),
        Kind("journal", seeds.journals, _line_damages, _read_journal),
    )
}
