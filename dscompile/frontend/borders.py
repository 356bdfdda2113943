"""Reads what a network takes: its inputs, and the states that it keeps from one inference to the next."""

from __future__ import annotations

from collections.abc import Iterable

from dscompile.frontend.fields import Fields
from dscompile.frontend.integers import FLOAT, read_type
from dscompile.frontend.schema import InputSpec, Reference, StateSpec
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode
from dscompile.ir.tensor import BorderLayout, Tensor

STORED = "stored"
"""The `initial` of a state whose first value is an array among the weights."""

_STATE_EXAMPLE = "for example `{name: rows, shape: [1, 4, 1, 8], next: last_rows}`"


def read_inputs(fields: Fields) -> tuple[InputSpec, ...]:
    """`input:` or `inputs:` of the section `network:`."""
    one, several = fields.take("input"), fields.take("inputs")
    if (one is None) == (several is None):
        fields.problems.add(
            "network needs 'input'" if one is None else "give 'input' or 'inputs', not both",
            fields.position,
            help="for example `input: {name: image, shape: [1, 224, 224, 3]}`" if one is None else None,
        )
        return ()
    if several is None:
        assert one is not None
        return read_input("input", one, fields)
    if not isinstance(several, SequenceNode) or not several.items:
        fields.wrong("inputs", several, "a list of inputs")
        return ()
    return tuple(spec for item in several.items for spec in read_input("inputs", item, fields))


def read_states(fields: Fields) -> tuple[StateSpec, ...]:
    """`states:` of the section `network:`; none if it is absent."""
    node = fields.take("states")
    if node is None:
        return ()
    if not isinstance(node, SequenceNode) or not node.items:
        fields.wrong("states", node, "a list of states", _STATE_EXAMPLE)
        return ()
    return tuple(spec for item in node.items for spec in _state(item, fields))


def _state(node: Node, outer: Fields) -> Iterable[StateSpec]:
    if not isinstance(node, MappingNode):
        outer.wrong("states", node, "a mapping", _STATE_EXAMPLE)
        return
    before = outer.problems.count
    fields = Fields("state", node, outer.problems)
    tensor = _tensor(fields, "rows", "[1, 4, 1, 8]")
    next_node = fields.require("next", "last_rows")
    initial_node = fields.take("initial")
    initial: float | None = 0.0
    if isinstance(initial_node, ScalarNode) and initial_node.value == STORED:
        initial = None
    elif initial_node is not None:
        initial = fields.number_of("initial", initial_node)
    fields.finish()
    if next_node is not None:
        reference = Reference(fields.text_of("next", next_node), next_node.position)
        given = InputSpec(tensor.name, tensor.tensor if outer.problems.count == before else None, node.position)
        yield StateSpec(given, reference, initial)


def read_input(key: str, node: Node, outer: Fields) -> tuple[InputSpec, ...]:
    """One input, or none if it has not even a name. `shape` stands in the order of `layout`."""
    if not isinstance(node, MappingNode):
        outer.wrong(key, node, "a mapping", "for example `{name: image, shape: [1, 224, 224, 3]}`")
        return ()
    fields = Fields("input", node, outer.problems)
    layout: BorderLayout = "nchw" if fields.choice("layout", ("nhwc", "nchw"), "nhwc") == "nchw" else "nhwc"
    spec = _tensor(fields, "image", "[1, 224, 224, 3]", layout)
    fields.finish()
    return (spec,) if spec.name or spec.tensor is not None else ()


def _tensor(fields: Fields, name_example: str, shape_example: str, layout: BorderLayout = "nhwc") -> InputSpec:
    """Name, shape and type. Its tensor is None if any of them is wrong."""
    before = fields.problems.count
    name_node, shape_node = fields.require("name", name_example), fields.require("shape", shape_example)
    name = fields.text_of("name", name_node) if name_node is not None else ""
    shape = fields.integers("shape", shape_node, wanted="a list of sizes") if shape_node is not None else (1,)
    given = read_type(fields) or FLOAT
    if shape_node is not None and len(shape) > 1 and shape[0] != 1:
        fields.problems.add(f"the first size is the batch, which must be 1, not {shape[0]}", shape_node.position)
    if shape_node is not None and len(shape) > 8:
        fields.problems.add(f"a shape has at most 8 sizes, not {len(shape)}", shape_node.position)
    if fields.problems.count > before:
        return InputSpec(name, None, fields.position)
    if layout == "nchw" and len(shape) >= 3:
        shape = (shape[0], *shape[2:], shape[1])
    return InputSpec(name, Tensor(name, shape, given.dtype, given.quantization, layout), fields.position)
