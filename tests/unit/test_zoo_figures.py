"""The zoo beside the figures of the papers and beside exports of other implementations.

Papers print rounded figures, so each is held to half a unit of its last digit, plus what their way of counting differs
from ours. We count the multiply-accumulates of convolutions and dense layers, and every stored number with batch norm
folded: one bias per channel. Where a network's authors count otherwise, the line says how.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.frontend.netfile import netfile_from_text
from dscompile.frontend.zoo import list_zoo, zoo_yaml
from dscompile.frontend.zoo_scaling import parse_resolution
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D, Dense
from dscompile.report import text
from tests.models import model_path


def network_of(name: str, width: float | None = None, resolution: str | None = None) -> Network:
    text = zoo_yaml(name, width, None if resolution is None else parse_resolution(resolution))
    return netfile_from_text(text, Path("zoo.yaml"), load_weights=False).network


def macs(network: Network) -> int:
    return sum(layer_macs(network, layer) for layer in network.layers)


def parameters(network: Network) -> int:
    return sum(layer_parameters(network, layer) for layer in network.layers)


def folded_channels(network: Network) -> int:
    """Channels with a bias that stands for a batch norm: those of convolutions, squeeze-and-excite aside."""
    return sum(
        network.shape(la.output)[3]
        for la in network.layers
        if isinstance(la.op, Conv2D) and network.has_weight(la, "bias") and ".squeeze." not in la.name
    )


V1, V2, V3 = "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"
# Network, width, resolution, printed figure, half of its last digit, other counting (as part of the figure), source.
MACS = [
    (V1, None, None, 569e6, 0.5e6, 0, "arXiv:1704.04861, table 8"),
    (V1, 0.75, None, 325e6, 0.5e6, 0, "arXiv:1704.04861, table 6"),
    (V1, 0.5, None, 149e6, 0.5e6, 0, "arXiv:1704.04861, table 6"),
    (V1, 0.25, None, 41e6, 0.5e6, 0, "arXiv:1704.04861, table 6"),
    (V1, None, "192", 418e6, 0.5e6, 0, "arXiv:1704.04861, table 7"),
    (V1, None, "160", 290e6, 0.5e6, 0.001, "arXiv:1704.04861, table 7 (290.7 is cut, not rounded)"),
    (V1, None, "128", 186e6, 0.5e6, 0, "arXiv:1704.04861, table 7"),
    (V2, None, None, 300e6, 0.5e6, 0.001, "arXiv:1801.04381, table 4 (300.8 is cut, not rounded)"),
    (V2, 1.4, None, 585e6, 0.5e6, 0.004, "arXiv:1801.04381, table 4 (the authors' released model has 582)"),
    (V3, None, None, 219e6, 0.5e6, 0.01, "arXiv:1905.02244, table 3 (the authors' released model has 217)"),
    (V3, 0.75, None, 155e6, 0.5e6, 0, "arXiv:1905.02244, table 3"),
    ("mobilenet_v3_small", None, None, 56e6, 0.5e6, 0.001, "arXiv:1905.02244, table 3 (56.5 is cut, not rounded)"),
    ("mobilenet_v3_small", 0.75, None, 44e6, 0.5e6, 0.003, "arXiv:1905.02244, table 3"),
    ("efficientnet_b0", None, None, 390e6, 5e6, 0, "arXiv:1905.11946, table 2"),
    ("efficientnet_lite0", None, None, 407e6, 0.5e6, 0.055, "its README (element-wise operations count as well)"),
    ("mnasnet_a1", None, None, 312e6, 0.5e6, 0, "arXiv:1807.11626, table 1"),
    (
        "mixnet_s",
        None,
        None,
        256e6,
        0.5e6,
        0.065,
        "arXiv:1907.09595, ImageNet results (with element-wise ones)",
    ),
    ("shufflenet_v1", None, None, 137e6, 0.5e6, 0, "arXiv:1707.01083, table 1, g = 3"),
    ("shufflenet_v1", 0.25, None, 13e6, 0.5e6, 0, "arXiv:1707.01083, table 2"),
    ("shufflenet_v1", 0.5, None, 38e6, 0.5e6, 0, "arXiv:1707.01083, table 2; the authors' README"),
    ("shufflenet_v1", 1.5, None, 292e6, 0.5e6, 0, "the authors' README, group=3"),
    ("shufflenet_v1", 2.0, None, 524e6, 0.5e6, 0, "the authors' README, group=3"),
    ("shufflenet_v2", 0.5, None, 41e6, 0.5e6, 0.001, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", None, None, 146e6, 0.5e6, 0.005, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", 1.5, None, 299e6, 0.5e6, 0.01, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", 2.0, None, 591e6, 0.5e6, 0.013, "arXiv:1807.11164, table 5"),
    (
        *("deeplab_v3_mobilenet_v2", None, None, 5.8e9, 0.05e9, 0.068),
        "arXiv:1801.04381, table 7 (0.4 G more than the 2.75 G beside it plus 33 x 33 times the parameters of ASPP)",
    ),
    ("mcunet_in3", None, None, 81.8e6, 0.05e6, 0, "the authors' list of models, mcunet-in3 (or mcunet-320kB)"),
    (
        "ds_cnn",
        None,
        None,
        5.4e6 / 2,
        0.025e6,
        0.008,
        "arXiv:1711.07128, best networks: operations, two to a MAC, biases too",
    ),
    ("ds_cnn_m", None, None, 19.8e6 / 2, 0.025e6, 0.008, "arXiv:1711.07128, best networks"),
    ("ds_cnn_l", None, None, 56.9e6 / 2, 0.025e6, 0.005, "arXiv:1711.07128, best networks"),
]


@pytest.mark.parametrize(
    ("name", "width", "resolution", "figure", "half_digit", "counting", "source"),
    MACS,
    ids=[f"{row[0]}-{row[1] or 1}-{row[2] or 'full'}" for row in MACS],
)
def test_multiply_adds_are_those_of_the_paper(name, width, resolution, figure, half_digit, counting, source):
    assert macs(network_of(name, width, resolution)) == pytest.approx(figure, abs=half_digit + counting * figure), (
        source
    )


# As above; `per_channel` is what the source counts of batch norm: 0 nothing, 1 its bias, 2 its scale as well.
PARAMETERS = [
    (V1, None, 4.2e6, 0.05e6, 1, "arXiv:1704.04861, table 8"),
    (V1, 0.75, 2.6e6, 0.05e6, 1, "arXiv:1704.04861, table 6"),
    (V1, 0.5, 1.3e6, 0.05e6, 1, "arXiv:1704.04861, table 6"),
    (V1, 0.25, 0.5e6, 0.05e6, 1, "arXiv:1704.04861, table 6"),
    (V2, None, 3.4e6, 0.075e6, 0, "arXiv:1801.04381, table 4 (3.47, cut)"),
    (V2, 1.4, 6.06e6, 0.005e6, 0, "the authors' released model; arXiv:1801.04381, table 4, prints 6.9"),
    (V3, None, 5.4e6, 0.075e6, 1, "arXiv:1905.02244, table 3 (5.47, cut)"),
    (V3, 0.75, 4.0e6, 0.05e6, 1, "arXiv:1905.02244, table 3"),
    ("mobilenet_v3_small", None, 2.5e6, 0.05e6, 1, "arXiv:1905.02244, table 3"),
    ("mobilenet_v3_small", 0.75, 2.0e6, 0.05e6, 1, "arXiv:1905.02244, table 3"),
    ("xception", None, 22_855_952, 0, 2, "arXiv:1610.02357, table 3: to the last one"),
    ("efficientnet_b0", None, 5.3e6, 0.05e6, 1, "arXiv:1905.11946, table 2"),
    ("efficientnet_lite0", None, 4.7e6, 0.05e6, 2, "its README"),
    ("mnasnet_a1", None, 3.9e6, 0.05e6, 1, "arXiv:1807.11626, table 1"),
    ("mixnet_s", None, 4.1e6, 0.05e6, 1, "arXiv:1907.09595, ImageNet results"),
    ("shufflenet_v1", 0.5, 0.7e6, 0.05e6, 1, "the authors' README, group=3"),
    ("shufflenet_v1", None, 1.9e6, 0.05e6, 1, "the authors' README, group=3"),
    ("shufflenet_v1", 1.5, 3.4e6, 0.05e6, 1, "the authors' README, group=3"),
    ("shufflenet_v1", 2.0, 5.4e6, 0.05e6, 1, "the authors' README, group=3"),
    ("shufflenet_v2", 0.5, 1.4e6, 0.05e6, 1, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", None, 2.3e6, 0.05e6, 1, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", 1.5, 3.5e6, 0.05e6, 1, "arXiv:1807.11164, table 5"),
    ("shufflenet_v2", 2.0, 7.4e6, 0.05e6, 1, "arXiv:1807.11164, table 5"),
    ("fast_scnn", None, 1.11e6, 0.005e6, 0, "arXiv:1902.04502, sections 1 and 4"),
    ("deeplab_v3_mobilenet_v2", None, 4.52e6, 0.005e6, 2, "arXiv:1801.04381, table 7"),
    ("mcunet_in3", None, 0.74e6, 0.005e6, 2, "the authors' list of models, mcunet-in3 (or mcunet-320kB)"),
]


@pytest.mark.parametrize(
    ("name", "width", "figure", "half_digit", "per_channel", "source"),
    PARAMETERS,
    ids=[f"{row[0]}-{row[1] or 1}" for row in PARAMETERS],
)
def test_parameters_are_those_of_the_paper(name, width, figure, half_digit, per_channel, source):
    network = network_of(name, width)
    counted = parameters(network) + (per_channel - 1) * folded_channels(network)
    assert counted == pytest.approx(figure, abs=half_digit), source


@pytest.mark.parametrize(("name", "figure_kb"), [("ds_cnn", 38.6), ("ds_cnn_m", 189.2), ("ds_cnn_l", 497.6)])
def test_memory_of_ds_cnns_is_that_of_hello_edge(name, figure_kb):
    # arXiv:1711.07128, best networks: a byte for every weight, and for the two images of the layer with the largest.
    network = network_of(name)
    images = max(network.tensor(la.inputs[0]).elements + network.tensor(la.output).elements for la in network.layers)
    assert (parameters(network) + images) / 1000 == pytest.approx(figure_kb, abs=0.05)


def test_the_table_of_the_docs_has_what_is_counted():
    page = (Path(__file__).resolve().parents[2] / "docs" / "zoo.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+ x \d+) \| ([\d ]+) \| .* \| ([\d ]+) \| .* \| .* \|$", page, re.MULTILINE)
    expected = [
        (entry.name, "{} x {}".format(*entry.input.shape[1:3]), text.number(entry.macs), text.number(entry.parameters))
        for entry in list_zoo()
    ]
    assert rows == expected


def test_efficientnet_lite_is_b0_without_squeeze_and_excite():
    b0, lite = network_of("efficientnet_b0"), network_of("efficientnet_lite0")
    squeezes = [la for la in b0.layers if ".squeeze." in la.name]
    assert macs(lite) == macs(b0) - sum(layer_macs(b0, la) for la in squeezes)
    assert parameters(lite) == parameters(b0) - sum(layer_parameters(b0, la) for la in squeezes)


def test_deeplab_without_its_pyramid_is_the_other_row_of_the_table():
    # arXiv:1801.04381, table 7, MNet V2* with OS 16 and without ASPP: 2.11 M parameters, 2.75 B multiply-adds. Left out
    # are the three atrous convolutions, and their channels in what reads them.
    network = network_of("deeplab_v3_mobilenet_v2")
    atrous = [la for la in network.layers if isinstance(la.op, Conv2D) and la.op.dilation > (2, 2)]
    assert [la.name for la in atrous] == ["aspp6", "aspp12", "aspp18"]
    rest = 3 * 256 * 256
    left = macs(network) - sum(layer_macs(network, la) for la in atrous) - 33 * 33 * rest
    assert left == pytest.approx(2.75e9, abs=0.01e9)
    left = parameters(network) - sum(layer_parameters(network, la) for la in atrous) - rest + folded_channels(network)
    assert left == pytest.approx(2.11e6, abs=0.02e6)


def convolutions(network: Network) -> Counter[tuple[object, ...]]:
    """How many there are of each: kernel, stride, dilation, channels and size of the image it makes."""
    found: Counter[tuple[object, ...]] = Counter()
    for layer in network.layers:
        inputs, output = network.shape(layer.inputs[0]) if layer.inputs else (), network.shape(layer.output)
        match layer.op:
            case Conv2D() as op if inputs[1:3] == (1, 1):  # of squeeze-and-excite, or a dense layer in disguise
                found[("dense", inputs[3], op.out_channels)] += 1
            case Conv2D() as op:
                found[(op.kernel, op.stride, op.dilation, op.groups, inputs[3], output)] += 1
            case Dense() as op:
                found[("dense", inputs[1], op.units)] += 1
    return found


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "export"),
    [
        (V1, "mobilenetv1_100"),
        (V2, "mobilenetv2_100"),
        (V3, "mobilenetv3_large_100"),
        ("mobilenet_v3_small", "mobilenetv3_small_100.raw"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("shufflenet_v2", "shufflenetv2_x1_0"),
    ],
)
def test_convolutions_are_those_of_an_independent_export(name, export):
    ours = network_of(name)
    theirs = load_network(model_path(f"onnx/{export}.onnx"), load_weights=False).network
    assert convolutions(ours) == convolutions(theirs)
    assert (macs(ours), parameters(ours)) == (macs(theirs), parameters(theirs))


@pytest.mark.models
def test_fast_scnn_has_the_convolutions_of_an_export_of_half_its_resolution():
    ours = network_of("fast_scnn", resolution="512x1024")
    theirs = load_network(model_path("onnx/fast_scnn.onnx"), load_weights=False).network
    assert convolutions(ours) == convolutions(theirs)
    assert (macs(ours), parameters(ours)) == (macs(theirs), parameters(theirs))


@pytest.mark.models
def test_deeplab_is_an_export_whose_pyramid_is_separable():
    text = zoo_yaml("deeplab_v3_mobilenet_v2", None, (257, 257)).replace(
        "- conv:      {name: aspp", "- separable: {name: aspp"
    )
    ours = netfile_from_text(text, Path("zoo.yaml"), load_weights=False).network
    theirs = load_network(model_path("onnx/deeplabv3_mobilenetv2.onnx"), load_weights=False).network
    assert convolutions(ours) == convolutions(theirs)
    assert (macs(ours), parameters(ours)) == (macs(theirs), parameters(theirs))


@pytest.mark.models
def test_blazeface_has_the_convolutions_of_mediapipes_model():
    tflite = pytest.importorskip("tflite")
    model = tflite.Model.GetRootAsModel(model_path("face_detection_short_range.tflite").read_bytes(), 0)
    graph = model.Subgraphs(0)
    theirs: Counter[tuple[int, ...]] = Counter()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            kernel = np.asarray(graph.Tensors(operator.Inputs(1)).ShapeAsNumpy())
            output = np.asarray(graph.Tensors(operator.Outputs(0)).ShapeAsNumpy())
            theirs[(int(kernel[1]), int(np.prod(kernel)), *map(int, output))] += 1
    ours = Counter(
        (la.op.kernel[0], network.weights[f"{la.name}.kernel"].size, *network.shape(la.output))
        for network in [network_of("blazeface_short_range")]
        for la in network.layers
        if isinstance(la.op, Conv2D)
    )
    assert ours == theirs
