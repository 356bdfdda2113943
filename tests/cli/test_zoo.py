"""dscompile zoo, init and import."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import CommandLine

DATA = Path(__file__).resolve().parents[1] / "data"


def test_list_shows_cost_and_origin(dscompile: CommandLine):
    outcome = dscompile("zoo", "list")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["name", "input", "MAC", "parameters", "what"]
    shown = next(line for line in lines if line.startswith("mobilenet_v1"))
    assert shown.replace(" ", "") == "mobilenet_v11x224x224x35687403524221032MobileNetV1,ImageNet,1000classes"


def test_list_as_json(dscompile: CommandLine):
    record = json.loads(dscompile("zoo", "list", "--json").out)
    entry = next(entry for entry in record["networks"] if entry["name"] == "ds_cnn")
    assert entry["input"] == [1, 49, 10, 1]
    assert entry["macs"] == 2_656_768


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


def test_a_width_and_a_resolution_make_another_network(dscompile: CommandLine, folder: Path):
    outcome = dscompile("zoo", "write", "mobilenet_v1", "--width", 0.25, "--resolution", 128)
    assert (outcome.code, outcome.out) == (0, "wrote mobilenet_v1_0_25_128.yaml\n")
    record = json.loads(dscompile("check", "mobilenet_v1_0_25_128.yaml", "--json").out)
    assert (record["macs"], record["inputs"][0]["shape"]) == (13_570_048, [1, 128, 128, 3])
    shown = json.loads(dscompile("zoo", "show", "mobilenet_v1", "--width", 0.25, "--resolution", 128, "--json").out)
    assert shown["yaml"] == (folder / "mobilenet_v1_0_25_128.yaml").read_text()


def test_a_network_of_one_width_says_who_has_several(dscompile: CommandLine):
    outcome = dscompile("zoo", "show", "xception", "--width", 0.5)
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, "error: 'xception' has one width")


def test_an_unknown_network_gets_the_nearest_name(dscompile: CommandLine):
    outcome = dscompile("zoo", "show", "mobilenet_v4")
    assert outcome.code == 2
    assert outcome.err.startswith("error: the zoo has no network 'mobilenet_v4'\n  = help: did you mean 'mobilenet_v")


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
