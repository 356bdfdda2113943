"""The text of `<net>.cu`: kernels with what they compute, and the steps that launch them."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dscompile.artifact import KernelTraffic
from dscompile.emit.driver import IN_CONTEXT, Driver, StepCode, plan_driver
from dscompile.emit.interface import Interface
from dscompile.emit.names import c_comment, spaced
from dscompile.emit.render import render
from dscompile.emit.weights import Weights
from dscompile.gpu import Gpu
from dscompile.ir.cost import layer_kind
from dscompile.plan.gpu.costs import ModuleCost, module_cost
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel
from dscompile.plan.gpu.tensor_costs import tensor_cost
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.knobs import ModuleKnobs, TensorKnobs
from dscompile.plan.program import Function, Program
from dscompile.schedule.cuda_text import PREAMBLE
from dscompile.version import __version__

if TYPE_CHECKING:
    from dscompile.schedule.cuda_source import KernelSource  # imports tvm, which takes a second

LARGEST_GRID = (2**31 - 1, 65535)  # blocks along x and y, of every architecture since sm_30
_COMMENT_COLUMNS = 114
_KERNEL = re.compile(r'^extern "C" __global__ [^;{]*\{', re.MULTILINE)


@dataclass(frozen=True)
class KernelText:
    """A kernel in the file: its name there, a comment, and its definition."""

    symbol: str
    comment: str
    text: str


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, its pointers as C, blocks and threads."""

    symbol: str
    arguments: tuple[str, ...]
    grid: tuple[int, int]
    block: tuple[int, int]

    def passed(self, index: int) -> list[str]:
        """What the function `launch` is given; the pointers are in the array `pointers<index>`."""
        grid, block = (f"dim3({', '.join(map(str, sizes))})" for sizes in (self.grid, self.block))
        return [self.symbol, grid, block, f"pointers{index}", "stream"]


@dataclass(frozen=True)
class LaunchStep:
    """A step as a static function that enqueues its launches."""

    name: str
    comment: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    launches: tuple[Launch, ...]
    result: str


def network_source(
    program: Program, interface: Interface, weights: Weights, sources: Mapping[str, KernelSource]
) -> str:
    """`<net>.cu`. `sources` maps the symbols of the program's functions to their kernels, under their final names."""
    driver = plan_driver(program, interface, weights, places=IN_CONTEXT)
    heads = dict.fromkeys(_split(source.text)[0].strip() for source in sources.values())
    return render(
        "cuda/network.cu.j2",
        net=interface,
        target=program.target,
        version=__version__,
        driver=driver,
        preamble="\n\n".join([PREAMBLE.strip(), *filter(None, heads)]),
        kernels=_kernels(program, sources),
        steps=_steps(interface, driver, {source.symbol: source for source in sources.values()}),
        weights_bytes=len(weights.blob),
    )


def check_launches(gpu: Gpu, sources: Iterable[KernelSource]) -> None:
    """Raises ValueError for a kernel that no device of this kind can launch."""
    for source in sources:
        if source.threads > gpu.threads_per_block or any(
            blocks > most for blocks, most in zip(source.grid, LARGEST_GRID, strict=True)
        ):
            raise ValueError(f"{source.symbol} cannot be launched on {source.grid} blocks of {source.threads} threads")


def layers_of(program: Program, symbol: str) -> tuple[str, ...]:
    """The layers that are computed in the steps that call a function."""
    steps = [step for step in program.steps if any(call.symbol == symbol for call in step.calls)]
    return tuple(dict.fromkeys(layer for step in steps for layer in step.layers))


def planned_traffic(program: Program, function: Function) -> KernelTraffic | None:
    """What a launch moves by the plan; None where nobody planned it."""
    cost = _cost(program, function)
    if cost is None:
        return None
    return KernelTraffic(cost.input_bytes, cost.residual_bytes, cost.output_bytes, cost.weight_bytes)


def _cost(program: Program, function: Function) -> ModuleCost | None:
    kernel, knobs, gpu = function.kernel, function.knobs, program.target.gpu
    if gpu is not None and isinstance(kernel, TensorKernel) and isinstance(knobs, TensorKnobs):
        return tensor_cost(kernel, knobs, gpu)
    if gpu is None or not isinstance(kernel, ModuleKernel) or not isinstance(knobs, ModuleKnobs):
        return None
    return module_cost(kernel, knobs, gpu)


def _kernels(program: Program, sources: Mapping[str, KernelSource]) -> list[KernelText]:
    return [
        KernelText(
            source.symbol, _comment(program, function, source), _bounded(program, function, _split(source.text)[1])
        )
        for function in program.functions
        if (source := sources.get(function.symbol)) is not None
    ]


def _bounded(program: Program, function: Function, text: str) -> str:
    """A module's text with the number of blocks that ptxas must let a multiprocessor hold.

    Without it ptxas aims at an occupancy of its own, and spills on the way (MobileNetV1: 20 B a thread on sm_80).
    """
    cost = _cost(program, function)
    if cost is None or not isinstance(function.kernel, ModuleKernel):
        return text
    return re.sub(r"__launch_bounds__\((\d+)\)", rf"__launch_bounds__(\1, {cost.resident_blocks})", text, count=1)


def _split(text: str) -> tuple[str, str]:
    """What stands before a kernel, and its definition."""
    found = _KERNEL.search(text)
    if found is None:
        raise ValueError("the source of a kernel defines none")
    head = re.sub(r'^extern "C" __global__ [^{]*;\n', "", text[: found.start()], flags=re.MULTILINE)
    return head, text[found.start() :].strip()


def _comment(program: Program, function: Function, source: KernelSource) -> str:
    """What a kernel computes, and how it is launched."""
    lines = _layer_lines(program, layers_of(program, function.symbol), function.kernel.kind)
    blocks = math.prod(source.grid)
    grid = f"{source.grid[0]} x {source.grid[1]}" if source.grid[1] > 1 else str(source.grid[0])
    lines.append(f"{grid} block{'s' if blocks > 1 else ''} of {source.threads} threads.")
    kernel, cost = function.kernel, _cost(program, function)
    tile = ""
    if isinstance(kernel, ModuleKernel) and isinstance(function.knobs, ModuleKnobs):
        channels = min(function.knobs.block_quads * function.knobs.passes * QUAD, kernel.stages[-1].channels)
        tile = f"{kernel.rows} x {kernel.columns} pixels of {channels} channels"
    elif isinstance(function.knobs, TensorKnobs):
        tile = f"{function.knobs.pixels} pixels of {function.knobs.channels} channels, on tensor cores"
    if tile and cost is not None:
        lines[-1] = f"{lines[-1][:-1]}; a block makes {tile}."
        lines.append(
            f"Global memory: {spaced(cost.activation_bytes)} B of images, {spaced(cost.weight_bytes)} B of weights "
            f"over all blocks; shared memory at most {spaced(cost.shared_bytes)} B a block."
        )
    head, *rest = [f"{source.symbol}: {lines[0]}", *lines[1:]]
    text = "\n".join([f"/* {c_comment(head)}", *(f" * {c_comment(line)}" for line in rest)])
    return f"{text} */"


def _layer_lines(program: Program, names: Sequence[str], kind: str) -> list[str]:
    """`depthwise of block1.depthwise`, and a line with shapes for every layer."""
    network = program.network
    layers = {layer.name: layer for layer in network.layers}
    lines = [kind.replace("_", ", ")]
    for name in names:
        if (layer := layers.get(name)) is not None:
            inputs = ", ".join(str(list(network.shape(tensor))) for tensor in layer.inputs)
            lines.append(f"  {name}: {layer_kind(network, layer)}, {inputs} -> {list(network.shape(layer.output))}")
    return lines


def _steps(interface: Interface, driver: Driver, sources: Mapping[str, KernelSource]) -> list[LaunchStep]:
    return [_step(interface, step, sources) for step in driver.steps]


def _step(interface: Interface, step: StepCode, sources: Mapping[str, KernelSource]) -> LaunchStep:
    ports = [
        (declared, name) for declared, name in zip(step.parameters, step.arguments, strict=False) if name != "arena"
    ]
    return LaunchStep(
        name=step.name,
        comment="\n * ".join(textwrap.wrap(step.comment, _COMMENT_COLUMNS)),
        parameters=(
            f"const {interface.prefix}_context *context",
            *(declared for declared, _ in ports),
            "cudaStream_t stream",
        ),
        arguments=("context", *(name for _, name in ports), "stream"),
        launches=tuple(
            Launch(call.symbol, call.arguments, sources[call.symbol].grid, sources[call.symbol].block)
            for call in step.calls
        ),
        result=step.result,
    )


def renamed(functions: Sequence[Function], symbols: Mapping[str, str]) -> tuple[Function, ...]:
    """The functions under the names that they get in the file."""
    return tuple(replace(function, symbol=symbols[function.symbol]) for function in functions)
