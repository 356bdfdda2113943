"""Networks built in Python, with the kinds of layers that a net.yaml has, their keys and their defaults.

Every call is read as the line of a net.yaml that it stands for (dscompile.frontend.layers and .builder do it), and what
is wrong is reported with the line of the program.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dscompile.errors import Position, UsageError, did_you_mean
from dscompile.frontend.borders import read_input
from dscompile.frontend.builder import Assembly
from dscompile.frontend.fields import Fields, Problems
from dscompile.frontend.kinds import KINDS, KINDS_WITH_SEVERAL_RESULTS
from dscompile.frontend.layers import LayerNames, read_defaults, read_layer, read_outputs
from dscompile.frontend.schema import Defaults, NetworkSpec
from dscompile.frontend.stored import set_storage
from dscompile.frontend.weights import ArraysSource, FileSource, SeededSource, WeightSource, collect_weights
from dscompile.frontend.yamltree import MAX_SHOWN_LINE, MappingNode, Node, ScalarNode, SequenceNode
from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import Rounding, Shape

Keys = Mapping[str, Any]


class NetworkBuilder:
    """Grows a network layer by layer.

        net = NetworkBuilder("kws", defaults={"padding": "same", "activation": "relu"})
        x = net.input("mfcc", [1, 49, 10, 1])
        x = net.conv(x, out=64, kernel=[10, 4], stride=2)
        x = net.separable(x, out=64, kernel=3, repeat=4)
        x = net.pool(x, kind="average", over="all")
        network = net.build(net.softmax(net.dense(x, out=12, activation="none")), seed=7)

    Its methods are the kinds of layers of a net.yaml: they take the tensors that the layer reads, its keys, and
    `weights`, a mapping from role to array ("kernel", "bias"; of a layer inside a block "depthwise.kernel"); they give
    the name of the result, and `split` a tuple of names. Whatever is wrong raises a BadInputError at once that names
    the line of the program; the builder is of no further use then.
    """

    def __init__(self, name: str, *, defaults: Keys | None = None) -> None:
        self._position = _caller()
        self._assembly = Assembly(NetworkSpec(name, "", "", "", "", (), (), None, ()), Problems())
        self._names = LayerNames(())
        self._arrays: dict[str, Array] = {}
        self._defaults = Defaults()
        if defaults is not None:
            fields = self._fields("network", {"defaults": defaults})
            self._defaults = read_defaults(fields)
            fields.problems.raise_if_any()

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if kind not in KINDS:
            help = did_you_mean(kind, [*KINDS, "input", "layer", "shape", "build"])
            raise AttributeError(f"there is no kind of layer '{kind}'" + (f"; {help}" if help else ""))
        return partial(self.layer, kind)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *KINDS})

    def input(self, name: str, shape: Sequence[int], **keys: object) -> str:
        """Declares an input, batch first, in the order of `layout` ("nhwc" or "nchw") -> its name.

        Integers have `dtype` ("int8", "uint8"), `scale` and `zero_point`.
        """
        fields = self._fields("network", {"input": {"name": name, "shape": list(shape), **keys}})
        node = fields.mapping("input")
        assert node is not None
        specs = read_input("input", node, fields)
        fields.problems.raise_if_any()
        for spec in specs:
            self._assembly.add_input(spec)
        fields.problems.raise_if_any()
        return name

    def layer(
        self, kind: str, /, *sources: str, weights: Mapping[str, npt.ArrayLike] | None = None, **keys: object
    ) -> str | tuple[str, ...]:
        """Adds a layer of a kind -> the name of its result, or a tuple of names."""
        given = {**keys, **({"from": list(sources)} if sources else {})}
        problems = self._fresh_problems()
        node = _node({kind: given}, _caller())
        spec = read_layer(node, self._defaults, self._names, problems)
        problems.raise_if_any()
        assert spec is not None
        before = len(self._assembly.builder.layers)
        self._assembly.add_layer(spec)
        problems.raise_if_any()
        made = self._assembly.builder.layers[before:]
        for role, values in (weights or {}).items():
            self._arrays[f"{spec.name}.{role}"] = np.asarray(values)
        if kind in KINDS_WITH_SEVERAL_RESULTS:
            return tuple(layer.output for layer in made)
        return made[-1].output

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor, channels last."""
        return self._assembly.shape(tensor)

    def build(
        self,
        *outputs: str | Keys,
        weights: Mapping[str, npt.ArrayLike] | str | Path | None = None,
        seed: int | None = None,
        labels: Sequence[str] = (),
        rounding: Rounding | None = None,
    ) -> Network:
        """The finished network.

        `outputs` are tensors, or mappings such as {"name": x, "layout": "nchw"}; without any it is the last layer's
        result. `weights` are arrays "<layer>.<role>", or an .npz or .safetensors file; those that were given with the
        layers are known. With `seed` the others are random. `labels` name the elements of the first output. `rounding`
        is that of int8 layers (tflite).

        Raises BadInputError with everything that is missing or does not fit.
        """
        problems, position = self._fresh_problems(), _caller()
        if outputs:
            fields = self._fields("network", {"outputs": list(outputs)})
            self._assembly.spec = replace(self._assembly.spec, outputs=read_outputs(fields))
            problems = fields.problems
            problems.raise_if_any()
        names = self._assembly.outputs()
        source = self._source(weights, seed)
        arrays = collect_weights(self._assembly.wanted(), source, problems, position, load=True)
        problems.raise_if_any()
        builder = self._assembly.builder
        builder.weights = dict(arrays)
        if any(tensor.dtype != "float32" for tensor in builder.tensors.values()):
            builder.rounding = rounding or "tflite"
        set_storage(builder, self._assembly.storage, "plain", self._assembly.positions, problems, loaded=True)
        problems.raise_if_any()
        return builder.build(names, labels)

    def _source(self, weights: Mapping[str, npt.ArrayLike] | str | Path | None, seed: int | None) -> WeightSource:
        if isinstance(weights, str | Path):
            if self._arrays or seed is not None:
                raise UsageError(f"the weights are those of '{weights}'", help="give no others, and no seed")
            return FileSource(Path(weights))
        arrays = {**self._arrays, **{key: np.asarray(values) for key, values in (weights or {}).items()}}
        return SeededSource(seed) if seed is not None and not arrays else ArraysSource(arrays, seed)

    def _fresh_problems(self) -> Problems:
        """What the next call finds is reported by that call alone."""
        self._assembly.problems = Problems()
        return self._assembly.problems

    def _fields(self, what: str, keys: Keys) -> Fields:
        node = _node(keys, _caller())
        assert isinstance(node, MappingNode)
        return Fields(what, node, self._fresh_problems())


def _caller() -> Position:
    """The line of the program that called a method of the builder."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).rstrip("\n")
    if len(text) > MAX_SHOWN_LINE:
        text = ""
    return Position(file, line, len(text) - len(text.lstrip()) + 1, max(1, len(text.strip())), text)


def _node(value: object, position: Position) -> Node:
    """A value of Python as the tree of a net.yaml."""
    match value:
        case Mapping():
            entries = ((ScalarNode(str(key), str(key), position), _node(item, position)) for key, item in value.items())
            return MappingNode(tuple(entries), position)
        case list() | tuple() | np.ndarray():
            return SequenceNode(tuple(_node(item, position) for item in value), position)
        case np.generic():
            return _node(value.item(), position)
        case bool():
            return ScalarNode(value, str(value).lower(), position)
        case None | int() | float() | str():
            return ScalarNode(value, "" if value is None else str(value), position)
        case _:
            raise UsageError(f"a layer's keys are numbers, texts, lists and mappings, not {type(value).__name__}")
