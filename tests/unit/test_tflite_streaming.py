"""Streaming TFLite models: variables as states, beside what LiteRT keeps in them."""

import numpy as np
import pytest
from ai_edge_litert import interpreter

import dscompile
from dscompile.api.reference import OracleStream
from dscompile.errors import BadInputError
from dscompile.frontend.load import load_network
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.frontend.tflite.variables import short_variable_name
from dscompile.frontend.writer import write_netfile
from tests.import_onnx_models import op_names
from tests.import_tflite_models import ModelMaker, int32, randoms, saved
from tests.native import TARGETS, target_here

FIRST = randoms(1, 4, 1, 6, seed=9)


class LiteRt:
    """LiteRT with its reference kernels, which keeps variables from call to call."""

    def __init__(self, path):
        kernels = interpreter.OpResolverType.BUILTIN_REF
        self.runner = interpreter.Interpreter(str(path), experimental_op_resolver_type=kernels)
        self.runner.allocate_tensors()

    def step(self, x):
        self.runner.set_tensor(self.runner.get_input_details()[0]["index"], x)
        self.runner.invoke()
        return [self.runner.get_tensor(detail["index"]) for detail in self.runner.get_output_details()]


def assert_streams_agree(path, count=8):
    network = import_tflite(path)
    stream, litert = OracleStream(network), LiteRt(path)
    (name,) = network.user_inputs
    for seed in range(count):
        x = randoms(*network.tensor(name).border_shape, seed=seed)
        want, got = litert.step(x), stream.step({name: x})
        for output, values in zip(network.user_outputs, want, strict=True):
            np.testing.assert_allclose(got[output], values, rtol=1e-5, atol=1e-5)
    return network


def ring_maker(first=FIRST):
    """Rows of a stream, joined with those that a variable keeps."""
    maker = ModelMaker()
    maker.tensor("x", (1, 1, 1, 6))
    for name, rows in (("old", 4), ("all", 5), ("kept", 4)):
        maker.tensor(name, (1, rows, 1, 6))
    maker.tensor("y", (1, 1, 1, 6))
    for name, values in (("begin", (0, 1, 0, 0)), ("size", (1, 4, 1, 6))):
        maker.constant(name, int32(*values))
    if first is not None:
        maker.initializer({"model/rows/states": first})
    maker.variable("handle", "model/rows/states")
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("CONCATENATION", "old x", "all", "Concatenation", axis=1)
    maker.operator("SLICE", "all begin size", "kept")
    maker.operator("ASSIGN_VARIABLE", "handle kept", "")
    maker.constant("w", randoms(1, 5, 1, 6))
    fields = {"padding": 1, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
    maker.constant("b", randoms(6))
    maker.operator("DEPTHWISE_CONV_2D", "all w b", "y", "DepthwiseConv2D", **fields)
    return maker


def error_of(maker, folder, outputs="y"):
    with pytest.raises(BadInputError) as caught:
        import_tflite(saved(maker.content(outputs=outputs), folder))
    return [found.message for found in caught.value.diagnostics]


def test_a_ring_of_rows_equals_litert(tmp_path):
    network = assert_streams_agree(saved(ring_maker().content(), tmp_path))
    (state,) = network.states
    assert (state.name, network.shape(state.name)) == ("rows", (1, 4, 1, 6))
    np.testing.assert_array_equal(state.initial, FIRST)


def test_a_variable_may_be_read_after_it_was_assigned(tmp_path):
    maker = ModelMaker()
    for name in ("x", "old", "new", "again", "y"):
        maker.tensor(name, (1, 3))
    maker.initializer({"v": np.ones((1, 3), np.float32)})
    maker.variable("handle", "v")
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("ADD", "old x", "new", "Add")
    maker.operator("ASSIGN_VARIABLE", "handle new", "")
    maker.operator("READ_VARIABLE", "handle", "again")
    maker.operator("MUL", "again old", "y", "Mul")
    assert_streams_agree(saved(maker.content(), tmp_path))


def test_a_next_state_may_be_an_output_or_the_input_too(tmp_path):
    maker = ModelMaker()
    for name in ("x", "old", "y"):
        maker.tensor(name, (1, 3))
    maker.initializer({"v": np.ones((1, 3), np.float32), "w": np.zeros((1, 3), np.float32)})
    maker.variable("handle", "v")
    maker.variable("other", "w")
    maker.tensor("before", (1, 3))
    maker.tensor("z", (1, 3))
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("READ_VARIABLE", "other", "before")
    maker.operator("ADD", "old x", "y", "Add")
    maker.operator("MUL", "before x", "z", "Mul")
    maker.operator("ASSIGN_VARIABLE", "handle y", "")
    maker.operator("ASSIGN_VARIABLE", "other x", "")
    network = assert_streams_agree(saved(maker.content(outputs="y z"), tmp_path))
    assert [state.name for state in network.states] == ["v", "w"]


def test_a_variable_that_nobody_assigns_is_a_constant(tmp_path):
    maker = ModelMaker()
    for name in ("x", "c", "y"):
        maker.tensor(name, (1, 3))
    maker.initializer({"v": randoms(1, 3)})
    maker.variable("handle", "v")
    maker.operator("READ_VARIABLE", "handle", "c")
    maker.operator("ADD", "x c", "y", "Add")
    network = assert_streams_agree(saved(maker.content(), tmp_path))
    assert network.states == ()
    assert op_names(network) == ["Constant", "Binary"]


def test_variables_that_no_output_needs_are_ignored(tmp_path):
    maker = ring_maker()
    maker.tensor("z", (1, 1, 1, 6))
    maker.operator("RELU", "x", "z")
    assert import_tflite(saved(maker.content(outputs="z"), tmp_path)).states == ()


def test_a_variable_needs_a_first_value(tmp_path):
    assert error_of(ring_maker(None), tmp_path) == [
        "READ_VARIABLE: variable 'model/rows/states' has no first value; CALL_ONCE must assign one"
    ]


def test_a_first_value_of_another_shape_is_refused(tmp_path):
    assert error_of(ring_maker(randoms(1, 3, 1, 6)), tmp_path) == [
        "READ_VARIABLE: variable 'model/rows/states' is float32 [1, 4, 1, 6], and first float32 [1, 3, 1, 6]"
    ]


def test_assignments_of_another_shape_or_scale_are_refused(tmp_path):
    maker = ring_maker()
    operator = next(each for each in maker.graph.operators if len(each.outputs) == 0 and len(each.inputs) == 2)
    operator.inputs[1] = maker.indices("all")[0]
    assert error_of(maker, tmp_path) == [
        "ASSIGN_VARIABLE: variable 'model/rows/states' is float32 [1, 4, 1, 6] in one place, float32 [1, 5, 1, 6] in "
        "another"
    ]
    maker = ModelMaker()
    for name, scale in (("x", 0.5), ("old", 0.25), ("y", 0.5)):
        maker.quantized(name, (1, 3), scale)
    maker.initializer({"v": np.zeros((1, 3), np.int8)})
    maker.variable("handle", "v")
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("ASSIGN_VARIABLE", "handle x", "")
    maker.operator("ADD", "old x", "y", "Add")
    assert error_of(maker, tmp_path) == [
        "ASSIGN_VARIABLE: variable 'v' is read with another scale or zero point than it is assigned with"
    ]


def test_odd_uses_of_variables_are_refused(tmp_path):
    maker = ModelMaker()
    for name in ("x", "old", "y"):
        maker.tensor(name, (1, 3))
    maker.constant("c", randoms(1, 3))
    maker.initializer({"v": randoms(1, 3)})
    maker.variable("handle", "v")
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("ADD", "x old", "y", "Add")
    maker.operator("ASSIGN_VARIABLE", "handle c", "")
    assert error_of(maker, tmp_path) == [
        "ASSIGN_VARIABLE: a constant is assigned to variable 'v'; only computed values are supported"
    ]
    maker.graph.operators[-1].inputs[1] = maker.indices("x")[0]
    read = next(index for index, each in enumerate(maker.graph.operators) if maker.indices("old")[0] in each.outputs)
    maker.graph.operators.insert(read, maker.graph.operators.pop())
    assert error_of(maker, tmp_path) == ["ASSIGN_VARIABLE: variable 'v' is assigned before it is read"]


def test_a_variable_without_a_handle_is_refused(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3))
    maker.tensor("old", (1, 3))
    maker.tensor("y", (1, 3))
    maker.operator("READ_VARIABLE", "x", "old")
    maker.operator("ADD", "x old", "y", "Add")
    assert error_of(maker, tmp_path) == ["READ_VARIABLE: its variable is not named by a VAR_HANDLE"]


def test_other_types_of_variables_are_refused(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 3))
    maker.tensor("old", (1, 3), "int32")
    maker.tensor("y", (1, 3))
    maker.initializer({"v": np.zeros((1, 3), np.int32)})
    maker.variable("handle", "v")
    maker.operator("READ_VARIABLE", "handle", "old")
    maker.operator("ADD", "x old", "y", "Add")
    assert "READ_VARIABLE: variable 'v' is int32; only float32 and int8 are supported" in error_of(maker, tmp_path)


def test_initializers_that_compute_are_refused(tmp_path):
    maker = ring_maker(None)
    maker.initializer({"model/rows/states": FIRST}, op="ADD")
    assert "CALL_ONCE: runs ADD before the first inference; only constants are assigned there" in error_of(
        maker, tmp_path
    )
    maker = ring_maker()
    maker.model.subgraphs[1].tensors[1].buffer = 0
    assert "CALL_ONCE: assigns what is not constant before the first inference" in error_of(maker, tmp_path)


def test_calls_of_subgraphs_that_are_not_there_are_refused(tmp_path):
    maker = ring_maker()
    maker.graph.operators[0].builtinOptions.initSubgraphIndex = 7
    assert "it calls subgraph 7, which does not exist" in error_of(maker, tmp_path)[0]


@pytest.mark.parametrize(
    ("variable", "name"),
    [("model/stream_3/states", "stream_3"), ("a/ReadVariableOp", "a"), ("states", "state"), ("", "state")],
)
def test_states_have_short_names(variable, name):
    assert short_variable_name(variable) == name


# A trained wake word


def speech(count, seed=58):
    """Features that make the wake word's probability move: slow waves, each band at a pace of its own."""
    rng = np.random.default_rng(seed)
    level, strength = rng.uniform(-128, 60), rng.uniform(5, 120)
    pace, phase, tilt = rng.uniform(0.01, 0.6, 40), rng.uniform(0, 6.3, 40), rng.uniform(-2, 2)
    times = np.arange(3 * count)[:, None]
    waves = level + strength * np.sin(pace * times + phase) + tilt * np.arange(40)
    return np.clip(np.round(waves), -128, 127).astype(np.int8).reshape(count, 1, 3, 40)


@pytest.fixture(scope="module")
def alexa(request):
    path = request.path.parents[1] / "data" / "mww_alexa.tflite"
    litert, x = LiteRt(path), speech(300)
    return path, x, np.stack([litert.step(frame)[0] for frame in x])


def differing(stream, x, want):
    return [index for index, frame in enumerate(x) if not np.array_equal(stream(frame), want[index])]


def test_the_oracle_equals_litert_over_300_frames_of_a_wake_word(alexa):
    path, x, want = alexa
    assert len(np.unique(want)) >= 8  # the answers move, so that a wrong state would show
    network = import_tflite(path)
    stream = OracleStream(network)
    (name,), (output,) = network.user_inputs, network.user_outputs
    assert [i for i, frame in enumerate(x) if not np.array_equal(stream.step({name: frame})[output], want[i])] == []


def test_standalone_c_equals_litert_over_300_frames_of_a_wake_word(alexa, tmp_path):
    path, x, want = alexa
    model = dscompile.build(path, "c99", tmp_path / "c99")
    assert differing(model.stream(), x, want) == []


@pytest.mark.slow
@pytest.mark.parametrize(("target", "frames"), [(TARGETS[0], 300), ("arm64-neon", 12), ("cortex-m4", 12)])
def test_other_targets_equal_litert_frame_by_frame(target, frames, alexa, tmp_path):
    path, x, want = alexa
    if target != "cortex-m4":
        target_here(target)
    model = dscompile.build(path, target, tmp_path / target)
    # From where the answers move on: the frames before only fill the state, as any stream does.
    start = 0 if frames == len(x) else int(np.nonzero(want.reshape(-1))[0][0]) - 6
    stream = model.stream()
    if start:
        reference = dscompile.build(path, "c99", tmp_path / "c99").stream()
        for frame in x[:start]:
            reference(frame)
        stream.restore(reference.state)
    assert differing(stream, x[start : start + frames], want[start:]) == []


def test_a_wake_word_verifies_against_its_file(alexa, tmp_path):
    path = alexa[0]
    model = dscompile.build(path, "c99", tmp_path / "c99")
    result = dscompile.verify(model.path, against=path)
    assert result.ok
    assert [check.inputs for check in result.checks] == [12, 1, 32, 32]


def test_a_wake_word_survives_its_net_yaml(alexa, tmp_path):
    path, x, want = alexa
    network = load_network(write_netfile(import_tflite(path), tmp_path)).network
    stream = OracleStream(network)
    (name,), (output,) = network.user_inputs, network.user_outputs
    assert all(np.array_equal(stream.step({name: frame})[output], want[i]) for i, frame in enumerate(x[:40]))
