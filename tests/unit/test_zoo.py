"""The zoo against the tables of the papers, and the files that `init` and `zoo write` make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.data import data_directory
from dscompile.errors import UsageError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.starter import write_starter
from dscompile.frontend.zoo import list_zoo, write_zoo, zoo_entry, zoo_path
from dscompile.ir.cost import layer_macs
from dscompile.oracle.execute import run
from tests.networks import random_inputs


@pytest.mark.parametrize(
    ("name", "macs", "parameters", "paper_macs", "paper_parameters"),
    [
        ("mobilenet_v1", 568_740_352, 4_221_032, 569e6, 4.2e6),  # table 8
        ("mobilenet_v2", 300_774_272, 3_487_816, 300e6, 3.4e6),  # table 4
        ("ds_cnn", 2_656_768, 22_604, 2.7e6, 22.6e3),
    ],
)
def test_cost_is_that_of_the_paper(
    name: str, macs: int, parameters: int, paper_macs: float, paper_parameters: float
) -> None:
    entry = zoo_entry(name)
    assert (entry.macs, entry.parameters) == (macs, parameters)
    assert entry.macs == pytest.approx(paper_macs, rel=0.02)
    # The papers count no biases: folding batch norm leaves one per channel.
    assert entry.parameters == pytest.approx(paper_parameters, rel=0.03)


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
    assert (caught.value.diagnostics[0].help or "").startswith("it has ds_cnn, mobilenet_v1")


def test_write_copies_the_file_once(tmp_path: Path) -> None:
    path = write_zoo("ds_cnn", tmp_path / "new")
    assert path == tmp_path / "new" / "ds_cnn.yaml"
    assert path.read_bytes() == zoo_path("ds_cnn").read_bytes()
    with pytest.raises(UsageError, match=r"ds_cnn.yaml exists already; nothing was written"):
        write_zoo("ds_cnn", tmp_path / "new")


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
