"""Compiled networks beside onnxruntime, OpenVINO, LiteRT and ncnn, in one interleaved run. How to read it: README.md.

python benchmarks/peers.py --networks mobilenetv1_100 mobilenetv2_100 --threads 1 --rounds 20 --json result.json
python benchmarks/peers.py --precision int8 --check
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.contenders import CONTENDERS, CONTENDERS_OF, EXACT, arena_bytes, model_bytes  # noqa: E402
from benchmarks.floors import shortfalls  # noqa: E402
from benchmarks.models import NETWORKS, find_model, quantized_model  # noqa: E402
from benchmarks.ncnn_model import ncnn_model  # noqa: E402
from benchmarks.tables import OWN, Precision, Row, Table, markdown, summary  # noqa: E402
from benchmarks.worker import ContenderError, Worker  # noqa: E402
from dscompile import oracle  # noqa: E402
from dscompile.errors import DscompileError  # noqa: E402
from dscompile.ir.network import Network  # noqa: E402

SEEDS = (0, 1, 2)
TURN_US = 50_000.0  # how long a contender runs before the next has its turn
PEAK_TARGETS = ("x86-avx2", "x86-avx512")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if outputs differ or a contender cannot take part, 2 to 5 as in dscompile."""
    options = _parse(arguments)
    cores = sorted(os.sched_getaffinity(0))[-options.threads :]
    if len(cores) < options.threads:
        print(f"error: {options.threads} threads on {len(cores)} cores measure nothing useful", file=sys.stderr)
        return 2
    tables = []
    for name in options.networks:
        model = find_model(name, options.output)
        try:
            tables.append(_measure(model, options, cores))
        except DscompileError as error:
            print(error, file=sys.stderr)
            return int(error.code)
        except ContenderError as error:
            print(f"error: {model.stem}: {error}", file=sys.stderr)
            return 5
        print(markdown(tables[-1]), flush=True)
    print(summary(tables))
    if options.json:
        content = {"schema": 1, "machine": _machine(cores), "results": [asdict(table) for table in tables]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    below = [line for table in tables for line in shortfalls(table)] if options.check else []
    for line in below:
        print(f"error: {line}", file=sys.stderr)
    missing = [row for table in tables for row in table.rows if row.unavailable]
    return 0 if all(table.all_agree for table in tables) and not missing and not below else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers.py", description="Compiled networks beside other runtimes.")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=list(NETWORKS),
        metavar="NAME",
        help="names in $DSCOMPILE_MODELS/onnx or of the zoo, or paths of .onnx files (default: those of the README)",
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="int8: quantized by onnxruntime first"
    )
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument(
        "--check", action="store_true", help="exit code 1 if a ratio, a time or a size misses benchmarks/floors.py"
    )
    parser.add_argument("--threads", type=_positive, default=1, metavar="N")
    parser.add_argument("--rounds", type=_positive, default=20, metavar="N", help="turns of each contender")
    parser.add_argument("--target", default="host", help="what dscompile builds for (default: host)")
    parser.add_argument("--reuse", action="store_true", help="take the artifacts of an earlier run")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _measure(model: Path, options: argparse.Namespace, cores: Sequence[int]) -> Table:
    from dscompile.frontend.load import load_network
    from dscompile.ir.cost import layer_macs
    from dscompile.passes import canonicalize
    from dscompile.report.vectors import seeded_inputs

    load_network(model)  # what cannot be read is said before anything is made of it
    if options.precision == "int8":
        model = quantized_model(model, options.output)
    network = canonicalize(load_network(model).network)
    macs = sum(layer_macs(network, layer) for layer in network.layers)
    tensors = [network.tensor(name) for name in network.inputs]
    inputs = [list(seeded_inputs(tensors, seed).values()) for seed in SEEDS]
    rows = [Row(name) for name in options.contenders]
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for row in rows:
            try:
                if row.contender not in CONTENDERS_OF[options.precision]:
                    raise ContenderError(f"does not run {options.precision} models of ONNX")
                started = time.perf_counter()
                file = _prepare(row.contender, model, network, options)
                if row.contender == OWN:
                    row.build_s = time.perf_counter() - started
                    row.arena_bytes = arena_bytes(file)
                workers[row.contender] = stack.enter_context(Worker(row.contender, file, options.threads, cores))
                row.model_bytes = model_bytes(row.contender, file)
            except (ContenderError, DscompileError, ImportError) as error:
                row.unavailable = str(error).splitlines()[0]
        running = [row for row in rows if row.contender in workers]
        if options.precision == "int8":
            workers[EXACT] = stack.enter_context(Worker(EXACT, model, 1, cores))
        reference = _compare(running, workers, inputs, network)
        peaks = _time(running, workers, options, stack, cores)
        for row in running:
            _describe(row, workers[row.contender])
    _relate(rows, macs, options.threads, max(peaks.values(), default=0.0))
    return Table(network.name, options.precision, macs, options.threads, reference, peaks, rows)


def _prepare(name: str, model: Path, network: Network, options: argparse.Namespace) -> Path:
    """What a contender loads: the model itself, its TFLite twin, or the artifact built from it."""
    options.output.mkdir(parents=True, exist_ok=True)
    if name == "litert":
        from benchmarks.tflite_twin import write_twin

        twin = options.output / f"{model.stem}.tflite"
        write_twin(network, twin)
        return twin
    if name == "ncnn":
        return ncnn_model(model, options.output)
    if name != OWN:
        return model
    directory = options.output / f"{model.stem}-{options.target}"
    if not (options.reuse and directory.is_dir()):
        # In a process of its own, so that the compiler's memory is not counted anywhere.
        context = multiprocessing.get_context("spawn")
        messages = context.SimpleQueue()
        process = context.Process(target=_build, args=(model, options.target, directory, messages))
        process.start()
        process.join()
        if process.exitcode:
            raise ContenderError("build: " + (messages.get() if not messages.empty() else f"code {process.exitcode}"))
    return directory


def _build(model: Path, target: str, directory: Path, messages: multiprocessing.SimpleQueue) -> None:
    try:
        from dscompile.api import build

        build(model, target, directory)
    except (DscompileError, ImportError) as error:
        messages.put(str(error).splitlines()[0])
        sys.exit(1)


def _compare(
    rows: Sequence[Row], workers: dict[str, Worker], samples: Sequence[Sequence[np.ndarray]], network: Network
) -> str:
    """Fills in `max_error` against onnxruntime, or else against the first other one; returns its name.

    Of int8 against onnxruntime with exact sums, which is none of those that are timed.
    """
    others = [row.contender for row in rows if row.contender != OWN]
    reference = "onnxruntime" if "onnxruntime" in others else next(iter(others), "")
    if EXACT in workers:
        reference = EXACT
    for inputs in samples:
        names = {reference, *(row.contender for row in rows)} - {""}
        outputs = {name: _outputs(workers[name], inputs, network) for name in sorted(names)}
        if not reference:
            continue
        for row in rows:
            for got, want in zip(outputs[row.contender], outputs[reference], strict=True):
                error = float(np.abs(got.reshape(want.shape) - want).max() / np.abs(want).max())
                row.max_error = max(row.max_error or 0.0, error if np.isfinite(error) else float("inf"))
    return reference


def _outputs(worker: Worker, inputs: Sequence[np.ndarray], network: Network) -> list[np.ndarray]:
    """Outputs in border layout; the twin that LiteRT runs is channels last inside and out."""
    if worker.name != "litert":
        return worker.run(inputs)
    ins, outs = ([network.tensor(name) for name in names] for names in (network.inputs, network.outputs))
    results = worker.run([oracle.from_border(tensor, array) for tensor, array in zip(ins, inputs, strict=True)])
    return [oracle.to_border(tensor, array) for tensor, array in zip(outs, results, strict=True)]


def _time(
    rows: Sequence[Row],
    workers: dict[str, Worker],
    options: argparse.Namespace,
    stack: contextlib.ExitStack,
    cores: Sequence[int],
) -> dict[str, float]:
    """Rounds in which every contender has its turn, and the FMA peak of a core is probed."""
    turn = {row.contender: max(3, round(TURN_US / min(workers[row.contender].time_us(5).latencies_us))) for row in rows}
    samples: dict[str, list[float]] = {row.contender: [] for row in rows}
    probes = _probes(stack, cores)
    for _ in range(options.rounds):
        for probe in probes.values():
            probe.sample()
        for row in rows:
            measured = workers[row.contender].time_us(turn[row.contender])
            samples[row.contender] += measured.latencies_us
            row.rounds_us.append(statistics.median(measured.latencies_us))
            row.rounds_cpu_us.append(measured.cpu_us)
    for row in rows:
        ordered = sorted(samples[row.contender])
        row.median_us = statistics.median(ordered)
        row.p95_us = ordered[int(0.95 * (len(ordered) - 1))]
        row.min_us, row.repeats = ordered[0], len(ordered)
        row.cpu_us = statistics.median(row.rounds_cpu_us)
    return {name: probe.gflops for name, probe in probes.items()}


def _probes(stack: contextlib.ExitStack, cores: Sequence[int]):
    """FMA probes by name of the target, for those that this machine runs; this process moves to the first core."""
    from dscompile.report.peak import PeakProbe
    from dscompile.target import find_target, runs_here

    before = os.sched_getaffinity(0)
    stack.callback(os.sched_setaffinity, 0, before)
    os.sched_setaffinity(0, {cores[0]})
    return {name: PeakProbe(target) for name in PEAK_TARGETS if runs_here(target := find_target(name))}


def _describe(row: Row, worker: Worker) -> None:
    loaded = worker.loaded
    row.version, row.import_s, row.load_s = loaded.version, loaded.import_s, loaded.load_s
    row.peak_rss_bytes = worker.peak_bytes()
    row.model_rss_bytes = row.peak_rss_bytes - loaded.before_bytes
    row.runtime_bytes = CONTENDERS[row.contender].package_bytes()


def _relate(rows: Sequence[Row], macs: int, threads: int, peak_gflops: float) -> None:
    """Ratios round by round, so that a slow minute of the machine meets both sides of each."""
    own = next((row for row in rows if row.contender == OWN and row.rounds_us), None)
    for row in rows:
        if row.median_us is None:
            continue
        if own is not None:
            row.ratio = _median_ratio(row.rounds_us, own.rounds_us)
            row.cpu_ratio = _median_ratio(row.rounds_cpu_us, own.rounds_cpu_us)
        if peak_gflops:
            row.peak_fraction = 2 * macs / (row.median_us * 1e3 * peak_gflops * threads)


def _median_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _machine(cores: Sequence[int]) -> dict[str, object]:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return {"cpu": model, "cores": list(cores), "system": platform.platform(), "python": platform.python_version()}


if __name__ == "__main__":
    sys.exit(main())
