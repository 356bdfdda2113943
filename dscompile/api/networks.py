"""Networks: checked, looked at, imported, written from nothing. Only estimating cycles imports tvm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dscompile.api.tunings import TuningFiles, read_tunings
from dscompile.errors import UnsupportedError, UsageError
from dscompile.report.progress import Progress, silent
from dscompile.target import Target, build_target, representative, target_names

if TYPE_CHECKING:
    from dscompile.frontend.input_shapes import InputShapes
    from dscompile.frontend.loaded import NetFile
    from dscompile.frontend.zoo import ZooEntry
    from dscompile.ir.memory import MemoryMode
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
    """An imported model: the network, and the net.yaml that now describes it (its weights lie beside it).

    `notes` tell where the network computes otherwise than the model's own runtime.
    """

    network: Network
    path: Path
    notes: tuple[str, ...] = ()


def check(source: Source, *, weights: str | Path | None = None, input_shapes: InputShapes | None = None) -> CheckResult:
    """Checks a network: schema, shapes, names and shapes of the weights, and budgets as far as no plan is needed.

    Of int8 networks also that no accumulator can overflow. `input_shapes` are those of build(). Raises
    BadInputError with everything that is wrong, or BudgetError.
    """
    from dscompile.ir.intervals import check_accumulators
    from dscompile.report import budgets
    from dscompile.report.inspection import inspect_network

    net = read_network(source, weights, load_weights=False, input_shapes=input_shapes)
    check_accumulators(net.network)
    notes = list(net.notes)
    if net.quantization is not None and not net.network.is_quantized:
        notes.append("the file asks for int8: 'dscompile quantize' makes that network, and a build refuses this one")
    for name, settings in net.budgets.items():
        is_own = name not in target_names()  # a file of the user's; a build says more
        has_threads = is_own or build_target(name).has_threads
        notes.extend(budgets.setting_notes(name, settings, has_threads=has_threads))
        budgets.check_weights(net.network, name, settings)
    return CheckResult(net.path, inspect_network(net.network), tuple(notes))


def inspect(
    source: Source,
    target: str | None = None,
    *,
    weights: str | Path | None = None,
    input_shapes: InputShapes | None = None,
    memory: MemoryMode | None = None,
    tuning: TuningFiles = (),
    cycles: bool = False,
    progress: Progress = silent,
) -> Inspection:
    """What every layer is and costs; with a target also its share of the roofline, the planned arena, and tiles.

    `memory` and `tuning` are as `build` takes them. With `cycles` also what llvm-mca estimates for the
    inner loops, for which the kernels are compiled (report/cycles.py).
    Of a GPU also the modules of the plan, and what other choices would cost.
    Of a target with variants it shows the best that this machine runs, otherwise the best.
    """
    from dscompile.report.inspection import inspect_network

    net = read_network(source, weights, load_weights=False, input_shapes=input_shapes)
    if target is None:
        if cycles:
            raise UsageError("cycles are those of a target's core", help="name it with --target")
        if memory is not None:
            raise UsageError("memory modes are those of a target", help="name it with --target")
        if tuning:
            raise UsageError("tuning records are those of a target", help="name it with --target")
        return inspect_network(net.network)
    from dscompile.passes import canonicalize
    from dscompile.plan.planning import plan
    from dscompile.report.budgets import placed, settings_for

    concrete = representative(build_target(target))
    if cycles and concrete.gpu is not None:
        raise UsageError(
            f"{concrete.name} is a GPU, and llvm-mca knows cores of CPUs",
            help="without --cycles, inspect shows the planner's estimates",
        )
    if cycles and concrete.kernels:
        raise UsageError(
            f"{concrete.name} gets C, and cycles are estimated of compiled kernels",
            help="'dscompile bench --layers' counts instructions in an emulator, and of a Cortex-M4 cycles",
        )
    check_memory(memory, [(target, concrete)])
    tunings = read_tunings(tuning, [concrete])
    if concrete.kernels and net.network.is_quantized:  # which channels are constant, and so the arena, is up to weights
        net = read_network(source, weights, input_shapes=input_shapes)
    canonical = canonicalize(net.network)
    settings = settings_for(net.budgets, (target, concrete.name))
    precision = settings.precision
    mode = memory or settings.memory or "fast"
    program = plan(
        canonical,
        placed(concrete, settings),
        precision,
        tunings.of(concrete),
        settings.threads,
        mode,
        settings.arena_bytes,
    )
    inspection = inspect_network(net.network, concrete, program)
    if concrete.gpu is not None:
        from dscompile.report.gpu_plan import explain_plan

        return replace(inspection, modules=explain_plan(canonical, concrete.gpu, precision))
    if not cycles:
        return inspection
    from dscompile.report.cycles import estimate_cycles

    return replace(inspection, loops=estimate_cycles(program, progress))


def check_memory(memory: MemoryMode | None, targets: Sequence[tuple[str, Target]]) -> None:
    """Raises UsageError if a memory mode is asked of targets that have none."""
    hosted = [name for name, target in targets if not target.kernels]
    if memory is not None and hosted:
        raise UsageError(
            f"--memory {memory}: {hosted[0]} has no memory modes",
            help="targets of standalone C have them, such as c99 and cortex-m4",
        )


def inspection_page(inspection: Inspection, path: str | Path) -> Path:
    """Writes an inspection as one page with charts, which needs neither network nor other files -> its path.

    A file that is there is replaced. UsageError if `path` names none, ToolError if the disk refuses.
    """
    from dscompile.frontend.paths import write_files
    from dscompile.report.page import page_text

    file = Path(path)
    if not file.name:
        raise UsageError(f"'{path}' is not the name of a page", help="write for example --html report.html")
    return write_files(file.parent, {file.name: page_text(inspection).encode()})[0]


def import_model(
    model: str | Path,
    output: str | Path | None = None,
    *,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
) -> ImportResult:
    """Turns an .onnx, .tflite, .pt2, .keras or .h5 model into a net.yaml and its weights.

    `output` is the net.yaml to write (default: <model>.yaml in the current directory); the weights lie beside it.
    `rounding` replaces the usual one of an int8 model; `input_shapes` are those of inputs whose sizes an .onnx file
    leaves open, {"x": (1, 3, 480, 640)}.
    Raises UsageError, BadInputError, or UnsupportedError listing everything that is not supported.
    """
    path = _netfile_name(output, Path(model).stem)
    if Path(model).suffix in (".yaml", ".yml"):
        raise UsageError(f"'{model}' is a net.yaml already")
    net = read_network(model, None, rounding=rounding, input_shapes=input_shapes)
    return _written(net, path)


def import_torch(
    module: Any,  # noqa: ANN401 - a torch.nn.Module, which has no type without torch
    example_inputs: Sequence[Any] = (),
    output: str | Path | None = None,
    *,
    name: str | None = None,
) -> ImportResult:
    """Turns a torch.nn.Module, or an exported program, into a net.yaml and its weights.

    `example_inputs` are tensors or arrays of the shapes that the network is to have; an exported program has them
    already. `name` is the network's (default: the module's class), `output` the net.yaml to write (default: <name>.yaml
    in the current directory). Raises UnsupportedError for what torch cannot export or is not supported, ToolError
    without torch.
    """
    from dscompile.frontend.exported import load_module

    called = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(module).__name__).lower()
    path = _netfile_name(output, called)
    return _written(load_module(module, example_inputs, called), path)


def _netfile_name(output: str | Path | None, stem: str) -> Path:
    path = Path(output) if output is not None else Path(stem).with_suffix(".yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"'{path}' is not the name of a net.yaml", help="it must end in .yaml")
    return path


def _written(net: NetFile, path: Path) -> ImportResult:
    from dscompile.frontend.writer import write_netfile

    return ImportResult(net.network, write_netfile(net.network, path.parent, path.name), net.notes)


def init(directory: str | Path = ".", *, seed: int = 0) -> tuple[Path, ...]:
    """Writes a starter net.yaml with random weights into `directory` -> the files written, net.yaml last.

    Raises UsageError naming files that are there already, ToolError if the disk refuses.
    """
    from dscompile.frontend.starter import write_starter

    return write_starter(Path(directory), seed=seed)


def zoo_names() -> tuple[str, ...]:
    """The names of the networks that come with dscompile, sorted."""
    from dscompile.frontend.zoo import zoo_names

    return zoo_names()


def zoo_list() -> tuple[ZooEntry, ...]:
    """The networks that come with dscompile."""
    from dscompile.frontend.zoo import list_zoo

    return list_zoo()


def zoo_show(name: str, *, width: float | None = None, resolution: str | None = None) -> str:
    """The net.yaml of a zoo network, scaled if a width (0.25) or a resolution ("128", "512x1024") is given.

    Raises UsageError for an unknown name, and for a width or resolution that the network does not take.
    """
    from dscompile.frontend.zoo import zoo_yaml
    from dscompile.frontend.zoo_scaling import parse_resolution

    return zoo_yaml(name, width, None if resolution is None else parse_resolution(resolution))


def zoo_write(
    name: str, directory: str | Path = ".", *, width: float | None = None, resolution: str | None = None
) -> Path:
    """Writes a zoo network into `directory` and returns its net.yaml. Raises as `zoo_show`, and ToolError."""
    from dscompile.frontend.zoo import write_zoo
    from dscompile.frontend.zoo_scaling import parse_resolution

    return write_zoo(name, Path(directory), width, None if resolution is None else parse_resolution(resolution))


def read_network(
    source: Source,
    weights: str | Path | None,
    *,
    load_weights: bool = True,
    rounding: Rounding | None = None,
    input_shapes: InputShapes | None = None,
) -> NetFile:
    """The network in a net.yaml, .onnx or .tflite file (dscompile.frontend.load), or the one that is given itself."""
    values = None if weights is None else Path(weights)
    if isinstance(source, str | Path):
        from dscompile.frontend.input_shapes import NO_SHAPES
        from dscompile.frontend.load import load_network

        shapes = NO_SHAPES if input_shapes is None else input_shapes
        return load_network(Path(source), weights=values, load_weights=load_weights, rounding=rounding, shapes=shapes)
    from dscompile.frontend.loaded import NetFile

    given = {"its weights": values, "its rounding": rounding, "its shapes": input_shapes}
    for what in (what for what, value in given.items() if value is not None):
        raise UsageError(f"the network '{source.name}' in memory has {what} already", help="change the network itself")
    return NetFile(source.validate(), Path(source.name), is_file=False)


def source_name(source: Source) -> str:
    """How messages call a network: its path, or the name of one in memory."""
    return str(source) if isinstance(source, str | Path) else source.name


def require_no_state(network: Network, done: str, help: str | None = None) -> None:
    """Raises UnsupportedError if the network keeps state; `done` is what is not done with such networks."""
    if network.states:
        raise UnsupportedError(
            f"'{network.name}' keeps state from one inference to the next; such networks are not {done} yet", help=help
        )


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
