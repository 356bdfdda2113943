"""dscompile inspect."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import CommandLine

DATA = Path(__file__).resolve().parents[1] / "data"


def test_inspect_shows_an_int8_network(dscompile: CommandLine):
    outcome = dscompile("inspect", DATA / "kws_ref_model_int8.tflite")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "network  kws_ref_model_int8: 13 layers, 2 656 768 MAC, 22 604 parameters"
    assert lines[4:7] == [
        "layer               kind              input     output      MAC  parameters   bytes  FLOP/B  standard MAC"
        "   ratio",
        "conv2d              conv          1x49x10x1  1x25x5x64  320 000       2 624  11 562    55.4       320 000",
        "depthwise_conv2d    depthwise     1x25x5x64  1x25x5x64   72 000         640  17 088     8.4     4 608 000"
        "  12.7 %",
    ]


def test_an_int8_image_takes_a_quarter_of_the_arena(dscompile: CommandLine):
    outcome = dscompile("inspect", DATA / "kws_ref_model_int8.tflite", "--target", "x86-avx2", "--json")
    assert outcome.code == 0
    arena = json.loads(outcome.out)["arena"]
    assert {buffer["name"]: buffer["size_bytes"] for buffer in arena["buffers"]}["input:input_1"] == 490
    assert arena["size_bytes"] < 30_000


def test_inspect_shows_every_layer_beside_standard_convolutions(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("inspect", tiny)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out == (
        "network  tiny: 7 layers, 10 668 MAC, 529 parameters\n"
        'input    "image" float32 NHWC [1, 9, 9, 3]\n'
        'output   "softmax" float32 [1, 4]\n'
        "\n"
        "layer            kind             input    output    MAC  parameters  bytes  FLOP/B  standard MAC   ratio\n"
        "stem             conv           1x9x9x3   1x5x5x8  5 400         224  2 668     4.0         5 400\n"
        "block.depthwise  depthwise      1x5x5x8   1x5x5x8  1 800          80  1 920     1.9        30 600  17.0 %\n"
        "block.pointwise  pointwise      1x5x5x8  1x5x5x17  3 400         153  3 112     2.2             0\n"
        "pool             average pool  1x5x5x17  1x1x1x17      0           0  1 768     0.2             0\n"
        "head.flatten     reshape       1x1x1x17      1x17      0           0    136     0.0             0\n"
        "head             dense             1x17       1x4     68          72    372     0.4            68\n"
        "softmax          softmax            1x4       1x4      0           0     32     0.1             0\n"
        "\n"
        "                               MAC  parameters\n"
        "this network                10 668         529\n"
        "with standard convolutions  36 068       1 537\n"
        "ratio                         3.4x        2.9x\n"
    )


def test_inspect_with_a_target_shows_roofline_and_arena(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("inspect", tiny, "-t", "x86-avx2")
    assert outcome.code == 0
    # Cycles: stem 10 800 / 32, depthwise 3 600 / 32, pointwise 6 800 / 32; the rest moves its bytes at 64 a cycle.
    shares = [line.split()[-3:] for line in outcome.out.splitlines()[5:12]]
    assert shares == [
        ["48.3", "%", "fma"],
        ["16.1", "%", "fma"],
        ["30.4", "%", "fma"],
        ["4.0", "%", "L1"],
        ["0.3", "%", "L1"],
        ["0.8", "%", "L1"],
        ["0.1", "%", "L1"],
    ]
    assert re.search(
        r"^arena on x86-avx2: [\d ]+ B \([\d.]+ KiB\), no plan takes less than [\d ]+ B \([\d.]+ KiB\); "
        r"most is alive at \S+$",
        outcome.out,
        re.MULTILINE,
    )
    assert re.search(r"^buffer +offset +bytes +steps$", outcome.out, re.MULTILINE)


def test_inspect_as_json_has_the_promised_keys(dscompile: CommandLine, tiny: Path):
    record = json.loads(dscompile("inspect", tiny, "--json").out)
    assert record["schema"] == 1
    assert (record["macs"], record["parameters"]) == (10_668, 529)
    assert (record["standard_macs"], record["standard_parameters"]) == (36_068, 1_537)
    assert record["arena"] is None
    assert record["layers"][1] == {
        "name": "block.depthwise",
        "kind": "depthwise",
        "input": [1, 5, 5, 8],
        "output": [1, 5, 5, 8],
        "macs": 1_800,
        "parameters": 80,
        "standard_macs": 30_600,
        "standard_parameters": 1_241,
        "bytes": 1_920,
        "flops": 3_600,
        "flops_per_byte": 1.875,
        "roofline_cycles": None,
        "roofline_share": None,
        "roofline_limit": None,
        "instructions": None,
        "storage": "plain",
        "saved_bytes": 0,
        "cycles": None,
    }


def test_inspect_as_json_has_every_separable_pair(dscompile: CommandLine, tiny: Path):
    record = json.loads(dscompile("inspect", tiny, "--json").out)
    (pair,) = record["separable"]
    assert abs(pair.pop("ratio") - (1 / 17 + 1 / 9)) < 1e-12
    assert abs(pair.pop("formula") - (1 / 17 + 1 / 9)) < 1e-12
    assert pair == {
        "depthwise": "block.depthwise",
        "pointwise": "block.pointwise",
        "kernel": [3, 3],
        "in_channels": 8,
        "out_channels": 17,
        "macs": 5_200,
        "standard_macs": 30_600,
    }
    assert record["roofs"] is None


def test_the_arena_of_a_microcontroller_counts_shared_memory_once(dscompile: CommandLine):
    record = json.loads(dscompile("inspect", DATA / "vww_96_int8.tflite", "-t", "cortex-m4", "--json").out)
    arena = record["arena"]
    assert arena["size_bytes"] == 28_384
    assert max(step["live_bytes"] for step in arena["steps"]) == 28_368
    assert arena["peak_step"] == "conv2d"
    peak = [step["name"] for step in arena["steps"]].index("conv2d")
    # Buffers alone would add up to more: a layer may write where another one's input ends.
    assert sum(b["size_bytes"] for b in arena["buffers"] if b["first"] <= peak <= b["last"]) > 28_384
    assert record["roofs"] == {
        "flops_per_cycle": 4.0,  # SMLAD: two multiply-adds
        "levels": [{"name": "memory", "capacity_bytes": None, "bytes_per_cycle": 4}],
    }


def test_inspect_shows_what_is_alive_in_each_step(dscompile: CommandLine):
    lines = dscompile("inspect", DATA / "kws_ref_model_int8.tflite", "-t", "cortex-m4").out.splitlines()
    assert next(line for line in lines if "of the arena" in line).split() == ["step", "alive", "of", "the", "arena"]
    bars = [len(line.rpartition(" ")[2]) for line in lines if line.endswith("#")]
    assert max(bars) == 40
    assert len(bars) >= 6


def test_inspect_as_json_with_a_target_has_the_arena(dscompile: CommandLine, tiny: Path):
    record = json.loads(dscompile("inspect", tiny, "--json", "--target", "x86-avx512").out)
    arena = record["arena"]
    assert arena["size_bytes"] >= arena["lower_bound_bytes"] > 0
    assert {buffer["name"] for buffer in arena["buffers"]} >= {"input:image", "output:softmax", "stem"}
    assert all(buffer["offset_bytes"] + buffer["size_bytes"] <= arena["size_bytes"] for buffer in arena["buffers"])
    assert abs(sum(layer["roofline_share"] for layer in record["layers"]) - 1.0) < 1e-9
