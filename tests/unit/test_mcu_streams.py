"""Memory modes of standalone C: layers row by row through rings, the same bytes in less memory, pushed rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.frontend.zoo import zoo_yaml
from dscompile.ir.memory import MEMORY_MODES, MemoryMode
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import RELU, Binary, Conv2D, Pads, Pool, Softmax
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.regions import Region
from dscompile.target import Target, find_target
from tests.comparing import expected_outputs, wrong_outputs
from tests.golden.mcu_networks import separables
from tests.mcu import FLOAT_TOLERANCE, HostModel, here, planned, random_inputs, write
from tests.quantized_networks import Quantizer, quantized_tower
from tests.sanitized import SanitizedModel
from tests.towers import random_tower

DATA = Path(__file__).parents[1] / "data"
CORES = ("c99", "cortex-m4", "cortex-m0plus", "rv32imc", "cortex-m3")


def assert_equal(results: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Integers to the bit, floats to rounding."""
    assert list(wrong_outputs(results, expected, {}, FLOAT_TOLERANCE)) == []


def streamed(seeds: range) -> list[tuple[int, MemoryMode]]:
    """Seeds with the mode that each is tested in."""
    return [(seed, MEMORY_MODES[1 + seed % 2]) for seed in seeds]


def plans_and_equals(network: Network, target: Target, memory: MemoryMode, directory: Path) -> int:
    """Builds a network in a mode and compares it with the oracle, also with its rows pushed; how much of it streams."""
    try:
        artifact = write(network, directory / "a", target, memory=memory, measured=False)
    except UnsupportedError:  # its rows cannot be pushed
        if memory != "stream":
            raise
        return plans_and_equals(network, target, "balanced", directory)
    model = HostModel(artifact)
    for seed in (0, 1):
        inputs = random_inputs(network, seed)
        expected, _ = expected_outputs(network, inputs)
        assert_equal(model.run(inputs), expected)
        if memory == "stream":
            (image,) = inputs.values()
            statuses, results = model.push(image)
            assert statuses == [1] * (len(statuses) - 1) + [0]
            assert_equal(results, expected)
        else:
            assert_equal(model.run_in_place(inputs), expected)
    chosen = planned(network, target, memory=memory).memory
    assert chosen is not None
    return chosen.streams


@pytest.mark.parametrize(("seed", "memory"), streamed(range(6)))
def test_a_tower_of_int8_layers(seed: int, memory: MemoryMode, tmp_path: Path) -> None:
    plans_and_equals(quantized_tower(seed), here(CORES[seed % len(CORES)]), memory, tmp_path)


@pytest.mark.parametrize(("seed", "memory"), streamed(range(4)))
def test_a_tower_of_float_layers(seed: int, memory: MemoryMode, tmp_path: Path) -> None:
    plans_and_equals(random_tower(seed), here("c99"), memory, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "memory"), streamed(range(6, 90)))
def test_many_towers_of_int8_layers(seed: int, memory: MemoryMode, tmp_path: Path) -> None:
    plans_and_equals(quantized_tower(seed), here(CORES[seed % len(CORES)]), memory, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "memory"), streamed(range(4, 60)))
def test_many_towers_of_float_layers(seed: int, memory: MemoryMode, tmp_path: Path) -> None:
    plans_and_equals(random_tower(seed), here("c99"), memory, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(90, 104))
def test_streams_are_clean_under_sanitizers(seed: int, tmp_path: Path) -> None:
    network = quantized_tower(seed)
    artifact = write(network, tmp_path / "a", here(CORES[seed % len(CORES)]), memory="balanced")
    inputs = random_inputs(network, 0)
    expected, _ = expected_outputs(network, inputs)
    assert_equal(SanitizedModel(artifact, "gcc", tmp_path).run(inputs), expected)


def image_network(layers: int = 3, border: str = "nhwc") -> Network:
    """Convolutions of a 24 x 20 image, whose largest images are in the middle."""
    builder = NetworkBuilder("rows")
    x = builder.input(Tensor("image", (1, 24, 20, 3), border="nchw" if border == "nchw" else "nhwc"))
    rng = np.random.default_rng(0)
    for number in range(layers):
        channels = builder.tensors[x].shape[3]
        kernel = rng.normal(size=(3, 3, channels, 8)).astype(np.float32)
        name = f"conv{number}"
        builder.weights.update({f"{name}.kernel": kernel, f"{name}.bias": np.zeros(8, np.float32)})
        x = builder.add(name, Conv2D(8, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU), [x])
    return builder.build([x])


@pytest.mark.parametrize("name", ["kws_ref_model_int8", pytest.param("vww_96_int8", marks=pytest.mark.slow)])
def test_a_trained_network_in_every_mode(name: str, tmp_path: Path) -> None:
    network = load_network(DATA / f"{name}.tflite").network
    arenas = [planned(network, here("c99"), arena_bytes=1 << 20).arena_bytes]  # whole layers
    for memory in MEMORY_MODES:
        plans_and_equals(network, here("c99"), memory, tmp_path / memory)
        arenas.append(planned(network, here("c99"), memory=memory).arena_bytes)
    assert sorted(arenas, reverse=True) == arenas
    assert arenas[-1] < 0.65 * arenas[0]


def test_a_budget_takes_the_fewest_instructions_that_keep_it() -> None:
    network = load_network(DATA / "vww_96_int8.tflite").network
    whole = planned(network, here("cortex-m4"), arena_bytes=40_000)
    least = planned(network, here("cortex-m4"), memory="balanced")
    assert least.memory is not None
    assert whole.memory is not None
    assert whole.memory.streams == 0
    between = planned(network, here("cortex-m4"), arena_bytes=(whole.arena_bytes + least.arena_bytes) // 2)
    assert between.memory is not None
    assert between.arena_bytes <= (whole.arena_bytes + least.arena_bytes) // 2
    assert whole.memory.instructions <= between.memory.instructions <= least.memory.instructions
    assert planned(network, here("cortex-m4"), arena_bytes=whole.arena_bytes).memory == whole.memory


def test_without_a_budget_streams_that_are_nearly_free_make_the_arena_smaller() -> None:
    network = load_network(DATA / "vww_96_int8.tflite").network
    usual = planned(network, here("cortex-m4"))
    assert usual.memory is not None
    assert usual.memory.streams == 1
    assert usual.arena_bytes <= 28_384
    assert usual.memory.instructions <= 1.01 * usual.memory.fastest_instructions


def test_a_budget_that_nothing_keeps_names_the_smallest_arena() -> None:
    network = load_network(DATA / "vww_96_int8.tflite").network
    chosen = planned(network, here("cortex-m4"), arena_bytes=1_000).memory
    assert chosen is not None
    assert chosen.smallest is not None
    mode, size = chosen.smallest
    assert mode == "stream"
    assert size <= planned(network, here("cortex-m4"), memory="stream").arena_bytes


def test_rows_in_nchw_order_cannot_be_pushed() -> None:
    with pytest.raises(UnsupportedError, match="input 'image' is in NCHW order, where a row is not in one place"):
        planned(image_network(border="nchw"), here("c99"), memory="stream")


@pytest.mark.slow
def test_mobilenet_v2_takes_less_than_the_best_plan_of_whole_layers() -> None:
    network = zoo_network("mobilenet_v2", 0.35, (144, 144))
    arenas = {memory: planned(network, find_target("cortex-m4"), memory=memory).arena_bytes for memory in MEMORY_MODES}
    assert arenas["fast"] <= 66_000
    assert arenas["stream"] <= 26_600


def zoo_network(name: str, width: float, size: tuple[int, int]) -> Network:
    """A network of the zoo in int8, with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.yaml"
        path.write_text(zoo_yaml(name, width, size))
        network = canonicalize(load_network(path).network)
    return Quantizer(network, np.random.default_rng(1), "tflite", float_borders=False).run()


def two_inputs(builder: NetworkBuilder) -> str:
    return builder.add("sum", Binary("add"), [image(builder, "left"), image(builder, "right")])


def vector(builder: NetworkBuilder) -> str:
    return builder.add("softmax", Softmax(), [builder.input(Tensor("x", (1, 8)))])


def two_readers(builder: NetworkBuilder) -> str:
    x = image(builder, "image")
    means = [builder.add(name, Pool("average", (2, 2), (stride, stride)), [x]) for name, stride in (("a", 1), ("b", 2))]
    return builder.add("sum", Binary("add"), [builder.add("c", Pool("average", (2, 2), (2, 2)), [means[0]]), means[1]])


def whole_image(builder: NetworkBuilder) -> str:
    return builder.add("softmax", Softmax(), [image(builder, "image")])


def image(builder: NetworkBuilder, name: str) -> str:
    return builder.input(Tensor(name, (1, 9, 9, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_inputs, "the network has 2 inputs"),
        (vector, r"input 'x' \[1, 8\] is no image"),
        (two_readers, "2 layers read input 'image'"),
        (whole_image, "layer 'softmax' does not work row by row"),
    ],
)
def test_what_takes_no_rows_says_why(build: Callable[[NetworkBuilder], str], message: str) -> None:
    builder = NetworkBuilder("net")
    network = builder.build([build(builder)])
    with pytest.raises(
        UnsupportedError, match=f"memory mode 'stream' wants the rows of the input one by one: {message}"
    ):
        planned(network, here("c99"), memory="stream")


@pytest.mark.parametrize("core", ["cortex-m55", "rv64gcv"])
def test_rows_are_pushed_into_kernels_without_vectors(core: str) -> None:
    network = separables("pushed", "tflite")
    pushed, whole = (planned(network, here(core), memory=mode).memory for mode in ("stream", "fast"))
    assert pushed is not None
    assert whole is not None
    assert pushed.streams >= 1
    assert pushed.fastest_instructions == whole.fastest_instructions < pushed.instructions


def test_nothing_is_streamed_over_several_memories() -> None:
    target = replace(find_target("cortex-m7"), regions=(Region("dtcm", 65_536, 1.0), Region("sram", 262_144, 3.0)))
    with pytest.raises(UnsupportedError, match="through one arena, but cortex-m7 has memories with names"):
        planned(image_network(), target, memory="balanced")
