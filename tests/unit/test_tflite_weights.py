"""Weights that TFLite files store otherwise than the operators read them: float16, sparse, int8 for float32."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import dscompile
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.frontend.tflite.sparse import Level, Sparsity, densify
from tests.import_onnx_models import op_names
from tests.import_tflite_models import ModelMaker, assert_equals_litert, checked, randoms, saved


def dense_maker(inputs=8, outputs=12):
    maker = ModelMaker()
    maker.tensor("x", (1, inputs))
    maker.tensor("y", (1, outputs))
    return maker


def scattered(rows, columns, seed=3):
    """Few values, some rows without any."""
    values = randoms(rows, columns, seed=seed)
    values[np.random.default_rng(seed).random((rows, columns)) < 0.7] = 0
    values[2] = 0
    return values


def test_float16_weights_behind_dequantize_are_constants(tmp_path):
    maker = dense_maker()
    maker.constant("half", randoms(12, 8).astype(np.float16))
    maker.tensor("w", (12, 8))
    maker.operator("DEQUANTIZE", "half", "w")
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    network = checked(maker, tmp_path)
    assert op_names(network) == ["Dense"]
    np.testing.assert_array_equal(network.weights["y.kernel"], randoms(12, 8).astype(np.float16).T)


@pytest.mark.parametrize(("scales", "zeros"), [([0.25], [3]), (list(np.linspace(0.1, 1.2, 12)), [0] * 12)])
def test_int8_weights_behind_dequantize_are_constants(scales, zeros, tmp_path):
    maker = dense_maker()
    values = np.random.default_rng(1).integers(-128, 128, (12, 8)).astype(np.int8)
    maker.quantized("q", (), scales, zeros, values=values)
    maker.tensor("w", (12, 8))
    maker.operator("DEQUANTIZE", "q", "w")
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    checked(maker, tmp_path)


def test_dequantize_of_a_constant_needs_scales_that_fit(tmp_path):
    maker = dense_maker()
    maker.constant("bare", np.ones((12, 8), np.int8))
    maker.quantized("odd", (), [0.5, 0.25], values=np.ones((12, 8), np.int8))
    for name, given in (("w", "bare"), ("v", "odd")):
        maker.tensor(name, (12, 8))
        maker.operator("DEQUANTIZE", given, name)
    maker.tensor("z", (1, 12))
    maker.operator("FULLY_CONNECTED", "x w _", "z", options="FullyConnected")
    maker.operator("FULLY_CONNECTED", "x v _", options="FullyConnected")
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(saved(maker.content(outputs="y z"), tmp_path))
    assert [found.message for found in caught.value.diagnostics] == [
        "DEQUANTIZE: constant 'bare' is int8 without a scale",
        "DEQUANTIZE: constant 'odd' has 2 scales along axis 0 of [12, 8]",
    ]


@pytest.mark.parametrize("block", [(), (4, 1), (1, 4), (2, 2)])
def test_sparse_weights_equal_litert(block, tmp_path):
    maker = dense_maker()
    values = scattered(12, 8)
    maker.sparse("s", values, block)
    maker.tensor("w", (12, 8))
    maker.operator("DENSIFY", "s", "w")
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    network = checked(maker, tmp_path)
    np.testing.assert_array_equal(network.weights["y.kernel"], values.T)


def test_sparse_float16_weights_equal_litert(tmp_path):
    maker = dense_maker()
    maker.sparse("s", scattered(12, 8).astype(np.float16))
    maker.tensor("half", (12, 8), "float16")
    maker.tensor("w", (12, 8))
    maker.operator("DENSIFY", "s", "half")
    maker.operator("DEQUANTIZE", "half", "w")
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    checked(maker, tmp_path)


def test_a_walk_may_visit_columns_before_rows():
    dense = scattered(4, 6)
    columns = [np.nonzero(dense[:, column])[0] for column in range(6)]
    segments = np.cumsum([0, *(len(found) for found in columns)])
    levels = (Level(6), Level(0, segments, np.concatenate(columns)))
    values = np.concatenate([dense[found, column] for column, found in enumerate(columns)])
    np.testing.assert_array_equal(densify(values, (4, 6), Sparsity((1, 0), (), levels)), dense)


ONE = np.ones(1, np.float32)
DAMAGED = [
    (Sparsity((0, 0), (), (Level(2), Level(3))), ONE, "its order [0, 0] does not fit 2 axes and 0 blocks"),
    (Sparsity((0, 1), (), (Level(2),)), ONE, "its order [0, 1] does not fit 2 axes"),
    (Sparsity((0, 1, 2), (5,), (Level(2), Level(3), Level(1))), ONE, "its blocks lie in axes [5] of 2"),
    (Sparsity((0, 1, 2), (1,), (Level(2), Level(3), Level(2))), ONE, "blocks of 2 do not divide axis 1 of [2, 3]"),
    (Sparsity((0, 1), (), (Level(3), Level(2))), ONE, "a dense level has 3 positions instead of 2"),
    (Sparsity((0, 1), (), (Level(2), Level(3))), ONE, "6 places for 1 values"),
    (Sparsity((0, 1), (), (Level(2), Level(0, np.array([0, 1]), np.array([0])))), ONE, "its segments end too early"),
    (
        Sparsity((0, 1), (), (Level(2), Level(0, np.array([0, 1, 5]), np.array([0])))),
        ONE,
        "its segments do not fit its indices",
    ),
    (
        Sparsity((0, 1), (), (Level(2), Level(0, np.array([0, 1, 1]), np.array([3])))),
        ONE,
        "an index of it lies outside of 3",
    ),
    (
        Sparsity((0, 1), (), (Level(2), Level(0, np.array([0, 7, 14]), np.zeros(14, np.int64)))),
        ONE,
        "axis 1 has more entries than the tensor elements",
    ),
]


@pytest.mark.parametrize(("sparsity", "values", "message"), DAMAGED)
def test_sparse_tensors_that_contradict_themselves_are_refused(sparsity, values, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace("]", r"\]")):
        densify(values, (2, 3), sparsity)


def test_a_sparse_tensor_of_a_monstrous_shape_is_refused():
    with pytest.raises(ValueError, match="is too large"):
        densify(ONE, (1 << 20, 1 << 20), Sparsity((0, 1), (), (Level(1 << 20), Level(1 << 20))))


def test_a_file_with_a_damaged_sparse_tensor_is_refused(tmp_path):
    maker = dense_maker()
    maker.sparse("s", scattered(12, 8))
    maker.graph.tensors[-1].sparsity.traversalOrder = [1, 0]
    maker.tensor("w", (12, 8))
    maker.operator("DENSIFY", "s", "w")
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    with pytest.raises(BadInputError, match="sparse tensor 's' contradicts itself: a dense level has 12 positions"):
        import_tflite(saved(maker.content(), tmp_path))
    maker.model.buffers[-1].data = maker.model.buffers[-1].data[:-1]
    with pytest.raises(BadInputError, match=r"sparse tensor 's', float32 \[12, 8\], has \d+ B of data"):
        import_tflite(saved(maker.content(), tmp_path))


def test_a_sparse_level_without_indices_holds_nothing(tmp_path):
    maker = dense_maker()
    maker.sparse("s", scattered(12, 8))
    maker.graph.tensors[-1].sparsity.dimMetadata[1].arraySegmentsType = schema.SparseIndexVector.NONE
    maker.graph.tensors[-1].sparsity.dimMetadata[1].arraySegments = None
    maker.operator("FULLY_CONNECTED", "x s _", options="FullyConnected")
    with pytest.raises(BadInputError, match="sparse tensor 's' contradicts itself: its segments end too early"):
        import_tflite(saved(maker.content(), tmp_path))


def dynamic_range_maker():
    rng = np.random.default_rng(4)
    maker = ModelMaker()
    maker.tensor("x", (1, 9, 7, 6))
    maker.tensor("c", (1, 9, 7, 8))
    maker.tensor("d", (1, 9, 7, 8))
    maker.tensor("y", (1, 5))
    scales = np.linspace(0.002, 0.01, 8)
    maker.quantized("w", (), scales, [0] * 8, values=rng.integers(-127, 128, (8, 1, 1, 6)).astype(np.int8))
    maker.quantized("k", (), scales, [0] * 8, values=rng.integers(-127, 128, (1, 3, 3, 8)).astype(np.int8), axis=3)
    maker.quantized("v", (), 0.004, values=rng.integers(-127, 128, (5, 504)).astype(np.int8))
    maker.constant("b", randoms(8))
    maker.operator("CONV_2D", "x w b", "c", options="Conv2D", strideH=1, strideW=1, fusedActivationFunction=1)
    fields = {"strideH": 1, "strideW": 1, "depthMultiplier": 1}
    maker.operator("DEPTHWISE_CONV_2D", "c k b", "d", options="DepthwiseConv2D", **fields)
    maker.operator("FULLY_CONNECTED", "d v _", options="FullyConnected")
    return maker


def test_dynamic_range_weights_become_float32_and_the_user_is_told(tmp_path):
    path = saved(dynamic_range_maker().content(), tmp_path)
    net = load_network(path)
    assert not net.network.is_quantized
    assert net.dynamic_range == ("c", "d", "y")
    assert net.notes == (
        "'c' and 2 more layers: int8 weights for float32 activations (dynamic-range quantization), which TFLite "
        "quantizes anew for each inference; here the weights are float32, and so is all arithmetic",
    )
    assert_equals_litert(net.network, path, relative=5e-2, seeds=(1, 2, 3))


def test_verify_grants_litert_its_rounding_of_activations(tmp_path):
    path = saved(dynamic_range_maker().content(), tmp_path)
    model = dscompile.build(path, "c99", tmp_path / "c99")
    assert model.notes == load_network(path).notes
    oracle, _selftest, litert, others = dscompile.verify(model.path, against=path).checks
    assert litert.ok
    assert 1e-4 < litert.max_rel_error < 5e-2
    assert max(oracle.max_rel_error, others.max_rel_error) < 1e-4


def test_import_tells_of_dynamic_range_layers(tmp_path):
    path = saved(dynamic_range_maker().content(), tmp_path)
    imported = dscompile.import_model(path, tmp_path / "net.yaml")
    assert imported.notes == load_network(path).notes
    assert load_network(imported.path).notes == ()


def test_one_dynamic_range_layer_is_named_alone(tmp_path):
    maker = dense_maker()
    maker.quantized("w", (), 0.1, values=np.ones((12, 8), np.int8))
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    (note,) = load_network(saved(maker.content(), tmp_path)).notes
    assert note.startswith("'y': int8 weights for float32 activations")


def test_int8_weights_without_a_scale_are_refused(tmp_path):
    maker = dense_maker()
    maker.constant("w", np.ones((12, 8), np.int8))
    maker.operator("FULLY_CONNECTED", "x w _", options="FullyConnected")
    with pytest.raises(UnsupportedError, match="FULLY_CONNECTED: the weights is int8; only float32 is supported"):
        import_tflite(saved(maker.content(), tmp_path))


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("name", ["face_detection_short_range", "hand_landmark_lite", "object_detection_3d_camera"])
def test_real_models_of_float16_weights_equal_litert(name, model_path):
    path = model_path(f"{name}.tflite")
    assert_equals_litert(import_tflite(path), path, relative=1e-5)
