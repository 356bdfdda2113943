"""dscompile zoo, init and import."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import CommandLine

DATA = Path(__file__).resolve().parents[1] / "data"


def test_list_shows_cost_and_origin(dscompile: CommandLine):
    outcome = dscompile("zoo", "list")
    assert outcome.code == 0
    assert outcome.out == (
        "name                input          MAC  parameters  what\n"
        "ds_cnn          1x49x10x1    2 656 768      22 604  DS-CNN S, keyword spotting, 12 classes\n"
        "mobilenet_v1  1x224x224x3  568 740 352   4 221 032  MobileNetV1 1.0 224, ImageNet, 1000 classes\n"
        "mobilenet_v2  1x224x224x3  300 774 272   3 487 816  MobileNetV2 1.0 224, ImageNet, 1000 classes\n"
    )


def test_list_as_json(dscompile: CommandLine):
    record = json.loads(dscompile("zoo", "list", "--json").out)
    assert record["networks"][0]["name"] == "ds_cnn"
    assert record["networks"][0]["input"] == [1, 49, 10, 1]
    assert record["networks"][0]["macs"] == 2_656_768


def test_show_prints_a_net_that_check_accepts(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(dscompile("zoo", "show", "ds_cnn").out)
    assert dscompile("check", "net.yaml").code == 0


def test_write_copies_once(dscompile: CommandLine, folder: Path):
    outcome = dscompile("zoo", "write", "ds_cnn", "nets")
    assert (outcome.code, outcome.out) == (0, "wrote nets/ds_cnn.yaml\n")
    assert (folder / "nets" / "ds_cnn.yaml").is_file()
    again = dscompile("zoo", "write", "ds_cnn", "nets")
    assert again.code == 2
    assert "ds_cnn.yaml" in again.err


def test_an_unknown_network_gets_the_nearest_name(dscompile: CommandLine):
    outcome = dscompile("zoo", "show", "mobilenet_v3")
    assert outcome.code == 2
    assert outcome.err.startswith("error: the zoo has no network 'mobilenet_v3'\n  = help: did you mean 'mobilenet_v")


def test_init_writes_a_network_that_checks(dscompile: CommandLine, folder: Path):
    outcome = dscompile("init", "first")
    assert outcome.code == 0
    assert outcome.out == (
        "wrote first/tiny_ds_cnn.npz\nwrote first/net.yaml\nnext: dscompile build --target x86 first/net.yaml\n"
    )
    assert dscompile("check", "first/net.yaml").code == 0


def test_init_draws_its_weights_from_the_seed(dscompile: CommandLine, folder: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dscompile("init", name, "--seed", seed)
    a, b, c = ((folder / name / "tiny_ds_cnn.npz").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_init_overwrites_nothing(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text("mine")
    outcome = dscompile("init")
    assert outcome.code == 2
    assert "net.yaml" in outcome.err
    assert (folder / "net.yaml").read_text() == "mine"


def test_import_writes_a_net_with_the_same_cost(dscompile: CommandLine, folder: Path):
    model = DATA / "vww_96_float.tflite"
    outcome = dscompile("import", model, "-o", "vww.yaml")
    assert outcome.code == 0
    assert outcome.out == (
        'wrote   vww.yaml\ninput   "input_1" float32 NHWC [1, 96, 96, 3]\noutput  "Identity" float32 [1, 2]\n'
    )
    direct = json.loads(dscompile("inspect", model, "--json").out)
    imported = json.loads(dscompile("inspect", "vww.yaml", "--json").out)
    assert imported["layers"] == direct["layers"]


def test_import_refuses_what_is_a_net_already(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("import", tiny)
    assert (outcome.code, outcome.err) == (2, "error: 'tiny.yaml' is a net.yaml already\n")


def test_import_writes_only_yaml(dscompile: CommandLine, folder: Path):
    outcome = dscompile("import", DATA / "vww_96_float.tflite", "-o", "vww.txt")
    assert outcome.code == 2
    assert outcome.err == "error: 'vww.txt' is not the name of a net.yaml\n  = help: it must end in .yaml\n"
    assert list(folder.iterdir()) == []
