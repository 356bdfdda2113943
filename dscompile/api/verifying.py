"""Artifacts beside the oracle, and beside the runtime of the model they came from: are they right?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.models import Model, Stream, load
from dscompile.api.networks import Source, read_network, source_name
from dscompile.api.reference import OracleStream
from dscompile.errors import UsageError
from dscompile.report.progress import Event, Progress, silent

if TYPE_CHECKING:
    from dscompile.artifact import Artifact
    from dscompile.report.comparison import Check, Verification
    from dscompile.report.traffic import KernelBytes
    from dscompile.report.vectors import Vectors
    from dscompile.run.opening import RunnableModel

_FRESH_INPUTS = 3
_FRESH_STEPS = 31  # of a network with state, which has to fill
_DYNAMIC_RANGE_TOLERANCE = 5e-2  # of what TFLite gives with activations of 8 bits, and we with float32 ones


def verify(
    directory: str | Path,
    against: Source | None = None,
    *,
    threads: int = 1,
    runner: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Verification:
    """Runs an artifact and compares its outputs with the NumPy oracle's.

    First whether its files are those that the build wrote, then the golden vectors that the oracle computed at build
    time, then its selftest.c, compiled and linked with its library. With `against`, the .onnx or .tflite file it came
    from, also onnxruntime or LiteRT and the oracle itself on inputs drawn from `seed`; all are fed the same bytes. Of a
    network in memory only the oracle. Of a library with variants, all that this machine (or an emulator here) runs are
    compared with the oracle. `threads` share each inference of the artifact. Artifacts for a GPU run on it, or on the
    CPU, where one inference is repeated with every access checked and counted. `runner` is another machine to run
    everything on, ssh://[user@]host[:port].

    Wrong outputs make `Verification.ok` False. Raises UsageError, BadInputError, ToolError, or CheckFailedError naming
    every file that was changed, is missing or was added.
    """
    from dscompile.artifact import open_artifact
    from dscompile.report.comparison import Verification
    from dscompile.report.vectors import FILE_NAME, read_vectors

    open_artifact(Path(directory)).verify_files()
    model = load(directory, runner, threads)
    artifact = model.artifact
    vectors = read_vectors(artifact.directory / FILE_NAME, artifact.manifest.outputs)
    try:
        runnable = model.runner
        checks = [_oracle_check("oracle", artifact, runnable, vectors, progress)]
        if runner is None:
            checks += _variant_checks(artifact, runnable, vectors, progress)
        counted = _counted_check(model, vectors, progress)
        checks += counted[0]
        if artifact.manifest.target.board is None:
            progress(Event(f"compiling and running {artifact.selftest.name}"))
            checks.append(_selftest(artifact, runnable))
        if against is not None:
            checks += _against(model, against, seed, progress)
        return Verification(
            str(artifact.directory),
            runnable.runner,
            tuple(checks),
            runnable.instructions,
            counted[1],
            artifact.manifest.precision,
        )
    finally:
        model.close()


def _oracle_check(
    name: str,
    artifact: Artifact,
    runnable: RunnableModel,
    vectors: Vectors,
    progress: Progress,
    count: int | None = None,
) -> Check:
    """The outputs of something that runs the artifact, beside those that the oracle computed at build time.

    With `count` only so many of the inputs.
    """
    from dscompile.report.comparison import compare
    from dscompile.report.vectors import seeded_inputs

    seeds, got, stream = vectors.seeds[:count], [], Stream(artifact.manifest, runnable)
    for index, vector_seed in enumerate(seeds):
        progress(Event(f"comparing with the {name}", index, len(seeds)))
        results = stream.run(seeded_inputs(artifact.manifest.inputs, vector_seed))
        got.append([results[output] for output in _output_names(artifact)])
    want = [[output[index] for output in vectors.outputs] for index in range(len(seeds))]
    names = _output_names(artifact)
    others = [{names[output]: rows[index] for output, rows in vectors.others.items()} for index in range(len(seeds))]
    return compare(name, names, got, want, artifact.manifest.tolerance, others)


def _counted_check(model: Model, vectors: Vectors, progress: Progress) -> tuple[list[Check], tuple[KernelBytes, ...]]:
    """One inference of a GPU artifact on the CPU with all accesses checked, and what they moved; else nothing."""
    artifact = model.artifact
    if artifact.manifest.target.gpu is None or not model.is_emulated:
        return [], ()
    from dscompile.api.gpus import checked_model, kernel_bytes

    checked = checked_model(artifact, progress)
    check = _oracle_check("oracle, accesses checked", artifact, checked, vectors, progress, 1)
    return [check], kernel_bytes(checked)


def _variant_checks(
    artifact: Artifact, runnable: RunnableModel, vectors: Vectors, progress: Progress
) -> Iterator[Check]:
    """The variants of a library that were not chosen here, each beside the oracle."""
    from dscompile.run.opening import other_variants

    for name, other in other_variants(artifact, getattr(runnable, "variant", None)):
        yield _oracle_check(f"oracle, {name}", artifact, other, vectors, progress)


def _against(model: Model, source: Source, seed: int, progress: Progress) -> list[Check]:
    """The artifact beside the runtime of its source model if that is a file, and beside the oracle, on fresh inputs."""
    from dscompile.report.comparison import compare
    from dscompile.report.peers import open_peer, reference_for
    from dscompile.report.vectors import ZEROS, seeded_inputs

    artifact = model.artifact
    rounding = artifact.manifest.rounding
    if isinstance(source, str | Path):
        path = Path(source)
        peer = open_peer(reference_for(path, rounding), path)
        net = read_network(path, None, rounding=rounding, input_shapes=_open_shapes(path, artifact))
    else:
        peer, net = None, read_network(source, None)
    network = net.network
    wanted = [(tensor.border_shape, tensor.dtype) for tensor in artifact.manifest.inputs]
    if [(t.border_shape, t.dtype) for t in map(network.tensor, network.user_inputs)] != wanted:
        raise UsageError(
            f"'{source_name(source)}' takes other inputs than the artifact", help="name the model it was built from"
        )
    count = _FRESH_STEPS if network.states else _FRESH_INPUTS
    seeds = (*range(seed + 1000, seed + 1000 + count), ZEROS)
    got, from_peer, from_oracle, others = [], [], [], []
    stream, oracle = model.stream(), OracleStream(network)
    for index, fresh in enumerate(seeds):
        progress(Event(f"comparing with {peer.name if peer is not None else 'the oracle'}", index, len(seeds)))
        inputs = seeded_inputs(artifact.manifest.inputs, fresh)
        got.append([stream.run(inputs)[name] for name in _output_names(artifact)])
        if peer is not None:
            from_peer.append(peer.run(list(inputs.values())))
        feeds = dict(zip(network.user_inputs, inputs.values(), strict=True))
        from_oracle.append(list(oracle.step(feeds).values()))
        own = zip(_output_names(artifact), network.user_outputs, strict=True)
        others.append({mine: oracle.runners_up[its] for mine, its in own if its in oracle.runners_up})
    names, tolerance = _output_names(artifact), artifact.manifest.tolerance
    checks = [compare("oracle, other inputs", names, got, from_oracle, tolerance, others)]
    if peer is not None:
        peer_tolerance = _DYNAMIC_RANGE_TOLERANCE if net.dynamic_range else tolerance
        checks.insert(0, compare(f"{peer.name} {peer.version}".strip(), names, got, from_peer, peer_tolerance, others))
    return checks


def _open_shapes(source: Path, artifact: Artifact) -> dict[str, tuple[int, ...]] | None:
    """The shapes that the artifact was built for, for a file that may leave sizes open."""
    if source.suffix.lower() != ".onnx":
        return None
    return {tensor.name: tensor.border_shape for tensor in artifact.manifest.inputs}


def _selftest(artifact: Artifact, runnable: RunnableModel) -> Check:
    """selftest.c as its user would run it: compiled, linked with the library, and asked for its verdict."""
    from dscompile.report.comparison import Check
    from dscompile.run.program import ProgramModel
    from dscompile.run.selftest import run_selftest, run_selftest_with

    if artifact.manifest.target.gpu is not None:
        from dscompile.run.cuda_models import CpuModel, DeviceModel, run_selftest_on

        assert isinstance(runnable, CpuModel | DeviceModel)
        outcome = run_selftest_on(runnable)
    elif isinstance(runnable, ProgramModel):
        outcome = run_selftest_with(runnable.launcher, artifact)
    else:
        outcome = run_selftest(artifact)
    return Check(artifact.selftest.name, 1, 0, 0 if outcome.passed else 1, 0.0, 0.0, outcome.passed, outcome.message)


def _output_names(artifact: Artifact) -> list[str]:
    return [tensor.name for tensor in artifact.manifest.outputs]
