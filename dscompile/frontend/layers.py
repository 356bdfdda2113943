"""Reads the section `network:`, up to the point where shapes are needed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dscompile.errors import did_you_mean
from dscompile.frontend.borders import read_inputs, read_states
from dscompile.frontend.fields import Fields, Problems
from dscompile.frontend.integers import BLOCK_KINDS, ResultType, read_type
from dscompile.frontend.kinds import (
    KINDS,
    KINDS_WITH_SEVERAL_INPUTS,
    KINDS_WITH_SEVERAL_RESULTS,
    REPEATING_KINDS,
    STORED_KINDS,
)
from dscompile.frontend.layer_fields import read_activation, read_padding
from dscompile.frontend.schema import (
    Body,
    Defaults,
    LayerSpec,
    NetworkSpec,
    OutputSpec,
    Reference,
    repeated_names,
)
from dscompile.frontend.stored import AskedStorage, read_storage
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode, describe, shorten
from dscompile.ir.ops import NONE
from dscompile.ir.tensor import BorderLayout

MAX_REPEAT = 256
_VERSION = re.compile(r"(0|[1-9]\d{0,4})(\.(0|[1-9]\d{0,4})){2}", re.ASCII)
_LICENSE = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")


def read_network(node: MappingNode, problems: Problems, fallback_name: str) -> NetworkSpec:
    """The section `network:`. Without `name:` the network is called `fallback_name`."""
    fields = Fields("network", node, problems)
    name = _network_name(fields, fallback_name)
    title, paper = fields.text("title"), fields.text("paper")
    version = _matching(fields, "version", _VERSION, "three numbers with points, such as 1.0.0")
    license = _matching(fields, "license", _LICENSE, "an SPDX expression, such as Apache-2.0 OR MIT")
    inputs = read_inputs(fields)
    states = read_states(fields)
    defaults = read_defaults(fields)
    layers = _layers(fields, defaults)
    outputs = read_outputs(fields)
    labels_node = fields.take("labels")
    labels: tuple[str, ...] = ()
    if labels_node is not None and not isinstance(labels_node, SequenceNode):
        fields.wrong("labels", labels_node, "a list of texts")
    elif labels_node is not None:
        labels = tuple(text for text, _ in fields.texts("labels", labels_node))
    fields.finish()
    return NetworkSpec(
        name,
        title,
        paper,
        version,
        license,
        inputs,
        layers,
        outputs,
        labels,
        labels_node.position if labels_node is not None else None,
        states,
    )


def _matching(fields: Fields, key: str, pattern: re.Pattern[str], what: str) -> str:
    """An optional text that matches `pattern` as a whole."""
    node = fields.take(key)
    text = "" if node is None else fields.text_of(key, node)
    if node is not None and text and not pattern.fullmatch(text):
        fields.problems.add(f"'{key}' must be {what}", node.position)
    return text


def _network_name(fields: Fields, fallback: str) -> str:
    node = fields.take("name")
    if node is None:
        return fallback
    name = fields.text_of("name", node)
    if set(name) & set("/\\"):
        fields.problems.add("the network's name is part of file names: no / or \\", node.position)
    return name


def read_defaults(fields: Fields) -> Defaults:
    """The mapping `defaults:`, which may be absent."""
    node = fields.mapping("defaults")
    if node is None:
        return Defaults()
    inner = Fields("defaults", node, fields.problems)
    padding = read_padding(inner, "same")
    activation = read_activation(inner, NONE) if inner.has("activation") else None
    bias = inner.flag("bias", None)
    inner.finish()
    return Defaults(padding, activation, bias)


def read_outputs(fields: Fields) -> tuple[OutputSpec, ...] | None:
    """The list `outputs:`; None where it is absent."""
    node = fields.take("outputs")
    if node is None:
        return None
    items = node.items if isinstance(node, SequenceNode) else (node,)
    if not items:
        fields.problems.add("'outputs' is empty", node.position, help="leave it out: the last layer is the output")
    specs: list[OutputSpec] = []
    for item in items:
        if not isinstance(item, MappingNode):
            specs.append(OutputSpec(Reference(fields.text_of("outputs", item), item.position)))
            continue
        inner = Fields("output", item, fields.problems)
        name_node = inner.require("name", "scores")
        name = inner.text_of("name", name_node) if name_node is not None else ""
        layout: BorderLayout = "nchw" if inner.choice("layout", ("nhwc", "nchw"), "nhwc") == "nchw" else "nhwc"
        inner.finish()
        specs.append(OutputSpec(Reference(name, (name_node or item).position), layout))
    seen: set[str] = set()
    for spec in specs:
        if spec.reference.name and spec.reference.name in seen:
            fields.problems.add(f"output '{spec.reference.name}' appears twice", spec.reference.position)
        seen.add(spec.reference.name)
    return tuple(specs)


@dataclass(frozen=True)
class _Entry:
    """A layer of the file before its name is settled."""

    kind: ScalarNode
    fields: Fields
    name: str


def _layers(fields: Fields, defaults: Defaults) -> tuple[LayerSpec, ...]:
    node = fields.require("layers", "[{conv: {out: 8, kernel: 3}}]")
    if node is None:
        return ()
    if not isinstance(node, SequenceNode) or not node.items:
        fields.wrong("layers", node, "a list with at least one layer")
        return ()
    entries = [entry for item in node.items for entry in _entry(item, fields.problems)]
    names = LayerNames(entry.name for entry in entries)
    return tuple(_layer(entry, defaults, names, fields.problems) for entry in entries)


def read_layer(node: Node, defaults: Defaults, names: LayerNames, problems: Problems) -> LayerSpec | None:
    """One entry of `layers:` by itself; None if it has no kind. `names` are those of the layers before it."""
    for entry in _entry(node, problems):
        names.take(entry.name)
        return _layer(entry, defaults, names, problems)
    return None


def _entry(node: Node, problems: Problems) -> Iterable[_Entry]:
    """`- kind` or `- kind: {key: value}`; nothing if it is neither."""
    match node:
        case ScalarNode(value=str()) as kind:
            body: Node = MappingNode((), node.position)
        case MappingNode(entries=((kind, body),)):
            pass
        case MappingNode(entries=(_, *_)) as mapping:
            keys = ", ".join(shorten(key.text) for key, _ in mapping.entries)
            help = "one layer, one dash; indent its keys below the kind, or write {key: value}"
            problems.add(f"a layer has one kind, not {keys}", mapping.entries[0][0].position, help=help)
            return
        case _:
            help = "for example `- conv: {out: 8, kernel: 3}`"
            problems.add(f"a layer is a kind with its keys, not {describe(node)}", node.position, help=help)
            return
    if isinstance(body, ScalarNode) and body.value is None:
        body = MappingNode((), kind.position)
    if not isinstance(body, MappingNode):
        problems.add(f"the keys of {shorten(kind.text)} must be a mapping, not {describe(body)}", body.position)
        body = MappingNode((), kind.position)
    fields = Fields(kind.text, MappingNode(body.entries, kind.position), problems)
    yield _Entry(kind, fields, fields.text("name"))


def _layer(entry: _Entry, defaults: Defaults, names: LayerNames, problems: Problems) -> LayerSpec:
    kind, fields = entry.kind.text, entry.fields
    before = problems.count
    body: Body | None = None
    inputs, repeat, output = None, 1, None
    result: ResultType | None = None
    storage: AskedStorage | None = None
    reader = KINDS.get(kind)
    if reader is None:
        help = did_you_mean(kind, KINDS) or f"kinds are {', '.join(KINDS)}"
        problems.add(f"unknown layer '{shorten(kind)}'", entry.kind.position, help=help)
        output = fields.text("output") or None
    else:
        inputs = _from(kind, fields)
        output_node = fields.take("output")
        output = fields.text_of("output", output_node) or None if output_node is not None else None
        if kind in REPEATING_KINDS:
            repeat = fields.integer("repeat", 1, maximum=MAX_REPEAT)
        if output_node is not None and kind in KINDS_WITH_SEVERAL_RESULTS:
            problems.add(f"'output' names one tensor, and {kind} makes several", output_node.position)
        if output_node is not None and repeat > 1:
            problems.add("'output' names one tensor, and 'repeat' makes several", output_node.position)
        body = reader(fields, defaults)
        result = _result(kind, repeat, fields)
        storage = read_storage(fields) if kind in STORED_KINDS else None
        fields.finish()
    if problems.count > before:
        body = None
    name = entry.name or names.automatic(kind, repeat)
    return LayerSpec(kind, name, inputs, output, repeat, body, entry.kind.position, result, storage)


def _result(kind: str, repeat: int, fields: Fields) -> ResultType | None:
    result = read_type(fields)
    if result is not None and (kind in BLOCK_KINDS or repeat > 1):
        what = "'repeat' makes" if repeat > 1 else f"{kind} stands for"
        fields.problems.add(
            f"a scale belongs to one tensor, and {what} several layers",
            fields.position,
            help="write them one by one; `dscompile quantize` makes such a file",
        )
    return result


def _from(kind: str, fields: Fields) -> tuple[Reference, ...] | None:
    node = fields.take("from") if kind != "constant" else None
    if node is None:
        if kind in KINDS_WITH_SEVERAL_INPUTS:
            fields.problems.add(f"{kind} needs 'from'", fields.position, help="for example `from: [left, right]`")
        return () if kind == "constant" else None
    return tuple(Reference(name, position) for name, position in fields.texts("from", node))


class LayerNames:
    """Gives names to layers that have none: the kind, then kind2, kind3, ..., stepping over names in the file."""

    def __init__(self, given: Iterable[str]) -> None:
        self._taken = {name for name in given if name}
        self._next: dict[str, int] = {}

    def take(self, name: str) -> None:
        """Keeps a name from being given to another layer."""
        self._taken.add(name)

    def automatic(self, kind: str, repeat: int) -> str:
        """A free name, whose repeats are free too."""
        number = self._next.get(kind, 1)
        while True:
            name = kind if number == 1 else f"{kind}{number}"
            number += 1
            block = (name, *repeated_names(name, repeat)) if repeat > 1 else (name,)
            if self._taken.isdisjoint(block):
                self._taken.update(block)
                self._next[kind] = number
                return name
