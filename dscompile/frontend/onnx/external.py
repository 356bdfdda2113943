"""Which files beside an .onnx file hold its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def external_files(path: Path) -> tuple[Path, ...]:
    """The files with external data of a model that was read before, in the order in which it names them."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    places = (place for tensor in _tensors(model) for place in _locations(tensor))
    return tuple(path.parent / place for place in dict.fromkeys(places))


def _tensors(model: Any) -> Iterator[Any]:  # noqa: ANN401 - protobuf carries no types
    """The initializers, and the constants in attributes, of the graph and of the model's functions."""
    yield from model.graph.initializer
    for part in (model.graph, *model.functions):
        for node in part.node:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _locations(tensor: Any) -> Iterator[str]:  # noqa: ANN401 - protobuf carries no types
    if tensor.data_location == 1:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")
