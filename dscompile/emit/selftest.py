"""The self-test: one input, its expected output, and a main() that compares them.

The input is not stored but generated, bit for bit the same here and in C: element i of input number s is

    x = i * 0x9e3779b9 + s * 0x632be5ab + 1                                       (mod 2^32)
    x ^= x >> 16;  x *= 0x85ebca6b;  x ^= x >> 13;  x *= 0xc2b2ae35;  x ^= x >> 16
    value = (x >> 8) / 2^23 - 1                                                   in [-1, 1), exact in float32

(a counter through the 32-bit finalizer of Appleby's MurmurHash3). Outputs of up to 16 384 elements are stored whole;
of larger ones every n-th element (n odd), and the mean of every n elements, so that no element goes unseen. Where an
index (int32) is expected to be -1, two elements are equally large but for rounding, and any index passes; means are
left out then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.emit.interface import Interface, Port
from dscompile.emit.names import c_float
from dscompile.emit.render import render
from dscompile.errors import BadInputError
from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import INTEGER_RANGES, TOLERANCES, Precision

TOLERANCE = TOLERANCES["float32"]
STEPS = 3
"""Inferences of the self-test of a network with state, all on the same input."""

_LARGEST_WHOLE = 16_384
_VALUES_PER_LINE = 8


@dataclass(frozen=True)
class Expectation:
    """What an output must be: samples of every `stride`-th element and, if stride > 1, means of blocks of `stride`.

    Errors are relative to `scale`: of floats the output's largest magnitude, of integers 1, so that TOLERANCE lets
    none pass.
    """

    port: Port
    stride: int
    samples: tuple[str, ...]
    means: tuple[str, ...]
    scale: float

    @property
    def sample_lines(self) -> list[str]:
        """The samples as lines of C literals."""
        return _lines(self.samples)

    @property
    def mean_lines(self) -> list[str]:
        """The means as lines of C literals."""
        return _lines(self.means)


def selftest_input(network: Network) -> dict[str, Array]:
    """The input of the self-test: name -> array of the tensor's border shape and type.

    Floats are uniform in [-1, 1), integers over their range: floor((value + 1) * 128), counted from the smallest.
    """
    inputs: dict[str, Array] = {}
    for stream, name in enumerate(network.user_inputs):
        tensor = network.tensor(name)
        values: Array = generated(stream, tensor.elements)
        if tensor.dtype in INTEGER_RANGES:
            low, high = INTEGER_RANGES[tensor.dtype]
            whole = np.floor((values.astype(np.float64) + 1) / 2 * (high - low + 1)) + low
            values = whole.astype(np.dtype(tensor.dtype))
        inputs[name] = values.reshape(tensor.border_shape)
    return inputs


def generated(stream: int, count: int) -> NDArray[np.float32]:
    """The first `count` values of a stream (see the module)."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32((stream * 0x632BE5AB + 1) & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)


def check_selftest(network: Network, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Raises ValueError unless `inputs` are the generated ones and `outputs` have border shapes.

    Raises BadInputError if an output is not finite: then no comparison means anything.
    """
    wanted = selftest_input(network)
    for name in network.user_inputs:
        if name not in inputs or not np.array_equal(inputs[name], wanted[name]):
            raise ValueError(f"self-test input '{name}' is not what selftest_input() generates")
    for name in network.user_outputs:
        shape = network.tensor(name).border_shape
        if name not in outputs or outputs[name].shape != shape:
            raise ValueError(f"self-test output '{name}' must have the border shape {list(shape)}")
        if outputs[name].dtype.kind != np.dtype(network.tensor(name).dtype).kind:
            raise ValueError(f"self-test output '{name}' must be {network.tensor(name).dtype}")
        if not np.all(np.isfinite(np.asarray(outputs[name], np.float32))):
            raise BadInputError(
                f"output '{name}' is not finite on an input of random values in [-1, 1)",
                help="look for overflowing weights",
            )


def selftest_source(
    interface: Interface,
    outputs: Mapping[str, Array],
    template: str = "native/selftest.c.j2",
    precision: Precision = "float32",
    **values: object,
) -> str:
    """The text of selftest.c; `outputs` as `check_selftest` wants them. Another `template` may need more `values`.

    What passes depends on the `precision` that the network multiplies with.
    """
    return render(
        template,
        **values,
        net=interface,
        steps=STEPS,
        expectations=[_expectation(port, outputs[port.tensor.name]) for port in interface.outputs],
        tolerance=c_float(TOLERANCES[precision]).rstrip("f"),
    )


def _expectation(port: Port, output: Array) -> Expectation:
    values = np.asarray(output, np.float32).astype(np.float64).ravel()
    stride = -(-values.size // _LARGEST_WHOLE) | 1
    has_means = stride > 1 and not (port.is_index and values.min() < 0)
    means = [values[start : start + stride].mean() for start in range(0, values.size, stride)] if has_means else []
    return Expectation(
        port=port,
        stride=stride,
        samples=tuple(c_float(float(value)) for value in values[::stride]),
        means=tuple(c_float(float(value)) for value in means),
        scale=1.0 if port.is_integer or port.is_index else float(np.abs(values).max()) or 1.0,
    )


def _lines(literals: tuple[str, ...]) -> list[str]:
    return [
        ", ".join(literals[start : start + _VALUES_PER_LINE]) + ","
        for start in range(0, len(literals), _VALUES_PER_LINE)
    ]
