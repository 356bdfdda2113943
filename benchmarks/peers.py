"""Compiled networks beside onnxruntime, OpenVINO and LiteRT, in one interleaved run. How to read it: README.md.

python benchmarks/peers.py --networks mobilenetv1_100 mobilenetv2_100 --threads 1 --rounds 20 --json result.json
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.contenders import CONTENDERS, model_bytes  # noqa: E402
from benchmarks.worker import ContenderError, Worker  # noqa: E402
from dscompile import oracle  # noqa: E402
from dscompile.errors import DscompileError  # noqa: E402
from dscompile.ir.network import Network  # noqa: E402

TOLERANCE = 1e-4  # of the largest output
SEEDS = (0, 1, 2)
TURN_US = 50_000.0  # how long a contender runs before the next has its turn
_COLUMNS = (
    "",
    "median ms",
    "min ms",
    "CPU ms",
    "ratio",
    "CPU ratio",
    "of peak",
    "max error",
    "load ms",
    "peak RSS MB",
    "model MB",
    "runtime MB",
)
PEAK_TARGETS = ("x86-avx2", "x86-avx512")


@dataclass
class Row:
    """One contender on one network.

    `ratio` is its latency over dscompile's, the median over all rounds of the medians in a round; `cpu_ratio` is the
    same of CPU time, which other load on the machine disturbs less. `max_error` is relative to the largest output of
    the reference, the worst of several inputs. `runtime_bytes` is the installed package that must come along.
    """

    contender: str
    unavailable: str | None = None
    version: str = ""
    median_us: float | None = None
    p95_us: float | None = None
    min_us: float | None = None
    repeats: int = 0
    cpu_us: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    peak_fraction: float | None = None
    max_error: float | None = None
    import_s: float | None = None
    load_s: float | None = None
    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    model_bytes: int | None = None
    runtime_bytes: int | None = None
    rounds_us: list[float] = field(default_factory=list)
    rounds_cpu_us: list[float] = field(default_factory=list)


@dataclass
class Table:
    """All contenders on one network; `reference` is whose outputs the others' were compared with."""

    network: str
    macs: int
    threads: int
    reference: str
    peak_gflops: dict[str, float]
    rows: list[Row]

    @property
    def all_agree(self) -> bool:
        """Whether every contender that ran gave the reference's outputs."""
        return all(row.max_error <= TOLERANCE for row in self.rows if row.max_error is not None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if outputs differ or a contender cannot take part, 2 to 5 as in dscompile."""
    options = _parse(arguments)
    cores = sorted(os.sched_getaffinity(0))[-options.threads :]
    if len(cores) < options.threads:
        print(f"error: {options.threads} threads on {len(cores)} cores measure nothing useful", file=sys.stderr)
        return 2
    tables = []
    for model in [find_model(name) for name in options.networks]:
        try:
            tables.append(_measure(model, options, cores))
        except DscompileError as error:
            print(error, file=sys.stderr)
            return int(error.code)
        except ContenderError as error:
            print(f"error: {model.stem}: {error}", file=sys.stderr)
            return 5
        print(_markdown(tables[-1]), flush=True)
    if options.json:
        content = {"schema": 1, "machine": _machine(cores), "results": [asdict(table) for table in tables]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    missing = [row for table in tables for row in table.rows if row.unavailable]
    return 0 if all(table.all_agree for table in tables) and not missing else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers.py", description="Compiled networks beside other runtimes.")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["mobilenetv1_100", "mobilenetv2_100"],
        metavar="NAME",
        help="names in $DSCOMPILE_MODELS/onnx, or paths of .onnx files",
    )
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
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


def find_model(name: str) -> Path:
    """The file of a model: `name` itself if it is one, else the model of that name among those for tests."""
    if name.endswith(".onnx"):
        return Path(name)
    folder = Path(os.environ.get("DSCOMPILE_MODELS") or ROOT.parent / "shared" / "models")
    return folder / "onnx" / f"{name}.onnx"


def _measure(model: Path, options: argparse.Namespace, cores: Sequence[int]) -> Table:
    from dscompile.frontend.load import load_network
    from dscompile.ir.cost import layer_macs
    from dscompile.passes import canonicalize
    from dscompile.report.vectors import seeded_inputs

    network = canonicalize(load_network(model).network)
    macs = sum(layer_macs(network, layer) for layer in network.layers)
    tensors = [network.tensor(name) for name in network.inputs]
    inputs = [list(seeded_inputs(tensors, seed).values()) for seed in SEEDS]
    rows = [Row(name) for name in options.contenders]
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for row in rows:
            try:
                file = _prepare(row.contender, model, network, options)
                workers[row.contender] = stack.enter_context(Worker(row.contender, file, options.threads, cores))
                row.model_bytes = model_bytes(row.contender, file)
            except (ContenderError, DscompileError, ImportError) as error:
                row.unavailable = str(error).splitlines()[0]
        running = [row for row in rows if row.contender in workers]
        reference = _compare(running, workers, inputs, network)
        peaks = _time(running, workers, options, stack, cores)
        for row in running:
            _describe(row, workers[row.contender])
    _relate(rows, macs, options.threads, max(peaks.values(), default=0.0))
    return Table(network.name, macs, options.threads, reference, peaks, rows)


def _prepare(name: str, model: Path, network: Network, options: argparse.Namespace) -> Path:
    """What a contender loads: the model itself, its TFLite twin, or the artifact built from it."""
    options.output.mkdir(parents=True, exist_ok=True)
    if name == "litert":
        from benchmarks.tflite_twin import write_twin

        twin = options.output / f"{model.stem}.tflite"
        write_twin(network, twin)
        return twin
    if name != "dscompile":
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
    """Fills in `max_error` against onnxruntime, or else against the first other one; returns its name."""
    others = [row.contender for row in rows if row.contender != "dscompile"]
    reference = "onnxruntime" if "onnxruntime" in others else next(iter(others), "")
    for inputs in samples:
        outputs = {row.contender: _outputs(workers[row.contender], inputs, network) for row in rows}
        if not reference:
            continue
        for row in rows:
            for got, want in zip(outputs[row.contender], outputs[reference], strict=True):
                error = float(np.abs(got - want).max() / np.abs(want).max())
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
    own = next((row for row in rows if row.contender == "dscompile" and row.rounds_us), None)
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


def _markdown(table: Table) -> str:
    peaks = ", ".join(f"{name} {gflops:.1f}" for name, gflops in table.peak_gflops.items())
    threads = "1 thread" if table.threads == 1 else f"{table.threads} threads"
    lines = [
        f"## {table.network}: {table.macs / 1e6:.0f} MMAC, {threads}; FMA peak of a core, GFLOP/s: {peaks}",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|---" + "|---:" * (len(_COLUMNS) - 1) + "|",
    ]
    for row in table.rows:
        if row.unavailable is not None:
            lines.append(f"| {row.contender} | not measured: {row.unavailable} |" + " |" * (len(_COLUMNS) - 2))
            continue
        cells = (
            f"{row.contender} {row.version}",
            _shown(row.median_us, 1e-3, ".2f"),
            _shown(row.min_us, 1e-3, ".2f"),
            _shown(row.cpu_us, 1e-3, ".2f"),
            _shown(row.ratio, 1, ".3f"),
            _shown(row.cpu_ratio, 1, ".3f"),
            _shown(row.peak_fraction, 100, ".1f") + " %",
            _shown(row.max_error, 1, ".1e"),
            _shown(row.load_s, 1e3, ".0f"),
            _shown(row.peak_rss_bytes, 1e-6, ".0f"),
            _shown(row.model_bytes, 1e-6, ".1f"),
            _shown(row.runtime_bytes, 1e-6, ".1f"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    if not table.all_agree:
        lines.append(f"\n**Outputs differ** from {table.reference}'s by more than {TOLERANCE:g} of the largest one.")
    return "\n".join(lines) + "\n"


def _shown(value: float | None, scale: float, form: str) -> str:
    return "-" if value is None else format(value * scale, form)


if __name__ == "__main__":
    sys.exit(main())
