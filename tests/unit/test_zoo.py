"""The zoo against the tables of the papers, and the files that `init` and `zoo write` make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.data import data_directory
from dscompile.errors import UsageError
from dscompile.frontend.netfile import netfile_from_text, read_netfile
from dscompile.frontend.starter import write_starter
from dscompile.frontend.zoo import list_zoo, write_zoo, zoo_entry, zoo_path, zoo_yaml
from dscompile.frontend.zoo_scaling import WIDTHS, Widths, parse_resolution
from dscompile.ir.cost import layer_macs
from dscompile.oracle.execute import run
from tests.networks import random_inputs


def test_the_zoo_lists_every_file_with_title_and_paper() -> None:
    entries = list_zoo()
    assert [entry.name for entry in entries] == sorted(p.stem for p in data_directory("nets").glob("*.yaml"))
    assert {"ds_cnn", "mobilenet_v1", "mobilenet_v2"} <= {entry.name for entry in entries}
    for entry in entries:
        assert entry.title
        assert "arXiv:" in entry.paper
        assert read_netfile(zoo_path(entry.name), load_weights=False).network.name == entry.name
    assert zoo_entry("ds_cnn").input.shape == (1, 49, 10, 1)


def test_mobilenets_end_in_7_by_7_images_of_the_papers_channels() -> None:
    v1 = read_netfile(zoo_path("mobilenet_v1"), load_weights=False).network
    assert v1.shape("block9.pointwise") == (1, 7, 7, 1024)
    assert len([la for la in v1.layers if layer_macs(v1, la)]) == 28  # "MobileNet has 28 layers", section 3.2
    v2 = read_netfile(zoo_path("mobilenet_v2"), load_weights=False).network
    assert v2.shape("head") == (1, 7, 7, 1280)
    assert v2.shape("row7.project") == (1, 7, 7, 320)
    assert len([la for la in v2.layers if la.name.endswith(".add")]) == 10


def test_an_unknown_network_is_a_usage_error_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="the zoo has no network 'mobilnet_v2'") as caught:
        zoo_path("mobilnet_v2")
    assert caught.value.diagnostics[0].help == "did you mean 'mobilenet_v2'?"
    with pytest.raises(UsageError) as caught:
        zoo_path("../secrets")
    assert (caught.value.diagnostics[0].help or "").startswith("it has blazeface, ")


def test_write_copies_the_file_once(tmp_path: Path) -> None:
    path = write_zoo("ds_cnn", tmp_path / "new")
    assert path == tmp_path / "new" / "ds_cnn.yaml"
    assert path.read_bytes() == zoo_path("ds_cnn").read_bytes()
    with pytest.raises(UsageError, match=r"ds_cnn.yaml exists already; nothing was written"):
        write_zoo("ds_cnn", tmp_path / "new")


def test_a_width_and_a_resolution_change_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    path = write_zoo("mobilenet_v2", tmp_path, 0.35, (96, 128))
    assert path.name == "mobilenet_v2_0_35_96x128.yaml"
    lines, original = path.read_text().splitlines(), zoo_path("mobilenet_v2").read_text().splitlines()
    assert lines[0] == "# mobilenet_v2 of the zoo with width 0.35, 96 x 128. The comments below speak of the original."
    changed = [new for new, old in zip(lines[1:], original, strict=True) if new != old]
    assert changed[:3] == [
        "  name: mobilenet_v2_0_35_96x128",
        "  title: MobileNetV2, ImageNet, 1000 classes (width 0.35, 96 x 128)",
        "  input: {name: image, shape: [1, 96, 128, 3]}",
    ]
    outs = [line.partition("out: ")[2].partition("}")[0].partition(",")[0] for line in changed[3:]]
    assert outs == ["16", "8", "8", "16", "24", "32", "56", "112"]  # the head keeps its 1280 channels
    assert read_netfile(path, load_weights=False).network.shape("head") == (1, 3, 4, 1280)


def test_hidden_channels_keep_their_ratio_to_what_the_block_reads() -> None:
    network = netfile_from_text(zoo_yaml("mobilenet_v3_large", 0.75), Path("v3.yaml"), load_weights=False).network
    assert network.shape("row2.expand")[3] == 64  # 4 times 16, which 0.75 rounds to 16 as well
    assert network.shape("features") == (1, 1280)


@pytest.mark.parametrize(
    ("name", "width", "resolution", "message", "help"),
    [
        ("xception", 0.5, None, "'xception' has one width", "those that take a --width are mobilenet_v1, "),
        ("mobilenet_v1", 5.0, None, "'mobilenet_v1' has no width 5", "it has 0.1 to 2"),
        ("mobilenet_v1", float("nan"), None, "'mobilenet_v1' has no width nan", "it has 0.1 to 2"),
        ("shufflenet_v2", 0.75, None, "'shufflenet_v2' has no width 0.75", "it has 0.5, 1, 1.5, 2"),
        ("ds_cnn", None, (64, 64), "'ds_cnn' reads no image, and so has no resolution", ""),
        ("xception", None, (2, 2), "'xception' cannot have this size: a window of 3 does not fit", "try a larger"),
    ],
)
def test_a_size_that_a_network_does_not_have_is_a_usage_error(name, width, resolution, message, help) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        zoo_yaml(name, width, resolution)
    assert (caught.value.diagnostics[0].help or "").startswith(help)


@pytest.mark.parametrize(("text", "size"), [("128", (128, 128)), ("512x1024", (512, 1024))])
def test_a_resolution_is_one_number_or_rows_and_columns(text: str, size: tuple[int, int]) -> None:
    assert parse_resolution(text) == size


@pytest.mark.parametrize("text", ["", "0", "12x", "x", "-5", "1e3", "12x0", "224x224x3", "999999"])
def test_anything_else_is_no_resolution(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is no resolution"):
        parse_resolution(text)


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_every_width_of_a_family_is_a_network(name: str) -> None:
    widths = WIDTHS[name]
    for width in widths.table or (widths.lowest, 0.5, 1.0, widths.highest):
        zoo_yaml(name, width)
    assert zoo_entry(name, 1.0).macs == zoo_entry(name).macs


def test_widths_hold_one() -> None:
    with pytest.raises(ValueError, match=r"widths from 1.5 to 2 do not hold 1"):
        Widths(1.5, 2)


def test_the_starter_runs_at_once(tmp_path: Path) -> None:
    paths = write_starter(tmp_path / "project")
    assert [path.name for path in paths] == ["tiny_ds_cnn.npz", "net.yaml"]
    file = read_netfile(tmp_path / "project" / "net.yaml")
    assert file.budgets["host"].arena_bytes == 262_144
    outputs = run(file.network, random_inputs(file.network, 1))
    assert outputs["softmax"].shape == (1, 4)
    assert float(outputs["softmax"].sum()) == pytest.approx(1.0)
    assert float(np.ptp(outputs["softmax"])) > 0.01


def test_the_starter_is_the_same_every_time(tmp_path: Path) -> None:
    for first, second in zip(write_starter(tmp_path / "a"), write_starter(tmp_path / "b"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_starter_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"net.yaml exists already; nothing was written"):
        write_starter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["net.yaml"]
    (tmp_path / "tiny_ds_cnn.npz").write_text("mine")
    with pytest.raises(UsageError, match=r"net.yaml and .*tiny_ds_cnn.npz exist already"):
        write_starter(tmp_path)
    assert (tmp_path / "net.yaml").read_text() == "mine"
