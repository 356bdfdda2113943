"""Artifacts measured, alone and beside other runtimes: are they fast?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.models import Model, load
from dscompile.errors import UsageError
from dscompile.report.progress import Event, Progress, silent
from dscompile.target import Target, resolve_target, runs_here

if TYPE_CHECKING:
    from dscompile.artifact import Artifact
    from dscompile.ir.network import Array
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
    from dscompile.run.firmware import FirmwareModel

    Measured = BenchResult | CountResult | TrafficResult

_PROFILED_RUNS = 50
_REMOTE_TURN_US = 250_000.0  # a turn on another machine costs a connection, half a second


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
