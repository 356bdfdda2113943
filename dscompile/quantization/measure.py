"""How near an int8 network is to the float32 network that it came from; both through the oracle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.cost import layer_kind
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activate, ArgMax, Reshape, Softmax, Transpose
from dscompile.oracle import run, run_all
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.calibration import Advance
from dscompile.quantization.conversion import dequantize_array, quantize_array
from dscompile.quantization.ranges import expressed
from dscompile.quantization.settings import Sample

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class LayerReport:
    """One layer: what its result can express, and how much of the signal survives.

    `sqnr_db` is 10 log10(sum of float^2 / sum of (float - int8)^2) over all samples, infinite where nothing is lost;
    `kernel_sqnr_db` the same of the kernel, None without one. `clipped` is the share of the float results that lie
    outside of what the tensor's integers express, by more than half a step.
    """

    name: str
    kind: str
    low: float
    high: float
    scale: float
    zero_point: int
    sqnr_db: float
    kernel_sqnr_db: float | None
    clipped: float


@dataclass(frozen=True)
class Agreement:
    """Outputs of the int8 network beside those of the float32 network, as reals.

    `top1` is the share of samples whose first output has its largest element at the same index (among equals the
    first); None if the output has only one element. `cosine` is the mean over samples and outputs.
    """

    samples: int
    top1: float | None
    max_error: float
    cosine: float
    sqnr_db: float


def quantize_sample(network: Network, sample: Sample) -> Sample:
    """A float32 input as the int8 network takes it."""
    return {name: _as_integers(network, name, array) for name, array in sample.items()}


def _as_integers(network: Network, name: str, array: Array) -> Array:
    quantization = network.tensor(name).quantization
    assert quantization is not None
    return quantize_array(array, quantization)


def signal_tensors(network: Network) -> tuple[str, ...]:
    """The outputs, or what a final softmax, sigmoid, tanh or argmax reads: it would hide what is lost before it."""
    found = []
    for name in network.outputs:
        producer = network.producers.get(name)
        while producer is not None and _hides_signal(producer.op):
            name = producer.inputs[0]
            producer = network.producers.get(name)
        found.append(name)
    return tuple(dict.fromkeys(found))


def _hides_signal(op: object) -> bool:
    if isinstance(op, Activate):
        return op.activation.kind in ("sigmoid", "tanh")
    return isinstance(op, Softmax | ArgMax | Reshape | Transpose)


def signals(network: Network, samples: Sequence[Sample]) -> tuple[Mapping[str, Reals], ...]:
    """The signal tensors of a float32 or int8 network, as reals, for every batch of float32 samples."""
    seen = replace_outputs(network, signal_tensors(network))
    made = []
    for batch in in_batches(seen, samples):
        given = quantize_sample(seen, batch.sample) if seen.is_quantized else batch.sample
        arrays = run(batched(seen, batch.count), given)
        made.append({name: dequantize_array(array, seen.tensor(name).quantization) for name, array in arrays.items()})
    return tuple(made)


def replace_outputs(network: Network, names: tuple[str, ...]) -> Network:
    """The network with other outputs, without the layers that lead to none of them."""
    needed = set(names)
    kept = []
    for layer in reversed(network.layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.inputs)
    return replace(network, outputs=names, labels=()).with_layers(reversed(kept))


def signal_sqnr_db(wanted: Sequence[Mapping[str, Reals]], got: Sequence[Mapping[str, Reals]]) -> float:
    """Signal to noise of signal tensors in dB; of several tensors the mean."""
    values = []
    for name in wanted[0]:
        noise = sum(float(((w[name] - g[name]) ** 2).sum()) for w, g in zip(wanted, got, strict=True))
        values.append(decibels(sum(float((w[name] ** 2).sum()) for w in wanted), noise))
    return float(np.mean(values))


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite without noise, minus infinite for noise without a signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


class _Sums:
    """What adds up over samples for one tensor."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0
        self.clipped = self.elements = 0


def compare(
    real: Network, integer: Network, samples: Sequence[Sample], advance: Advance
) -> tuple[tuple[LayerReport, ...], Agreement]:
    """Every layer, and the outputs, of both networks on the same samples. `real` has the layers of `integer`.

    Indices are no signal: what an ArgMax reads stands for them.
    """
    sums = {layer.output: _Sums() for layer in _signal_layers(integer)}
    compared = comparable_outputs(integer)
    outputs: list[tuple[Mapping[str, Reals], Mapping[str, Reals]]] = []
    for batch in in_batches(real, samples):
        floats = run_all(batched(real, batch.count), batch.sample)
        integers = run_all(batched(integer, batch.count), quantize_sample(integer, batch.sample))
        for name, total in sums.items():
            result = floats[name].astype(np.float64)
            error = result - dequantize_array(integers[name], integer.tensor(name).quantization)
            total.signal += float((result**2).sum())
            total.noise += float((error**2).sum())
            total.clipped += _outside(integer, name, result)
            total.elements += result.size
        for row in range(batch.count):
            wanted = {name: floats[name][row].astype(np.float64) for name in compared}
            got = {name: dequantize_array(integers[name][row], integer.tensor(name).quantization) for name in compared}
            outputs.append((wanted, got))
        advance(batch.first + batch.count, len(samples))
    return tuple(_layer_reports(real, integer, sums)), _agreement(integer, outputs)


def _signal_layers(network: Network) -> list[Layer]:
    """The layers whose results are reals or integers that stand for them."""
    return [layer for layer in network.layers if network.tensor(layer.output).dtype != "int32"]


def comparable_outputs(network: Network) -> tuple[str, ...]:
    """The outputs; where one holds indices, what its ArgMax reads: how far apart indices are means nothing."""
    return tuple(dict.fromkeys(_before_indices(network, name) for name in network.outputs))


def _before_indices(network: Network, name: str) -> str:
    """A tensor, or the one whose indices it holds."""
    while network.tensor(name).dtype == "int32":
        name = network.producers[name].inputs[0]
    return name


def _outside(integer: Network, name: str, wanted: Reals) -> int:
    quantization = integer.tensor(name).quantization
    assert quantization is not None
    limits, half = expressed(quantization), quantization.scale / 2
    return int(((wanted < limits.low - half) | (wanted > limits.high + half)).sum())


def _layer_reports(real: Network, integer: Network, sums: Mapping[str, _Sums]) -> list[LayerReport]:
    reports = []
    for layer in _signal_layers(integer):
        quantization = integer.tensor(layer.output).quantization
        assert quantization is not None
        limits, total = expressed(quantization), sums[layer.output]
        reports.append(
            LayerReport(
                name=layer.name,
                kind=layer_kind(integer, layer),
                low=limits.low,
                high=limits.high,
                scale=quantization.scale,
                zero_point=quantization.zero_point,
                sqnr_db=decibels(total.signal, total.noise),
                kernel_sqnr_db=_kernel_sqnr_db(real, integer, layer.name),
                clipped=total.clipped / total.elements,
            )
        )
    return reports


def _kernel_sqnr_db(real: Network, integer: Network, layer: str) -> float | None:
    kernel = integer.weights.get(f"{layer}.kernel")
    if kernel is None:
        return None
    wanted = real.weights[f"{layer}.kernel"].astype(np.float64)
    got = kernel.astype(np.float64) * integer.weights[f"{layer}.kernel_scale"].astype(np.float64)
    return decibels(float((wanted**2).sum()), float(((wanted - got) ** 2).sum()))


def _agreement(network: Network, outputs: Sequence[tuple[Mapping[str, Reals], Mapping[str, Reals]]]) -> Agreement:
    first = next(iter(outputs[0][0]))
    same = [int(wanted[first].argmax() == got[first].argmax()) for wanted, got in outputs]
    errors = [float(np.abs(wanted[name] - got[name]).max()) for wanted, got in outputs for name in wanted]
    cosines = [_cosine(wanted[name], got[name]) for wanted, got in outputs for name in wanted]
    wanted, got = [pair[0] for pair in outputs], [pair[1] for pair in outputs]
    return Agreement(
        samples=len(outputs),
        top1=float(np.mean(same)) if network.tensor(first).elements > 1 else None,
        max_error=max(errors),
        cosine=float(np.mean(cosines)),
        sqnr_db=signal_sqnr_db(wanted, got),
    )


def _cosine(first: Reals, second: Reals) -> float:
    """The cosine of the angle between two tensors; 1 for two that are zero."""
    lengths = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    if lengths == 0:
        return 1.0 if not first.any() and not second.any() else 0.0
    return float((first * second).sum()) / lengths
