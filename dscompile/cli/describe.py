"""Networks and tensors in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.artifact import StreamingInfo
    from dscompile.ir.network import Network
    from dscompile.ir.tensor import Tensor
    from dscompile.report.inspection import Inspection


def network_fields(inspection: Inspection) -> list[tuple[str, str]]:
    """The first things to know about a network: cost, inputs, outputs."""
    network = inspection.network
    cost = (
        f"{text.plural(len(inspection.layers), 'layer')}, {text.number(inspection.macs)} MAC, "
        f"{text.plural(inspection.parameters, 'parameter')}"
    )
    fields = [("network", f"{network.name}: {cost}"), *tensor_fields(network)]
    if inspection.precision != "float32":
        fields.append(("precision", text.precision(inspection.precision)))
    return fields


def memory_text(memory: StreamingInfo) -> str:
    """'balanced: streams from block1 and block4, 0.6 % more instructions (estimated)'."""
    if not memory.streamed:
        return f"{memory.mode}: nothing is streamed"
    *before, last = memory.streamed
    names = f"{', '.join(before)} and {last}" if before else last
    rows = "; the input may come row by row" if memory.takes_rows else ""
    streams = "streams" if before else "a stream"
    return f"{memory.mode}: {streams} from {names}, {text.percent(memory.extra)} more instructions (estimated){rows}"


def tensor_fields(network: Network) -> list[tuple[str, str]]:
    """Inputs and outputs as their user sees them."""
    inputs = [("input", tensor_text(network.tensor(name))) for name in network.user_inputs]
    states = [("state", tensor_text(network.tensor(state.name))) for state in network.states]
    return inputs + [("output", tensor_text(network.tensor(name))) for name in network.user_outputs] + states


def tensor_text(tensor: Tensor) -> str:
    """'"image" float32 NHWC [1, 96, 96, 3]'; only images have a layout worth naming."""
    layout = f" {tensor.border.upper()}" if len(tensor.shape) == 4 else ""
    return f'"{tensor.name}" {tensor.dtype}{layout} {list(tensor.border_shape)}'
