"""Artifacts beside the oracle and beside other runtimes: are they right, and are they fast?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.models import Model, Stream, load
from dscompile.api.networks import Source, read_network, source_name
from dscompile.api.reference import OracleStream
from dscompile.errors import UsageError
from dscompile.report.progress import Event, Progress, silent
from dscompile.target import Target, resolve_target, runs_here

if TYPE_CHECKING:
    from dscompile.artifact import Artifact
    from dscompile.ir.network import Array
    from dscompile.report.comparison import Check, Verification
    from dscompile.report.peers import Peer
    from dscompile.report.timing import (
        BenchResult,
        CountResult,
        Sampler,
        StepInstructions,
        StepTiming,
        Timing,
        TrafficResult,
    )
    from dscompile.report.traffic import KernelBytes
    from dscompile.report.vectors import Vectors
    from dscompile.run.firmware import FirmwareModel
    from dscompile.run.opening import RunnableModel

    Measured = BenchResult | CountResult | TrafficResult

_FRESH_INPUTS = 3
_FRESH_STEPS = 31  # of a network with state, which has to fill
_PROFILED_RUNS = 50
_DYNAMIC_RANGE_TOLERANCE = 5e-2  # of what TFLite gives with activations of 8 bits, and we with float32 ones
_REMOTE_TURN_US = 250_000.0  # a turn on another machine costs a connection, half a second


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


def bench(
    directories: str | Path | Sequence[str | Path],
    *,
    against: Sequence[str] = (),
    model: str | Path | None = None,
    threads: int = 1,
    repeats: int | None = None,
    layers: bool = False,
    runner: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Measured, ...]:
    """Measures artifacts, all in one interleaved run with the FMA peak of the core and with `against`.

    `against` names runtimes (onnxruntime, openvino, litert), which run the file `model`, or directories of other
    artifacts. `threads` share an inference, of artifacts and runtimes alike; not in an emulator, on another machine or
    on a GPU. `repeats` is the number of measured runs of each (default: about a second's worth). `layers` adds the time
    of every step on one thread, measured alone afterwards. Artifacts for microcontrollers, and those for other machines
    that an emulator runs here, run in it, which counts instructions and times nothing; those for GPUs, without one, run
    on the CPU, which counts what their kernels move. `runner` is another machine to measure artifacts on,
    ssh://[user@]host[:port]; runtimes run here only. Raises UsageError, BadInputError, ToolError, or CheckFailedError
    naming every file of an artifact that was changed or is missing: what is measured must be what was built.
    """
    from dscompile.artifact import require_unchanged

    if repeats is not None and repeats < 1:
        raise UsageError(f"{repeats} repeats measure nothing")
    paths = [directories] if isinstance(directories, str | Path) else list(directories)
    if not paths:
        raise UsageError("no artifact is given")
    require_unchanged(map(Path, [*paths, *(name for name in against if Path(name).is_dir())]))
    models = {str(path): load(path, runner, threads) for path in paths}
    try:
        return _bench(models, against, model, threads, repeats, layers, runner, seed, progress)
    finally:
        for one in models.values():
            one.close()


def _bench(
    models: Mapping[str, Model],
    against: Sequence[str],
    model: str | Path | None,
    threads: int,
    repeats: int | None,
    layers: bool,
    runner: str | None,
    seed: int,
    progress: Progress,
) -> tuple[Measured, ...]:
    """`bench` of opened artifacts: each counted in an emulator, or timed here or on `runner`."""
    emulated = {path: one for path, one in models.items() if one.is_emulated}
    timed = {path: one for path, one in models.items() if not one.is_emulated}
    if emulated and against:
        raise UsageError(
            f"'{next(iter(emulated))}' runs in an emulator, where instructions are counted and nothing is timed",
            help="leave out --against",
        )
    results: dict[str, Measured] = {path: _count(path, one, layers, seed, progress) for path, one in emulated.items()}
    if timed:
        measured = (
            _timed(timed, against, model, threads, repeats, seed, progress)
            if runner is None and not any(map(_is_for_gpu, timed.values()))
            else _timed_elsewhere(timed, against, runner, repeats, seed, progress)
        )
        for path, result in measured.items():
            results[path] = result
            if layers:
                progress(Event(f"measuring the layers of {path}"))
                results[path] = replace(result, steps=_step_timings(timed[path], repeats, seed))
    return tuple(results[path] for path in models)


def _count(path: str, model: Model, layers: bool, seed: int, progress: Progress) -> CountResult | TrafficResult:
    """One inference in an emulator, or on the CPU in place of a GPU."""
    from dscompile.report.timing import CountResult, StepInstructions
    from dscompile.report.vectors import seeded_inputs
    from dscompile.run.emulated import EmulatedModel
    from dscompile.run.firmware import FirmwareModel

    manifest = model.artifact.manifest
    if manifest.target.gpu is not None:
        from dscompile.api.gpus import count_traffic

        return count_traffic(path, model, seeded_inputs(manifest.inputs, seed), progress)
    progress(Event(f"counting instructions of {path}"))
    runner = model.runner
    inputs = seeded_inputs(manifest.inputs, seed)
    if isinstance(runner, EmulatedModel):
        count = runner.count(inputs)
        steps = tuple(StepInstructions(row.name, row.kind, row.macs, row.instructions) for row in count.layers)
        instructions, stack_bytes = count.instructions, None
    else:
        runner.run(inputs)
        instructions, stack_bytes = runner.instructions or 0, runner.stack_bytes
        steps = _step_counts(runner, inputs) if layers and isinstance(runner, FirmwareModel) else ()
    return CountResult(
        path,
        manifest.target.name,
        runner.runner,
        manifest.macs,
        instructions,
        stack_bytes,
        manifest.latency_budget_us,
        steps,
    )


def _step_counts(device: FirmwareModel, inputs: Mapping[str, Array]) -> tuple[StepInstructions, ...]:
    """The instructions of a microcontroller's steps, and their cycles where there is a model of the core."""
    from dscompile.report.timing import StepInstructions

    return tuple(
        StepInstructions(
            layer.name,
            layer.kind,
            layer.macs,
            count.instructions,
            None if count.cycles is None else count.cycles.least,
            None if count.cycles is None else count.cycles.most,
        )
        for layer, count in zip(device.manifest.layers, device.count_steps(inputs), strict=True)
    )


def _is_for_gpu(model: Model) -> bool:
    return model.artifact.manifest.target.gpu is not None


def _timed_elsewhere(
    models: Mapping[str, Model],
    against: Sequence[str],
    runner: str | None,
    repeats: int | None,
    seed: int,
    progress: Progress,
) -> dict[str, BenchResult]:
    """Artifacts on another machine or (None) this one's GPU, one after the other, by its clock; `against` are other
    artifacts there.
    """
    from dscompile.report.timing import interleave
    from dscompile.report.vectors import seeded_inputs

    elsewhere = [name for name in against if not Path(name).is_dir()]
    if elsewhere:
        raise UsageError(
            f"{elsewhere[0]} would run on this machine, and the artifacts on {runner or 'its GPU'}",
            help="with --runner or a GPU, --against takes directories of artifacts",
        )
    rivals = {name: load(name, runner) for name in against if name not in models}
    everybody = {**models, **rivals}
    try:
        contenders = {
            name: _artifact_sampler(one, seeded_inputs(one.artifact.manifest.inputs, seed))
            for name, one in everybody.items()
        }

        def between_rounds(done: int, total: int) -> None:
            progress(Event(f"measuring on {runner or 'the GPU'}", done, total))

        timings = interleave(contenders, repeats, between_rounds, turn_us=_REMOTE_TURN_US)
        return {path: _result(path, one, timings, list(rivals), 1, None) for path, one in models.items()}
    finally:
        for one in rivals.values():
            one.close()


def _step_timings(model: Model, repeats: int | None, seed: int) -> tuple[StepTiming, ...]:
    from dscompile.report.timing import LayerPart, StepTiming
    from dscompile.report.vectors import seeded_inputs

    manifest = model.artifact.manifest
    times_us = model.timed.profile(seeded_inputs(manifest.inputs, seed), repeats or _PROFILED_RUNS)
    variant: str | None = getattr(model.timed, "variant", None)
    return tuple(
        StepTiming(
            step.name,
            step.kind,
            step.macs,
            time_us,
            tuple(map(LayerPart, step.layers, step.layer_macs)) if len(step.layers) > 1 else (),
        )
        for step, time_us in zip(manifest.layers_of(variant), times_us, strict=True)
    )


def _timed(
    models: Mapping[str, Model],
    against: Sequence[str],
    model: str | Path | None,
    threads: int,
    repeats: int | None,
    seed: int,
    progress: Progress,
) -> dict[str, BenchResult]:
    """Artifacts that run on this machine, in turns with their rivals."""
    from dscompile.report.peak import PeakProbe
    from dscompile.report.timing import interleave
    from dscompile.report.vectors import seeded_inputs

    rivals = {name: load(name, threads=threads) for name in against if Path(name).is_dir() and name not in models}
    peers = _open_peers([name for name in against if not Path(name).is_dir()], model, threads)
    contenders: dict[str, Sampler] = {}
    for name, contender in {**models, **rivals}.items():
        contenders[name] = _artifact_sampler(contender, seeded_inputs(contender.artifact.manifest.inputs, seed))
    first = next(iter(models.values())).artifact
    inputs = list(seeded_inputs(first.manifest.inputs, seed).values())
    for name, peer in peers.items():
        contenders[name] = _peer_sampler(peer, inputs)
    probe = PeakProbe(_peak_target(first))

    def between_rounds(done: int, total: int) -> None:
        probe.sample()
        progress(Event(f"measuring {', '.join(contenders)}", done, total))

    timings = interleave(contenders, repeats, between_rounds)
    beside = [*peers, *rivals]
    return {path: _result(path, one, timings, beside, threads, probe.gflops) for path, one in models.items()}


def _result(
    path: str,
    model: Model,
    timings: Mapping[str, Timing],
    peers: Sequence[str],
    threads: int,
    peak_gflops: float | None,
) -> BenchResult:
    """The record of one artifact, among all `timings`, beside `peers`."""
    from dscompile.report.timing import BenchResult, PeerTiming

    manifest, own = model.artifact.manifest, timings[path]
    return BenchResult(
        path=path,
        target=manifest.target.name,
        threads=threads,
        macs=manifest.macs,
        timing=own,
        peak_gflops=peak_gflops,
        peers={name: PeerTiming(timings[name], timings[name].median_us / own.median_us) for name in peers},
        latency_budget_us=manifest.latency_budget_us,
        runner=model.runner.runner,
    )


def _peak_target(artifact: Artifact) -> Target:
    """Whose vectors the FMA peak is measured with: those of the variant that this machine runs."""
    manifest = artifact.manifest
    concrete = [manifest.target, *(variant.target for variant in manifest.variants)]
    return next((target for target in concrete if target.registers and runs_here(target)), resolve_target("host"))


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


def _open_peers(names: Sequence[str], model: str | Path | None, threads: int) -> dict[str, Peer]:
    from dscompile.report.peers import PEERS, open_peer

    for name in names:
        if name not in PEERS:
            raise UsageError(f"'{name}' is neither a runtime nor an artifact", help=f"runtimes are {', '.join(PEERS)}")
        if model is None:
            raise UsageError(f"{name} needs a model to run", help="name its file: --model net.onnx or net.tflite")
    return {name: open_peer(name, Path(model), threads) for name in names if model is not None}


def _artifact_sampler(model: Model, inputs: Mapping[str, Array]) -> Sampler:
    from dscompile.report.timing import WARM_UP_RUNS

    timed = model.timed
    return lambda repeats: timed.latencies_us(inputs, repeats, WARM_UP_RUNS).tolist()


def _peer_sampler(peer: Peer, inputs: Sequence[Array]) -> Sampler:
    from dscompile.report.timing import WARM_UP_RUNS

    return lambda repeats: peer.latencies_us(inputs, repeats, WARM_UP_RUNS)
