"""The main job: from a network to artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from dscompile.api.models import Model
from dscompile.api.networks import read_network
from dscompile.errors import ToolError, UsageError
from dscompile.report.progress import Event, Progress, silent
from dscompile.target import Target, resolve_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dscompile.frontend.netfile import NetFile
    from dscompile.ir.network import Network
    from dscompile.report.vectors import Vectors

    Floats = NDArray[np.float32]


@overload
def build(
    source: str | Path,
    target: str = "host",
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Model: ...


@overload
def build(
    source: str | Path,
    target: Sequence[str],
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Model, ...]: ...


def build(
    source: str | Path,
    target: str | Sequence[str] = "host",
    output: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Model | tuple[Model, ...]:
    """Compiles a network for a target, or for each of several, and returns its artifact, or theirs.

    `output` is the artifact's directory (default: build/<net>-<target>); with several targets it is the directory
    that theirs are written into. `weights` replaces the weights that a net.yaml names. `seed` chooses the inputs of
    the self-test and of the golden vectors. An artifact is written completely or not at all.

    Raises UsageError, BadInputError, UnsupportedError, BudgetError or ToolError.
    """
    names = [target] if isinstance(target, str) else list(dict.fromkeys(target))
    if not names:
        raise UsageError("no target is given", help="'host' is this machine")
    targets = [(name, resolve_target(name)) for name in names]
    progress(Event(f"reading {source}"))
    net = read_network(source, weights)
    net.require_float()
    several = not isinstance(target, str) and len(names) > 1
    jobs = [
        _Job(name, concrete, _destination(net.network, name, concrete, output, several)) for name, concrete in targets
    ]
    for job in jobs:
        _require_writable(job.destination)
    golden = _Golden(net.network, seed)
    models = tuple(_build_one(net, job, golden, progress) for job in jobs)
    return models[0] if isinstance(target, str) else models


@dataclass(frozen=True)
class _Job:
    """One artifact to make: the target as the user named it, what that stands for, and where it goes."""

    name: str
    target: Target
    destination: Path


class _Golden:
    """Golden vectors of a network, computed by the oracle once for all targets.

    The oracle runs the network as it was read, so that the passes are judged too.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self._network = network
        self._seed = seed
        self._vectors: Vectors | None = None

    def vectors(self, progress: Progress) -> Vectors:
        """Inputs' seeds and the oracle's outputs, in the layout of the network's border."""
        if self._vectors is None:
            self._vectors = self._compute(progress)
        return self._vectors

    def first_input(self) -> dict[str, Floats]:
        """The input that the first vector belongs to, by name, in the layout of the border."""
        from dscompile.report.vectors import seeded_inputs

        return seeded_inputs({name: self._network.tensor(name).border_shape for name in self._network.inputs}, self._seed)

    def _compute(self, progress: Progress) -> Vectors:
        import numpy as np

        from dscompile import oracle
        from dscompile.report.vectors import Vectors, seeded_inputs, vector_seeds

        network = self._network
        shapes = {name: network.tensor(name).border_shape for name in network.inputs}
        seeds = vector_seeds(self._seed, sum(network.tensor(name).size_bytes for name in network.outputs))
        rows: list[list[Floats]] = []
        for index, seed in enumerate(seeds):
            progress(Event("running the oracle", index, len(seeds)))
            inputs = seeded_inputs(shapes, seed)
            results = oracle.run(
                network, {name: oracle.from_border(network.tensor(name), array) for name, array in inputs.items()}
            )
            rows.append(
                [oracle.to_border(network.tensor(name), results[name]).astype(np.float32) for name in network.outputs]
            )
        return Vectors(seeds, tuple(np.stack(column) for column in zip(*rows, strict=True)))


def _build_one(net: NetFile, job: _Job, golden: _Golden, progress: Progress) -> Model:
    from dscompile.emit.native import write_artifact
    from dscompile.passes import canonicalize
    from dscompile.plan.lowering import plan_program
    from dscompile.report import budgets, text
    from dscompile.report.vectors import FILE_NAME, encode_vectors

    settings = budgets.settings_for(net.budgets, (job.name, job.target.name))
    canonical = canonicalize(net.network)
    progress(Event(f"planning {text.plural(len(canonical.layers), 'layer')}"))
    program = plan_program(canonical, job.target)
    budgets.check_program(program, job.name, settings)
    kernels = len(program.functions)
    progress(Event(f"compiling {text.plural(kernels, 'kernel')}", 0, kernels))
    from dscompile.schedule.native import compile_functions  # imports tvm, which takes a second

    kernels_object = compile_functions(
        program.functions,
        job.target,
        lambda done, total, _symbol: progress(Event(f"compiling {text.plural(total, 'kernel')}", done, total)),
    )
    vectors = golden.vectors(progress)
    progress(Event(f"writing {job.destination}"))
    artifact = write_artifact(
        program,
        kernels_object,
        golden.first_input(),
        {name: values[0] for name, values in zip(net.network.outputs, vectors.outputs, strict=True)},
        job.destination,
        origin=net.path.name,
        extra_files={FILE_NAME: encode_vectors(vectors)},
        accept=lambda manifest: budgets.check_flash(program, manifest.sizes.flash_bytes, job.name, settings),
    )
    return Model(artifact, tuple(budgets.setting_notes(job.name, settings)))


def _destination(network: Network, name: str, target: Target, output: str | Path | None, several: bool) -> Path:
    """Where the artifact goes: as the user named the target, but a target file by the name inside it."""
    label = target.name if "/" in name or name.endswith((".yaml", ".yml")) else name
    own = f"{network.name}-{label}"
    if output is None:
        return Path("build") / own
    return Path(output) / own if several else Path(output)


def _require_writable(destination: Path) -> None:
    """Raises ToolError before any work is done if the artifact could not be written in the end."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dscompile-", dir=destination.parent):
            pass
    except OSError as error:
        raise ToolError(
            f"cannot write into '{destination.parent}': {error.strerror or error}", help="choose another with --output"
        ) from error
