"""Every network of the zoo built and verified: all their layers, in fewer channels and smaller images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dscompile
from dscompile.frontend.zoo import zoo_names, zoo_yaml
from dscompile.ir.ops import Pair
from tests.tools import require_tools

SMALL = ("ds_cnn", "ds_cnn_m", "blazeface", "blazeface_short_range", "mcunet_in3", "mobilenet_v1", "shufflenet_v1")
SEGMENTATION: dict[str, Pair] = {"fast_scnn": (256, 256), "deeplab_v3_mobilenet_v2": (65, 97)}
OWN_WIDTHS = {"shufflenet_v1": 0.25, "shufflenet_v2": 0.5}  # groups and halves divide only some numbers of channels
SHARES = {"xception": 8}  # of a fourth of its 21 million weights a C compiler reads for 20 s
FULL_WIDTH = ("ds_cnn", "ds_cnn_m", "ds_cnn_l", "blazeface", "blazeface_short_range")


def small_version(name: str, directory: Path, resolution: Pair = (64, 64)) -> Path:
    """The net.yaml of a network with a fourth of its channels (SHARES), or the fewest of its own, on a small image."""
    size = SEGMENTATION.get(name, resolution)
    text = zoo_yaml(name, OWN_WIDTHS.get(name), None if name.startswith("ds_cnn") else size)
    if name not in FULL_WIDTH and name not in OWN_WIDTHS:
        share = SHARES.get(name, 4)
        text = re.sub(r"\b(out|hidden): (\d+)", lambda found: f"{found[1]}: {fewer(int(found[2]), share)}", text)
    path = directory / f"{name}.yaml"
    path.write_text(text.replace("out: 1000,", "out: 10,"))
    return path


def fewer(channels: int, share: int) -> int:
    """That share of the channels, but even: MixNet has two groups."""
    return max(2, channels // (2 * share) * 2)


@pytest.mark.parametrize("name", zoo_names())
def test_the_small_version_has_the_layers_of_the_original(name: str, tmp_path: Path):
    small = dscompile.check(small_version(name, tmp_path)).inspection
    original = tmp_path / "original.yaml"
    original.write_text(zoo_yaml(name))
    kinds = [(layer.name, layer.kind) for layer in small.layers]
    assert kinds == [(layer.name, layer.kind) for layer in dscompile.check(original).inspection.layers]


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("target", ["x86-avx2", "arm64-neon", "c99"])
@pytest.mark.parametrize("name", zoo_names())
def test_every_network_builds_and_agrees_with_the_oracle(name: str, target: str, tmp_path: Path):
    if target == "arm64-neon":
        require_tools("qemu-aarch64")
    dscompile.build(small_version(name, tmp_path), target=target, output=tmp_path / "build")
    verification = dscompile.verify(tmp_path / "build")
    assert verification.ok
    assert verification.max_rel_error < 1e-4


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_run_on_a_cortex_m4(name: str, tmp_path: Path):
    require_tools("qemu-system-arm", "arm-none-eabi-gcc")
    dscompile.build(small_version(name, tmp_path, (32, 32)), target="cortex-m4", output=tmp_path / "build")
    verification = dscompile.verify(tmp_path / "build")
    assert verification.ok
    assert verification.instructions
