"""`precision: bfloat16`: which targets take it, what it plans, and what reports say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.ir.network import Network
from dscompile.passes import canonicalize
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.bf16_tiles import MAX_SUMS, bf16_tiling
from dscompile.plan.planning import plan
from dscompile.plan.program import Program
from dscompile.target import find_target, useful_variants

TARGETS = ("arm64-bf16", "x86-avx512bf16")


def written(folder: Path, settings: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(f"""\
dscompile: 1
network:
  name: mixed
  input: {{name: image, shape: [1, 16, 16, 3]}}
  defaults: {{activation: relu}}
  layers:
    - conv: {{name: stem, out: 64, kernel: 3, stride: 2}}
    - depthwise: {{name: depthwise, kernel: 3}}
    - pointwise: {{name: wide, out: 256}}
    - conv: {{name: strided, out: 128, kernel: 1, stride: 2}}
    - conv: {{name: groups, out: 128, kernel: 1, groups: 2}}
    - conv: {{name: window, out: 32, kernel: 3}}
    - pool: {{kind: average, over: all}}
    - dense: {{name: last, out: 37, activation: none}}
targets:
  {settings}
weights: {{seed: 7}}
""")
    return path


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return canonicalize(load_network(written(tmp_path, "x86: {}")).network)


def kinds(program: Program, step: str) -> list[str]:
    functions = {function.symbol: function.kernel for function in program.functions}
    (found,) = (each for each in program.steps if each.name == step)
    return sorted(
        {functions[call.symbol].kind for call in found.calls} & {"conv", "pointwise", "dense", "bf16_pointwise"}
    )


@pytest.mark.parametrize("name", TARGETS)
def test_what_sees_one_pixel_with_all_its_channels_multiplies_bfloat16(name: str, network: Network) -> None:
    program = plan(network, find_target(name), "bfloat16")
    assert program.precision == "bfloat16"
    assert {step: kinds(program, step) for step in ("stem", "wide", "strided", "groups", "window", "last")} == {
        "stem": ["conv"],
        "wide": ["bf16_pointwise"],
        "strided": ["bf16_pointwise"],
        "groups": ["pointwise"],
        "window": ["conv"],
        "last": ["bf16_pointwise", "dense"],  # units beyond the last whole block
    }


@pytest.mark.parametrize("name", TARGETS)
def test_weights_take_half_the_room(name: str, network: Network) -> None:
    program = plan(network, find_target(name), "bfloat16")

    def weight_bytes(layer: str) -> int:
        constants = program.constants.items()
        return sum(array.nbytes for key, array in constants if key.startswith(f"{layer}.kernel"))

    assert weight_bytes("wide") == 2 * 64 * 256
    assert weight_bytes("strided") == 2 * 256 * 128


@pytest.mark.parametrize("name", TARGETS)
def test_float32_is_the_default_and_plans_nothing_else(name: str, network: Network) -> None:
    program = plan(network, find_target(name))
    assert program.precision == "float32"
    assert not any(isinstance(function.kernel, Bf16ConvKernel) for function in program.functions)


def test_a_vector_that_is_no_whole_number_of_blocks_is_multiplied_in_float32(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "dscompile: 1\nnetwork:\n  input: {name: x, shape: [1, 18]}\n  layers:\n"
        "    - dense: {name: first, out: 32, activation: none}\n    - dense: {name: second, out: 3, activation: none}\n"
        "weights: {seed: 1}\n"
    )
    program = plan(canonicalize(load_network(path).network), find_target("x86-avx512bf16"), "bfloat16")
    assert {function.kernel.kind for function in program.functions} == {"dense"}
    assert program.precision == "float32"


@pytest.mark.parametrize("name", ["x86-avx2", "arm64-i8mm", "cuda-sm80", "c99"])
def test_planning_for_a_target_without_the_instruction_is_refused(name: str, network: Network) -> None:
    with pytest.raises(UnsupportedError, match=f"{name} does not multiply bfloat16") as caught:
        plan(network, find_target(name), "bfloat16")
    assert caught.value.diagnostics[0].help == "targets that do: arm64-bf16, x86-avx512bf16"


def test_a_net_yaml_that_asks_another_target_for_it_is_wrong_in_that_place(tmp_path: Path) -> None:
    path = written(tmp_path, "\n  ".join(f"{name}: {{precision: bfloat16}}" for name in (*TARGETS, "x86", "host")))
    with pytest.raises(BadInputError) as caught:
        load_network(path)
    assert [(d.position.line, d.message, d.help) for d in caught.value.diagnostics if d.position] == [
        (18, "target 'x86' does not multiply bfloat16", "targets that do: arm64-bf16, x86-avx512bf16"),
        (19, "target 'host' does not multiply bfloat16", "targets that do: arm64-bf16, x86-avx512bf16"),
    ]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("width", [1, 2, 7, 49, 196])
@pytest.mark.parametrize("blocks", [1, 3, 25, 63])
def test_tiles_cover_everything_and_stay_in_registers(name: str, width: int, blocks: int) -> None:
    tiling = bf16_tiling(width, blocks, 100, find_target(name))
    assert sum(span.size for span in tiling.columns) == width
    assert sum(span.size for span in tiling.blocks) == blocks
    for columns in tiling.columns:
        for panels in tiling.blocks:
            if name == "arm64-bf16":
                assert -(-columns.tile // 2) * 2 * panels.tile <= MAX_SUMS
            else:
                assert columns.tile * panels.tile + panels.tile < 30


def test_a_network_of_another_precision_needs_no_variant_for_it() -> None:
    variants = [find_target(name) for name in ("x86-avx512bf16", "x86-avx512", "x86-avx2")]
    names = [[variant.name for variant in group] for group in useful_variants(variants, int8=False)]
    assert names == [["x86-avx512", "x86-avx512bf16"], ["x86-avx2"]]


@pytest.mark.parametrize("name", TARGETS)
def test_images_that_are_scaled_or_shuffled_are_multiplied_as_others_are(name: str, tmp_path: Path) -> None:
    """In float32 an x86 kernel scales its weights instead, and reads shuffled channels where they lie."""
    path = tmp_path / "net.yaml"
    path.write_text("""\
dscompile: 1
network:
  input: {name: image, shape: [1, 8, 8, 32]}
  layers:
    - inverted_residual: {name: excited, expand: 2, out: 32, squeeze_excite: 0.5, activation: relu}
    - shuffle: {name: mixed, groups: 2}
    - pointwise: {name: last, out: 32, activation: none}
weights: {seed: 3}
""")
    network = canonicalize(load_network(path).network)
    program = plan(network, find_target(name), "bfloat16")
    multiplied = {step.name: kinds(program, step.name) for step in program.steps if step.kind == "pointwise"}
    assert {tuple(found) for found in multiplied.values()} == {("bf16_pointwise",)}
    assert len(multiplied) >= 3
