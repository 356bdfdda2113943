"""State: what networks keep from one inference to the next, from the graph to the artifact."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import dscompile
from dscompile import toolchain
from dscompile.api.models import Stream as ModelStream
from dscompile.errors import BadInputError, UnsupportedError, UsageError
from dscompile.frontend.writer import write_netfile
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import Binary, Conv2D, Reshape, Slice
from dscompile.ir.state import STATE_ALIGNMENT, filled, initial_bytes, slots
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle import Stream
from dscompile.passes import canonicalize
from dscompile.plan.mcu.memory import plan_mcu_program
from dscompile.plan.mcu.small_kernels import MoveKernel
from dscompile.plan.planning import plan
from dscompile.plan.states import early_writes
from dscompile.run.arrays import fresh_state
from dscompile.run.native import NativeModel
from dscompile.target import find_target
from dscompile.toolchain import find_toolchain
from tests.artifacts import reseal
from tests.native import TARGETS, target_here
from tests.streaming import NETWORKS, delay_line, differing_frames, frames, gated, ring, swapped, total

C99 = find_target("c99")


def built(network, target, folder):
    return dscompile.build(write_netfile(network, folder), target, folder / target)


# The graph


def test_a_stream_goes_on_where_it_was():
    stream = Stream(total())
    x = np.ones((1, 2, 3, 4), np.float32)
    sums = [stream.step({"x": x})["both"][0, 0, 0, 0] for _ in range(3)]
    assert sums == [1.5, 2.5, 3.5]
    assert stream.state["sum"][0, 0, 0, 0] == 3.5


def test_states_stand_behind_what_the_user_gives_and_gets():
    network = ring()
    assert (network.inputs, network.outputs) == (("x", "last"), ("y", "kept"))
    assert (network.user_inputs, network.user_outputs) == (("x",), ("y",))


def test_slots_are_aligned_and_hold_the_first_values():
    network = delay_line()
    one, two = slots(network.states, network.tensors)
    assert (one.offset_bytes, two.offset_bytes) == (0, STATE_ALIGNMENT)
    block = initial_bytes((one, two))
    assert block.view(np.float32).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert fresh_state((one, two)).ctypes.data % STATE_ALIGNMENT == 0


def test_a_number_fills_an_int8_state_as_it_quantizes():
    assert filled((2,), 1.0, Quantization((0.5,), 3)).tolist() == [5, 5]
    assert filled((1,), 1e9, Quantization((0.5,), 3)).tolist() == [127]
    assert filled((1,), 0.25, None).dtype == np.float32


def broken(**changes):
    network = total()
    state = replace(
        network.states[0], **{key: value for key, value in changes.items() if key in ("name", "next", "initial")}
    )
    rest = {key: value for key, value in changes.items() if key not in ("name", "next", "initial")}
    return replace(network, states=(state,), **rest)


NARROW = Tensor("sum", (1, 2, 3, 3))
REFUSED = [
    (broken(name="y"), "state 'y' must be an input of the network, once"),
    (broken(next="x"), "state 'sum' becomes 'x', which must be the next value of it alone"),
    (broken(initial=np.zeros(3, np.float32)), r"state 'sum' must begin as float32 \[1, 2, 3, 4\]"),
    (
        replace(total(), tensors={**total().tensors, "sum": NARROW}),
        r"state 'sum' is float32 \[1, 2, 3, 3\], and becomes float32 \[1, 2, 3, 4\]",
    ),
    (
        replace(total(), tensors={**total().tensors, "sum": Tensor("sum", (1, 2, 3, 4), border="nchw")}),
        "state 'sum' is kept channels last; it has no layout",
    ),
    (
        replace(
            ring(int8=True),
            tensors={**ring(int8=True).tensors, "last": Tensor("last", (1, 4, 1, 6), "int8", Quantization((1.0,)))},
        ),
        "state 'last' becomes 'kept', which has another scale or zero point",
    ),
    (
        replace(total(), tensors={**total().tensors, "sum": Tensor("sum", (1, 2, 3, 4), "int32")}),
        "state 'sum' is int32; it must be float32 or int8",
    ),
    (replace(total(), inputs=("sum",)), "the network has no input but its state"),
    (replace(total(), outputs=("grown",)), "the network has no output but its state"),
    (
        replace(
            total(),
            outputs=("both", "grown", "none"),
            states=(*total().states, replace(total().states[0], name="x", next="none")),
        ),
        "output 'none' is made by no layer",
    ),
]


@pytest.mark.parametrize(("network", "message"), REFUSED)
def test_states_that_do_not_fit_are_refused(network, message):
    with pytest.raises(BadInputError, match=message):
        network.validate()


# Passes and plans


@pytest.mark.parametrize("name", NETWORKS)
def test_passes_keep_what_a_stream_gives(name):
    network = NETWORKS[name]()
    one, other = Stream(network), Stream(canonicalize(network))
    for feeds in frames(network, 9):
        inside = {key: value.reshape(network.shape(key)) for key, value in feeds.items()}
        for key, values in one.step(inside).items():
            np.testing.assert_allclose(other.step(inside)[key], values, rtol=1e-5, atol=1e-5)


def test_a_ring_becomes_the_state_itself():
    network = canonicalize(ring(5, 2))
    assert network.shape("last") == (1, 7, 1, 6)
    assert [type(layer.op) for layer in network.layers].count(Slice) == 1
    assert network.layers[0].op == Slice((0, 2, 0, 0), (1, 5, 1, 6))


@pytest.mark.parametrize("reason", ["more new than old", "the rows are an output", "the state is read elsewhere"])
def test_other_states_stay_what_they_are(reason):
    if reason == "more new than old":
        assert canonicalize(ring(1, 3)).shape("last") == (1, 1, 1, 6)
        return
    network = ring()
    if reason == "the rows are an output":
        shown = replace(network, outputs=("y", "rows", "kept"))
    else:
        layers = [replace(layer, inputs=("rows",)) if layer.name == "none" else layer for layer in network.layers]
        extra = Reshape((1, 4, 6, 1))
        builder = NetworkBuilder("more")
        builder.tensors.update(network.tensors)
        builder.add("more", extra, ["last"])
        shown = replace(
            network, tensors=builder.tensors, layers=(*layers, builder.layers[-1]), outputs=("y", "more", "kept")
        )
    assert canonicalize(shown.validate()).shape("last") == (1, 4, 1, 6)


def test_on_microcontrollers_a_ring_moves_in_place_and_is_read_where_it_lies():
    program = plan(canonicalize(ring(int8=True)), C99)
    kernels = [function.kernel for function in program.functions]
    assert [kernel for kernel in kernels if isinstance(kernel, MoveKernel)] == [MoveKernel(24, "int8")]
    assert not any(kernel.kind == "copy" for kernel in kernels)
    arena = [buffer.name for buffer in program.buffers]
    assert not any("kept" in name or "last" in name for name in arena)


def test_new_values_wait_where_old_ones_are_still_read():
    assert early_writes(plan_mcu_program(canonicalize(total()), C99)) == ("sum",)
    program = plan(canonicalize(total()), C99)
    assert early_writes(program) == ()
    assert program.steps[-1].name == "sum.update"


def test_states_that_take_each_others_value_are_refused():
    with pytest.raises(UnsupportedError, match=r"states '(one|two)', '(one|two)' take each other's old values"):
        plan(canonicalize(swapped()), C99)


def test_gpus_refuse_state():
    with pytest.raises(UnsupportedError, match="keeps state from one inference to the next, which cuda-sm80 does not"):
        plan(canonicalize(ring()), find_target("cuda-sm80"))


# Artifacts


@pytest.mark.parametrize("name", NETWORKS)
def test_standalone_c_equals_the_oracle_frame_by_frame(name, tmp_path):
    network = NETWORKS[name]()
    model = built(network, "c99", tmp_path)
    assert differing_frames(model.stream(), network, frames(network, 12)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_libraries_equal_the_oracle_frame_by_frame(name, tmp_path):
    target_here(TARGETS[0])
    network = NETWORKS[name]()
    model = built(network, TARGETS[0], tmp_path)
    assert differing_frames(model.stream(), network, frames(network, 12)) == []
    result = dscompile.verify(model.path)
    assert result.ok
    assert [check.inputs for check in result.checks if check.against == "oracle"] == [12]


@pytest.mark.slow
def test_a_library_of_several_variants_has_one_state_for_all(tmp_path):
    target_here(TARGETS[0])
    network = delay_line()
    model = built(network, "x86", tmp_path)
    assert differing_frames(model.stream(), network, frames(network, 6)) == []
    assert dscompile.verify(model.path).ok


@pytest.mark.slow
def test_a_library_for_arm_equals_the_oracle_frame_by_frame(tmp_path):
    target_here("arm64-neon")
    network = gated()
    assert differing_frames(built(network, "arm64-neon", tmp_path).stream(), network, frames(network, 4)) == []


def test_streams_of_one_model_do_not_know_of_each_other(tmp_path):
    network = delay_line()
    model = built(network, "c99", tmp_path)
    one, other = model.stream(), model.stream()
    x = np.array([[1, 2, 3]], np.float32)
    assert [one(number * x)[0, 0] for number in (1, 2, 3, 4)] == [2, 0, 2, 4]
    assert other(x)[0, 0] == 2
    assert other.state["one"].tolist() == [[1, 2, 3]]
    one.reset()
    assert one(x)[0, 0] == 2
    assert model(x)[0, 0] == model(x)[0, 0] == 2  # each call begins anew
    assert model.stream().run(x)["y"].shape == (1, 3)


def test_a_stream_goes_on_from_the_state_of_another(tmp_path):
    model = built(delay_line(), "c99", tmp_path)
    one, other = model.stream(), model.stream()
    x = np.array([[1, 2, 3]], np.float32)
    one(x)
    other.restore(one.state)
    assert other(x).tolist() == one(x).tolist()
    with pytest.raises(UsageError, match="the states of the network are one, two, not one"):
        other.restore({"one": x})
    with pytest.raises(UsageError, match=r"state 'two' is float64 \[1, 3\], it must be float32 \[1, 3\]"):
        other.restore({"one": x, "two": x.astype(np.float64)})


def test_a_stream_of_a_network_without_state_is_just_its_inferences(tmp_path):
    builder = NetworkBuilder("plain")
    builder.input(Tensor("x", (1, 4)))
    model = built(builder.build([builder.add("y", Binary("add"), ["x", "x"])]), "c99", tmp_path)
    stream = model.stream()
    assert stream(np.ones((1, 4), np.float32)).tolist() == [[2, 2, 2, 2]]
    assert stream.state == {}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The delay line as a shared library and its manifest."""
    folder = tmp_path_factory.mktemp("delay")
    model = built(delay_line(), "c99", folder)
    sources = [str(model.path / f"delay{end}.c") for end in ("", "_weights")]
    command = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-shared", "-fPIC"]
    find_toolchain(C99).compile([*command, *sources, "-o", "delay.so"], folder, "compiling")
    return ctypes.CDLL(str(folder / "delay.so")), model.artifact.manifest


def test_reset_writes_what_the_manifest_says(library):
    code, manifest = library
    state = fresh_state(manifest.slots)
    want = state.copy()
    state[:] = 0xFF
    assert code.delay_reset(state.ctypes.data_as(ctypes.c_void_p)) == 0
    for slot in manifest.slots:
        span = slice(slot.offset_bytes, slot.offset_bytes + slot.tensor.size_bytes)
        assert (state[span] == want[span]).all()


def test_a_state_must_be_there_and_aligned(library):
    code, manifest = library
    room = fresh_state(manifest.slots)
    arena = (ctypes.c_uint8 * (manifest.arena.size_bytes + 64))()
    start = ctypes.addressof(arena) + -ctypes.addressof(arena) % 64
    x, y = (ctypes.c_float * 3)(), (ctypes.c_float * 3)()
    assert code.delay_reset(None) == -1
    assert code.delay_reset(ctypes.c_void_p(room.ctypes.data + 4)) == -2
    assert code.delay_run(ctypes.c_void_p(start), None, x, y) == -1
    assert code.delay_run(ctypes.c_void_p(start), ctypes.c_void_p(room.ctypes.data + 4), x, y) == -2
    assert code.delay_run(ctypes.c_void_p(start), room.ctypes.data_as(ctypes.c_void_p), x, y) == 0


def test_a_wrong_state_fails_verification(tmp_path):
    model = built(delay_line(), "c99", tmp_path)
    driver = model.path / "delay.c"
    assert '"state"' in (model.path / "manifest.json").read_text()
    content = driver.read_text()
    assert content.count("kept(state, 16u)") >= 2
    driver.write_text(content.replace("kept(state, 16u)", "kept(state, 0u)"))
    reseal(model.path)
    assert not dscompile.verify(model.path).ok


def test_timing_and_profiles_work_with_state(tmp_path):
    network = ring()
    model = built(network, "c99", tmp_path)
    inputs = frames(network, 1)[0]
    assert len(model.timed.latencies_us(inputs, 3, 1)) == 3
    assert len(model.timed.profile(inputs, 2)) == len(model.artifact.manifest.layers)
    target_here(TARGETS[0])
    native = built(network, TARGETS[0], tmp_path).timed
    assert isinstance(native, NativeModel)
    assert len(native.latencies_us(inputs, 3, 1)) == 3
    assert len(native.profile(inputs, 2)) == len(native.manifest.layers)


def test_networks_with_state_are_not_quantized_and_not_factorized(tmp_path):
    path = write_netfile(ring(), tmp_path)
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 1, 1, 6), np.float32))
    kept = "'ring' keeps state from one inference to the next; such networks are not"
    with pytest.raises(UnsupportedError, match=f"{kept} quantized yet"):
        dscompile.quantize(path, calibrate=tmp_path / "data.npz", output=tmp_path / "int8.yaml")
    with pytest.raises(UnsupportedError, match=f"{kept} factorized yet"):
        dscompile.factorize(path, output=tmp_path / "separable.yaml", rank=1)


def test_inspect_and_check_show_states(tmp_path):
    checked = dscompile.check(write_netfile(ring(), tmp_path))
    assert [state.name for state in checked.inspection.network.states] == ["last"]
    assert isinstance(checked.inspection.network.layers[0].op, Conv2D)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["delay line", "total", "gated"])
def test_a_library_made_without_a_c_compiler_keeps_state_too(name, tmp_path, monkeypatch):
    target_here("arm64-neon")
    network = NETWORKS[name]()
    path = write_netfile(network, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "zig_command", lambda: None)
        patch.setenv("PATH", str(tmp_path / "empty"))
        artifact = dscompile.build(path, "arm64-neon", tmp_path / "made").artifact
    assert not artifact.has_shared_library
    stream = dscompile.load(artifact.directory).stream()
    assert differing_frames(stream, network, frames(network, 4)) == []


def test_a_stream_does_not_count_instructions(tmp_path):
    model = built(delay_line(), "c99", tmp_path)

    class Counting:
        """A runner whose count would cost emulated inferences."""

        def step(self, inputs, state):
            return model.runner.step(inputs, state)

        @property
        def instructions(self):
            raise AssertionError("nobody asked for them")

    stream = ModelStream(model.artifact.manifest, Counting())
    assert stream(np.ones((1, 3), np.float32)).tolist() == [[2, 2, 2]]
