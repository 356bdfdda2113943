"""Reads a net.yaml: the network, and what its author wants of weights, targets and quantization."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from dscompile.errors import BadInputError, Position
from dscompile.frontend.builder import Graph, build_graph
from dscompile.frontend.fields import Fields, Problems
from dscompile.frontend.layers import read_network
from dscompile.frontend.loaded import NetFile
from dscompile.frontend.paths import file_beside, written_with
from dscompile.frontend.settings import QuantizationSettings, read_quantization, read_targets
from dscompile.frontend.stored import set_storage
from dscompile.frontend.weights import FileSource, SeededSource, WeightSource, collect_weights
from dscompile.frontend.yamltree import MappingNode, describe, parse_yaml, read_text
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.state import filled
from dscompile.ir.tensor import INTEGER_RANGES

SCHEMA = 1
MAX_SEED = (1 << 53) - 1


def read_netfile(path: Path, *, weights: Path | None = None, load_weights: bool = True) -> NetFile:
    """The network described by the net.yaml at `path`.

    `weights` replaces the file's own `weights:` and may lie anywhere. With `load_weights` False the names, shapes
    and types of the weights are checked, but their values are neither read nor made.

    Raises BadInputError with everything that is wrong, each with its place; UnsupportedError if all of it is
    merely not supported yet.
    """
    text = read_text(path)
    override = FileSource(weights) if weights is not None else None
    if override is not None and not override.path.is_file():
        raise BadInputError(f"weights file '{weights}' does not exist")
    return netfile_from_text(text, path, override, load_weights=load_weights)


def netfile_from_text(
    text: str, path: Path, override: WeightSource | None = None, *, load_weights: bool = True
) -> NetFile:
    """As `read_netfile`, of a net.yaml that is, or will be, at `path`; `override` replaces its `weights:`."""
    root = parse_yaml(text, str(path))
    problems = Problems()
    if not isinstance(root, MappingNode):
        found = "is empty" if not text.strip() else f"holds {describe(root)}"
        raise BadInputError(
            f"'{path}' {found}", help="a net.yaml starts with `dscompile: 1`, then `network:` with `layers:`"
        )
    fields = Fields("the file", root, problems)
    _check_schema(fields)
    network_node = fields.mapping("network")
    source = _weight_source(fields, path.parent, override, text)
    quantization = read_quantization(fields.mapping("quantization"), problems, path.parent)
    budgets = read_targets(fields.mapping("targets"), problems, path.parent)
    fields.finish()
    if network_node is None:
        if not fields.has("network"):
            problems.add("the file needs 'network'", root.position, help="it holds `input:` and `layers:`")
        problems.raise_if_any()
        raise BadInputError("'network' is empty", position=root.position)
    spec = read_network(network_node, problems, path.stem)
    graph = build_graph(spec, problems)
    arrays = {}
    if source is not None or not fields.has("weights"):  # else `weights:` itself was wrong, and is reported
        arrays = collect_weights(graph.wanted, source, problems, network_node.position, load=load_weights)
    _check_labels(graph, spec.labels, spec.labels_position, problems)
    problems.raise_if_any()
    builder = graph.builder
    for state in graph.states:
        tensor = builder.tensors[state.name]
        stored = arrays.pop(state.key, None)
        first = filled(tensor.shape, state.initial or 0.0, tensor.quantization) if stored is None else stored
        builder.keep(state.name, state.next, first)
    builder.weights.update(arrays)
    _set_rounding(builder, quantization, problems)
    asked = quantization.storage if quantization is not None else "plain"
    set_storage(builder, graph.storage, asked, graph.positions, problems, loaded=load_weights)
    problems.raise_if_any()
    return NetFile(
        builder.build(graph.outputs, spec.labels),
        path,
        budgets,
        quantization,
        spec.title,
        spec.paper,
        spec.version,
        spec.license,
        MappingProxyType(graph.positions),
        load_weights,
        weight_files=(source.path,) if isinstance(source, FileSource) else (),
    )


def _check_schema(fields: Fields) -> None:
    node = fields.require("dscompile", str(SCHEMA))
    if node is None:
        return
    version = fields.integer_of("dscompile", node, 1)
    if version != SCHEMA:
        help = f"this dscompile reads schema {SCHEMA}; a newer one may read this file"
        fields.problems.add(f"unknown schema {version}", node.position, help=help)


def _weight_source(fields: Fields, directory: Path, override: WeightSource | None, text: str) -> WeightSource | None:
    """`weights: {file: NAME}` or `weights: {seed: N}`; checked, but not looked for, if `override` replaces it.

    `text` is that of the whole net.yaml.
    """
    node = fields.mapping("weights")
    if node is None:
        return override
    problems = fields.problems
    inner = Fields("weights", node, problems)
    file, seed = inner.take("file"), inner.take("seed")
    inner.finish()
    if (file is None) == (seed is None):
        message = "weights need 'file' or 'seed'" if file is None else "give 'file' or 'seed', not both"
        problems.add(message, node.position, help="`{file: NAME.npz}`, or `{seed: 7}` for random ones")
        return None
    if seed is not None:
        return override or SeededSource(inner.integer_of("seed", seed, 0, MAX_SEED))
    assert file is not None
    name = inner.text_of("file", file)
    if override is not None:
        return override
    path = file_beside(directory, written_with(directory, name, text.encode()), file.position, problems)
    return FileSource(path, file.position) if path is not None else None


def _set_rounding(builder: NetworkBuilder, settings: QuantizationSettings | None, problems: Problems) -> None:
    """The rounding of a network that is int8 already: that of the section `quantization:`, by default TFLite's."""
    if all(tensor.dtype not in INTEGER_RANGES for tensor in builder.tensors.values()):
        if settings is not None and settings.storage != "plain":
            message = "storage is for int8 networks; this one is float32"
            problems.add(message, settings.position, help="`weights: int4` or `sparsity: 2:4` asks for such weights")
        return
    builder.rounding = settings.rounding if settings is not None else "tflite"
    if settings is None:
        return
    if settings.calibration is not None:
        message = "calibration is for float32 networks; this one is int8 already"
        problems.add(message, settings.position, help="remove 'calibration'")
    if settings.weights is not None or settings.sparsity is not None or settings.layers:
        message = "'weights', 'sparsity' and 'layers' are for float32 networks; this one is int8 already"
        problems.add(message, settings.position, help="`storage: auto` packs weights that fit")


def _check_labels(graph: Graph, labels: tuple[str, ...], position: Position | None, problems: Problems) -> None:
    """Labels name the elements of the first output."""
    if labels and graph.outputs and graph.outputs[0] in graph.builder.tensors:
        elements = graph.builder.tensors[graph.outputs[0]].elements
        if len(labels) != elements:
            problems.add(
                f"{len(labels)} labels for the {elements} elements of output '{graph.outputs[0]}'",
                position,
                help="YAML reads unquoted commas as separators: quote labels that hold one",
            )
