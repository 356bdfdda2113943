"""Networks: checked, looked at, imported, written from nothing. Only estimating cycles imports tvm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dscompile.api.tunings import TuningFiles, read_tunings
from dscompile.errors import UsageError
from dscompile.report.progress import Progress, silent
from dscompile.target import build_target, representative

if TYPE_CHECKING:
    from dscompile.frontend.loaded import NetFile
    from dscompile.frontend.zoo import ZooEntry
    from dscompile.ir.network import Network
    from dscompile.ir.tensor import Rounding
    from dscompile.report.inspection import Inspection

Source: TypeAlias = "str | Path | Network"
"""What functions take as a network: the path of a net.yaml, .onnx or .tflite file, or a Network in memory."""


@dataclass(frozen=True)
class CheckResult:
    """A network that passed all checks. `notes` tell what the file asks for and a build would not do."""

    path: Path
    inspection: Inspection
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportResult:
    """An imported model: the network, and the net.yaml that now describes it (its weights lie beside it)."""

    network: Network
    path: Path


def check(source: Source, *, weights: str | Path | None = None) -> CheckResult:
    """Checks a network: schema, shapes, names and shapes of the weights, and budgets as far as no plan is needed.

    Of int8 networks also that no accumulator can overflow. Raises BadInputError with everything that is wrong, or
    BudgetError.
    """
    from dscompile.ir.intervals import check_accumulators
    from dscompile.report import budgets
    from dscompile.report.inspection import inspect_network

    net = read_network(source, weights, load_weights=False)
    check_accumulators(net.network)
    notes: list[str] = []
    if net.quantization is not None and not net.network.is_quantized:
        notes.append("the file asks for int8: 'dscompile quantize' makes that network, and a build refuses this one")
    for name, settings in net.budgets.items():
        notes.extend(budgets.setting_notes(name, settings))
        budgets.check_weights(net.network, name, settings)
    return CheckResult(net.path, inspect_network(net.network), tuple(notes))


def inspect(
    source: Source,
    target: str | None = None,
    *,
    weights: str | Path | None = None,
    tuning: TuningFiles = (),
    cycles: bool = False,
    progress: Progress = silent,
) -> Inspection:
    """What every layer is and costs; with a target also its share of the roofline, the planned arena, and tiles.

    `tuning` are files of tuning records, as `build` takes them. With `cycles` also what llvm-mca estimates for the
    inner loops, for which the kernels are compiled (report/cycles.py).
    Of a GPU also the modules of the plan, and what other choices would cost.
    Of a target with variants it shows the best that this machine runs, otherwise the best.
    """
    from dscompile.report.inspection import inspect_network

    net = read_network(source, weights, load_weights=False)
    if target is None:
        if cycles:
            raise UsageError("cycles are those of a target's core", help="name it with --target")
        if tuning:
            raise UsageError("tuning records are those of a target", help="name it with --target")
        return inspect_network(net.network)
    from dscompile.passes import canonicalize
    from dscompile.plan.planning import plan
    from dscompile.report.budgets import settings_for

    concrete = representative(build_target(target))
    if cycles and concrete.gpu is not None:
        raise UsageError(
            f"{concrete.name} is a GPU, and llvm-mca knows cores of CPUs",
            help="without --cycles, inspect shows the planner's estimates",
        )
    if cycles and concrete.kernels:
        raise UsageError(
            f"{concrete.name} gets C, and cycles are estimated of compiled kernels",
            help="'dscompile bench' counts the instructions of an artifact in an emulator",
        )
    tunings = read_tunings(tuning, [concrete])
    canonical = canonicalize(net.network)
    precision = settings_for(net.budgets, (target, concrete.name)).precision
    program = plan(canonical, concrete, precision, tunings.of(concrete))
    inspection = inspect_network(net.network, concrete, program)
    if concrete.gpu is not None:
        from dscompile.report.gpu_plan import explain_plan

        return replace(inspection, modules=explain_plan(canonical, concrete.gpu, precision))
    if not cycles:
        return inspection
    from dscompile.report.cycles import estimate_cycles

    return replace(inspection, loops=estimate_cycles(program, progress))


def import_model(
    model: str | Path, output: str | Path | None = None, *, rounding: Rounding | None = None
) -> ImportResult:
    """Turns an .onnx or .tflite model into a net.yaml and its weights.

    `output` is the net.yaml to write (default: <model>.yaml in the current directory); the weights lie beside it.
    `rounding` replaces the usual one of an int8 model.
    Raises UsageError, BadInputError, or UnsupportedError listing everything that is not supported.
    """
    from dscompile.frontend.writer import write_netfile

    path = Path(output) if output is not None else Path(Path(model).stem).with_suffix(".yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"'{path}' is not the name of a net.yaml", help="it must end in .yaml")
    if Path(model).suffix in (".yaml", ".yml"):
        raise UsageError(f"'{model}' is a net.yaml already")
    net = read_network(model, None, rounding=rounding)
    return ImportResult(net.network, write_netfile(net.network, path.parent, path.name))


def init(directory: str | Path = ".", *, seed: int = 0) -> tuple[Path, ...]:
    """Writes a starter net.yaml with random weights into `directory` -> the files written, net.yaml last.

    Raises UsageError naming files that are there already, ToolError if the disk refuses.
    """
    from dscompile.frontend.starter import write_starter

    return write_starter(Path(directory), seed=seed)


def zoo_list() -> tuple[ZooEntry, ...]:
    """The networks that come with dscompile."""
    from dscompile.frontend.zoo import list_zoo

    return list_zoo()


def zoo_show(name: str) -> str:
    """The net.yaml of a zoo network. Raises UsageError for an unknown name."""
    from dscompile.frontend.zoo import zoo_path

    return zoo_path(name).read_text(encoding="utf-8")


def zoo_write(name: str, directory: str | Path = ".") -> Path:
    """Copies a zoo network into `directory` and returns its net.yaml. Raises UsageError or ToolError."""
    from dscompile.frontend.zoo import write_zoo

    return write_zoo(name, Path(directory))


def read_network(
    source: Source,
    weights: str | Path | None,
    *,
    load_weights: bool = True,
    rounding: Rounding | None = None,
) -> NetFile:
    """The network in a net.yaml, .onnx or .tflite file (dscompile.frontend.load), or the one that is given itself."""
    values = None if weights is None else Path(weights)
    if isinstance(source, str | Path):
        from dscompile.frontend.load import load_network

        return load_network(Path(source), weights=values, load_weights=load_weights, rounding=rounding)
    from dscompile.frontend.loaded import NetFile

    if values is not None or rounding is not None:
        what = "its weights" if values is not None else "its rounding"
        raise UsageError(f"the network '{source.name}' in memory has {what} already", help="change the network itself")
    return NetFile(source.validate(), Path(source.name))


def source_name(source: Source) -> str:
    """How messages call a network: its path, or the name of one in memory."""
    return str(source) if isinstance(source, str | Path) else source.name


def destination_beside(source: Source, output: str | Path | None, suffix: str) -> Path:
    """The net.yaml to write: `output`, or <net>_<suffix>.yaml in the current directory.

    UsageError if it is no net.yaml, or would replace the network that is read or other weights.
    """
    path = Path(output) if output is not None else Path(f"{Path(source_name(source)).stem}_{suffix}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"'{path}' is not the name of a net.yaml", help="it must end in .yaml")
    if isinstance(source, str | Path) and path.resolve() == Path(source).resolve():
        raise UsageError(f"'{path}' is the network that is read", help="give another name with -o")
    weights = path.with_suffix(".npz")
    if weights.exists() and not path.exists():
        raise UsageError(
            f"'{weights}' exists, but '{path}' does not: it may be the weights of another network",
            help="give another name with -o; the weights are named after it",
        )
    return path
