"""Why a network for a GPU is cut into kernels as it is: what every module costs, and what fusing more would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dscompile.plan.gpu.choice import TRAFFIC_PRICE, ModulePlan, cheapest, price_s
from dscompile.plan.gpu.modules import Group, find_groups, module_shape
from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.gpu import Gpu
    from dscompile.ir.network import Network
    from dscompile.ir.tensor import Precision
    from dscompile.plan.fusion import Work
    from dscompile.report.record import Record


@dataclass(frozen=True)
class Estimate:
    """One way to compute some layers, by the planner's estimate.

    `activation_bytes` are loads and stores of images in global memory, `weight_bytes` those of weights, once per block.
    `price_us` is the time and what the traffic of images is worth beside it: the planner takes what is cheapest.
    """

    kernels: int
    activation_bytes: int
    weight_bytes: int
    time_us: float
    price_us: float


@dataclass(frozen=True)
class ModuleRow:
    """A module of the plan: its layers, one tile, and a launch. `unfused` is one kernel for every convolution."""

    layers: tuple[str, ...]
    kind: str
    rows: int
    columns: int
    blocks: int
    threads: int
    shared_bytes: int
    registers: int
    occupancy: float
    limiter: str
    fused: Estimate
    unfused: Estimate


@dataclass(frozen=True)
class Cut:
    """Two neighbors that stay apart: what they cost so, and as one module; None if none fits a multiprocessor."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    apart: Estimate
    together: Estimate | None


@dataclass(frozen=True)
class GpuPlan:
    """The modules of a network, and the cuts between those that follow each other."""

    device: str
    modules: tuple[ModuleRow, ...]
    cuts: tuple[Cut, ...]

    @property
    def activation_bytes(self) -> int:
        """Of all modules."""
        return sum(module.fused.activation_bytes for module in self.modules)

    @property
    def unfused_bytes(self) -> int:
        """The same with one kernel for every convolution."""
        return sum(module.unfused.activation_bytes for module in self.modules)


def explain_plan(network: Network, gpu: Gpu, precision: Precision = "float32") -> GpuPlan:
    """The plan of a canonical network, with the choices that were not taken."""
    groups = [group for group in find_groups(network, gpu, precision=precision) if group.plan is not None]
    modules = tuple(_row(network, group, gpu, precision) for group in groups)
    cuts = tuple(_cut(network, a, b, gpu, precision) for a, b in pairwise(groups) if _follows(network, a, b))
    return GpuPlan(gpu.device, modules, cuts)


def _row(network: Network, group: Group, gpu: Gpu, precision: Precision) -> ModuleRow:
    plan = group.plan
    assert plan is not None
    return ModuleRow(
        layers=_layers(group.work),
        kind=plan.kernel.kind,
        rows=plan.tile[0],
        columns=plan.tile[1],
        blocks=plan.cost.blocks,
        threads=plan.cost.threads,
        shared_bytes=plan.cost.shared_bytes,
        registers=plan.cost.registers,
        occupancy=plan.cost.occupancy.fraction,
        limiter=plan.cost.occupancy.limiter,
        fused=_estimate([plan], gpu),
        unfused=_estimate(_each_alone(network, group.work, gpu, precision), gpu),
    )


def _each_alone(network: Network, works: Sequence[Work], gpu: Gpu, precision: Precision) -> list[ModulePlan]:
    return [plan for work in works if (plan := _module(network, [work], gpu, precision)) is not None]


def _module(network: Network, works: Sequence[Work], gpu: Gpu, precision: Precision) -> ModulePlan | None:
    shape = module_shape(network, works, precision)
    return None if shape is None else cheapest(shape, gpu)


def _estimate(plans: Sequence[ModulePlan], gpu: Gpu) -> Estimate:
    return Estimate(
        len(plans),
        sum(plan.cost.activation_bytes for plan in plans),
        sum(plan.cost.weight_bytes for plan in plans),
        1e6 * sum(plan.cost.time_s for plan in plans),
        1e6 * sum(price_s(plan.cost, gpu) for plan in plans),
    )


def _follows(network: Network, a: Group, b: Group) -> bool:
    """Whether b reads what a makes, and nobody else does."""
    made = a.work[-1].result
    return a.work[-1].residual is None and b.work[0].layer.inputs[0] == made and len(network.consumers[made]) == 1


def _cut(network: Network, a: Group, b: Group, gpu: Gpu, precision: Precision) -> Cut:
    """Both modules as one, or, where no module is that long, the two convolutions at the cut."""
    before, after = a.work, b.work
    if module_shape(network, (*before, *after)) is None:
        before, after = before[-1:], after[:1]
    apart = [plan for works in (before, after) if (plan := _module(network, works, gpu, precision)) is not None]
    together = _module(network, (*before, *after), gpu, precision)
    return Cut(
        _layers(before),
        _layers(after),
        _estimate(apart, gpu),
        None if together is None else _estimate([together], gpu),
    )


def _layers(works: Sequence[Work]) -> tuple[str, ...]:
    return tuple(name for work in works for name in work.layers)


def plan_text(plan: GpuPlan) -> str:
    """Both tables, for people."""
    share = plan.activation_bytes / plan.unfused_bytes if plan.unfused_bytes else 1.0
    head = (
        f"modules, by the planner's estimate for {plan.device}\n"
        f"images in global memory: {text.size(plan.activation_bytes)}, {text.percent(share)} of what one kernel for "
        "every convolution moves"
    )
    header = ("layers", "kind", "tile", "blocks", "threads", "B", "B unfused", "shared", "registers", "occupancy", "us")
    rows = [
        (
            _span(module.layers),
            module.kind,
            f"{module.rows}x{module.columns}",
            text.number(module.blocks),
            str(module.threads),
            text.number(module.fused.activation_bytes),
            text.number(module.unfused.activation_bytes),
            text.short_size(module.shared_bytes),
            str(module.registers),
            text.percent(module.occupancy),
            f"{module.fused.time_us:.1f}",
        )
        for module in plan.modules
    ]
    parts = [head, text.table(header, rows, right=header[2:])]
    if plan.cuts:
        parts += [
            "\ncuts between modules, or, where no module is as long as both, of the two convolutions there\n"
            f"a price is the time and {TRAFFIC_PRICE:g} times that of moving the images through memory",
            text.table(_CUTS, [_cut_row(cut) for cut in plan.cuts], right=_CUTS[1:]),
        ]
    return "\n".join(parts)


_CUTS = ("apart", "B apart", "B together", "us apart", "us together", "price apart", "price together")


def _cut_row(cut: Cut) -> tuple[str, ...]:
    apart, together = cut.apart, cut.together
    pairs = [
        (text.number(apart.activation_bytes), together and text.number(together.activation_bytes)),
        (f"{apart.time_us:.1f}", together and f"{together.time_us:.1f}"),
        (f"{apart.price_us:.1f}", together and f"{together.price_us:.1f}"),
    ]
    cells = (cell or "does not fit" for pair in pairs for cell in pair)
    return (f"{_span(cut.before)} | {_span(cut.after)}", *cells)


def _span(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]} .. {layers[-1]}"


def plan_record(plan: GpuPlan | None) -> Record | None:
    """The same as JSON; None without a GPU."""
    if plan is None:
        return None
    return {
        "device": plan.device,
        "activation_bytes": plan.activation_bytes,
        "unfused_activation_bytes": plan.unfused_bytes,
        "modules": [
            {
                **vars(module),
                "layers": list(module.layers),
                "fused": vars(module.fused),
                "unfused": vars(module.unfused),
            }
            for module in plan.modules
        ],
        "cuts": list(_cut_records(plan.cuts)),
    }


def _cut_records(cuts: Sequence[Cut]) -> Iterator[Record]:
    for cut in cuts:
        yield {
            "before": list(cut.before),
            "after": list(cut.after),
            "apart": vars(cut.apart),
            "together": None if cut.together is None else vars(cut.together),
        }
