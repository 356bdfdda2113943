"""The Python API: what is public, lazy, and refused."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile.errors import BadInputError, UsageError

NET = """\
dscompile: 1
network:
  name: pair
  inputs:
    - {name: left, shape: [1, 5, 5, 3]}
    - {name: right, shape: [1, 5, 5, 3]}
  layers:
    - add: {name: sum, from: [left, right]}
    - pointwise: {name: out, out: 4}
weights: {seed: 1}
"""

PUBLIC = (
    *("Model", "Network", "NetworkBuilder"),
    *("bench", "build", "check", "export", "export_onnx", "factorize", "import_model", "import_onnx", "init"),
    *("inspect", "load", "quantize", "stream", "tune", "verify"),
)


def test_public_names_are_documented_and_found():
    for name in PUBLIC:
        assert getattr(dscompile, name).__doc__
        assert name in dir(dscompile)
    assert issubclass(dscompile.DscompileError, Exception)


def test_no_module_has_the_name_of_a_function_whose_place_it_would_take_once_it_is_imported():
    assert {module.name for module in pkgutil.iter_modules(dscompile.__path__)}.isdisjoint(PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dscompile' has no attribute 'biuld'"):
        _ = dscompile.biuld


def test_check_returns_a_record(tmp_path: Path):
    path = tmp_path / "net.yaml"
    path.write_text(NET.replace("sum,", "total,"))
    result = dscompile.check(path)
    assert result.path == path
    assert result.inspection.macs == 5 * 5 * 3 * 4
    assert [row.name for row in result.inspection.layers] == ["total", "out"]


def test_errors_are_dscompile_errors_with_diagnostics(tmp_path: Path):
    path = tmp_path / "net.yaml"
    path.write_text(NET.replace("pointwise", "pointwize"))
    with pytest.raises(BadInputError, match="unknown layer 'pointwize'") as caught:
        dscompile.check(path)
    assert caught.value.diagnostics[0].position.line == 9


def test_no_target_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no target is given"):
        dscompile.build(tmp_path / "net.yaml", target=[])


def test_nothing_to_bench_is_refused():
    with pytest.raises(UsageError, match="no artifact is given"):
        dscompile.bench([])
    with pytest.raises(UsageError, match="0 repeats measure nothing"):
        dscompile.bench(["x"], repeats=0)


@pytest.mark.slow
def test_a_model_with_two_inputs_takes_a_mapping(tmp_path: Path):
    (tmp_path / "net.yaml").write_text(NET)
    events = []
    model = dscompile.build(tmp_path / "net.yaml", output=tmp_path / "out", progress=events.append)
    assert [event.stage.split()[0] for event in events[:3]] == ["reading", "planning", "compiling"]
    x = np.ones((1, 5, 5, 3), np.float32)
    y = model({"left": x, "right": 2 * x})
    assert y.shape == (1, 5, 5, 4)
    assert model.path == tmp_path / "out"
    with pytest.raises(UsageError, match=r"the network has 2 inputs \(left, right\); give a mapping by name"):
        model(x)
    assert dscompile.verify(tmp_path / "out").ok


@pytest.mark.slow
def test_several_targets_give_a_tuple(tmp_path: Path):
    (tmp_path / "net.yaml").write_text(NET)
    models = dscompile.build(tmp_path / "net.yaml", target=["x86-avx2"], output=tmp_path / "out")
    assert [model.artifact.manifest.target.name for model in models] == ["x86-avx2"]


@pytest.mark.slow
def test_the_example_of_the_readme(tmp_path: Path):
    (tmp_path / "net.yaml").write_text(NET.replace("network:", "network:"))
    script = (
        "import dscompile, numpy\n"
        "model = dscompile.build('net.yaml', target='x86')\n"
        "x = numpy.zeros((1, 5, 5, 3), numpy.float32)\n"
        "print(model({'left': x, 'right': x}).shape)\n"
    )
    root = Path(dscompile.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("(1, 5, 5, 4)\n", "")
