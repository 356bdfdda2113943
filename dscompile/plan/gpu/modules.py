"""Which convolutions of a network become one kernel of a GPU, decided by the estimated time of each choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dscompile.errors import UnsupportedError
from dscompile.gpu import Gpu
from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D
from dscompile.ir.tensor import Precision
from dscompile.plan.fusion import Work, network_work
from dscompile.plan.gpu.choice import ModulePlan, ModuleShape, cheapest, price_s
from dscompile.plan.gpu.kernels import QUAD, Role, Stage
from dscompile.plan.knobs import TensorKnobs

MAX_LENGTH = 3
_ROLES: dict[tuple[bool, ...], tuple[Role, ...]] = {  # by which of the convolutions are depthwise
    (False,): ("project",),
    (True,): ("depthwise",),
    (True, False): ("depthwise", "project"),
    (False, True): ("expand", "depthwise"),
    (False, True, False): ("expand", "depthwise", "project"),
}


@dataclass(frozen=True)
class Group:
    """Work that becomes one step: the convolutions of a module with its plan, or anything else by itself."""

    work: tuple[Work, ...]
    plan: ModulePlan | None = None
    remark: str = ""


def find_groups(
    network: Network, gpu: Gpu, *, fuse: bool = True, precision: Precision = "float32"
) -> tuple[Group, ...]:
    """All work of the network in order; the work of a group stands where its last layer does."""
    works = network_work(network)
    follower = _followers(network, works)
    led = {following.layer.name for following in follower.values()}
    groups: dict[str, Group] = {}
    for work in works:
        if work.layer.name in led or not _is_module(network, work):
            continue
        run = [work]
        while (following := follower.get(run[-1].layer.name)) is not None:
            run.append(following)
        for group in _best_cut(network, run, gpu, fuse, precision):
            groups[group.work[-1].layer.name] = group
    inner = {work.layer.name for group in groups.values() for work in group.work[:-1]}
    return tuple(groups.get(work.layer.name, Group((work,))) for work in works if work.layer.name not in inner)


def module_shape(network: Network, works: Sequence[Work], precision: Precision = "float32") -> ModuleShape | None:
    """The module that convolutions in a row make, or None if there is no such module."""
    flags = tuple(_is_depthwise(network, work) for work in works)
    roles = _ROLES.get(flags)
    if roles is None:
        return None
    stages = tuple(conv_stage(network, work, role) for work, role in zip(works, roles, strict=True))
    tensor = network.tensor(works[0].layer.inputs[0])
    quantized = network.is_quantized_layer(works[0].layer)
    flat = not flags[0] and not quantized and reads_flat(network, works[0])
    dtype = "int8" if quantized else tensor.dtype
    return ModuleShape(stages, flat, dtype, works[-1].residual is not None, precision)


def reads_flat(network: Network, work: Work) -> bool:
    """Whether a convolution reads a float32 input of the network as the user passes it."""
    name = work.layer.inputs[0]
    return name in network.inputs and network.shape(name)[3] < QUAD


def conv_stage(network: Network, work: Work, role: Role) -> Stage:
    """The stage of a convolution, without what finishes it."""
    layer, op = work.layer, work.layer.op
    assert isinstance(op, Conv2D)
    _, height, width, channels = network.shape(layer.inputs[0])
    _, rows, columns, _ = network.shape(layer.output)
    return Stage(
        role=role,
        in_channels=op.out_channels if role == "depthwise" else channels // op.groups,
        channels=op.out_channels if role == "depthwise" else op.out_channels // op.groups,
        in_size=(height, width),
        size=(rows, columns),
        kernel=op.kernel,
        stride=op.stride,
        dilation=op.dilation,
        padding=(op.pads.top, op.pads.left),
    )


def _is_depthwise(network: Network, work: Work) -> bool:
    op = work.layer.op
    return isinstance(op, Conv2D) and op.is_depthwise(network.shape(work.layer.inputs[0])[3])


def _is_module(network: Network, work: Work) -> bool:
    """A convolution that one module can be: depthwise, or over all channels, and not of a single pixel."""
    op = work.layer.op
    if not isinstance(op, Conv2D):
        return False
    if network.shape(work.layer.inputs[0])[1:3] == (1, 1) and op.is_pointwise and work.residual is None:
        return False
    return op.groups == 1 or _is_depthwise(network, work)


def _followers(network: Network, works: Sequence[Work]) -> dict[str, Work]:
    """Layer name -> the only work that reads its result, if both can be parts of one module."""
    by_layer = {work.layer.name: work for work in works}
    found: dict[str, Work] = {}
    for work in works:
        readers = network.consumers.get(work.result, ())
        if not _is_module(network, work) or work.residual is not None or len(readers) != 1:
            continue
        reader = by_layer.get(readers[0].name)
        if reader is None or work.result in network.outputs or not _is_module(network, reader):
            continue
        kinds = {network.is_quantized_layer(w.layer) for w in (work, reader)}
        if len(kinds) == 1 and work.result == reader.layer.inputs[0] and _multiplier(network, reader) == 1:
            found[work.layer.name] = reader
    return found


def _multiplier(network: Network, work: Work) -> int:
    op = work.layer.op
    assert isinstance(op, Conv2D)
    return op.out_channels // network.shape(work.layer.inputs[0])[3] if _is_depthwise(network, work) else 1


def _best_cut(network: Network, run: Sequence[Work], gpu: Gpu, fuse: bool, precision: Precision) -> list[Group]:
    """The run cut into modules so that the sum of their times is least."""
    best: list[tuple[float, list[Group]]] = [(0.0, [])]
    for end in range(1, len(run) + 1):
        choices: list[tuple[float, list[Group]]] = []
        for length in range(1, min(MAX_LENGTH if fuse else 1, end) + 1):
            works = run[end - length : end]
            shape = module_shape(network, works, precision)
            plan = None if shape is None else cheapest(shape, gpu)
            time, before = best[end - length]
            if plan is not None:
                choices.append((time + price_s(plan.cost, gpu), [*before, Group(tuple(works), plan, _remark(plan))]))
        if not choices:
            raise UnsupportedError(
                f"no kernel fits the GPU {gpu.device}",
                layer=run[end - 1].layer.name,
                help="section 'gpu' of the target file allows too few threads, registers or bytes of shared memory",
            )
        best.append(min(choices, key=lambda choice: choice[0]))
    return best[-1][1]


def _remark(plan: ModulePlan) -> str:
    cost, knobs = plan.cost, plan.knobs
    tiles = f"tiles of {plan.tile[0]} x {plan.tile[1]}"
    if isinstance(knobs, TensorKnobs):
        tiles = f"tensor cores, tiles of {knobs.pixels} pixels x {knobs.channels} channels"
    return (
        f"{cost.blocks} blocks of {cost.threads} threads, {tiles}, "
        f"{cost.shared_bytes} B shared, {cost.time_s * 1e6:.1f} us estimated"
    )
