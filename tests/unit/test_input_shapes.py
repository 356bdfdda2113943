"""Shapes that a user gives for the inputs of models whose files leave sizes open: --input-shape."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import api
from dscompile.errors import UnsupportedError, UsageError
from dscompile.frontend.load import load_network
from dscompile.frontend.onnx.importer import import_onnx
from tests.import_onnx_models import assert_equals_onnxruntime, model, node, saved


def dynamic(names=("x",)):
    """Flattens what a convolution makes of an image of open height and width, through shape arithmetic."""
    nodes = [
        node("Conv", f"{names[0]} w", "c", pads=[1, 1, 1, 1]),
        node("Shape", "c", "s"),
        node("Slice", "s one two", "n"),
        node("Concat", "n rest", "target", axis=0),
        node("Reshape", "c target"),
    ]
    constants = {
        "w": np.ones((4, 3, 3, 3), np.float32),
        "one": np.array([0]),
        "two": np.array([1]),
        "rest": np.array([-1]),
    }
    return model(nodes, dict.fromkeys(names, ("N", 3, "H", "W")), constants)


def test_open_sizes_are_those_that_the_user_gives(tmp_path):
    path = saved(dynamic(), tmp_path)
    network = import_onnx(path, shapes={"x": (1, 3, 6, 5)})
    assert network.shape("x") == (1, 6, 5, 3)
    assert network.shape("y") == (1, 120)
    assert_equals_onnxruntime(network, path, 1e-5)


def test_without_them_the_error_shows_the_option(tmp_path):
    with pytest.raises(UnsupportedError, match="axis 2 of input 'x' is dynamic") as caught:
        import_onnx(saved(dynamic(), tmp_path))
    assert [found.help for found in caught.value.diagnostics] == ["say how large it is: --input-shape x:1x3xNxN"] * 2


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": (1, 3, 6, 5)}, "the model has no input 'y' to give a shape"),
        ({"x": (1, 4, 6, 5)}, r"input 'x' is \[\?, 3, \?, \?\] in the file, which \[1, 4, 6, 5\] does not fit"),
        ({"x": (3, 6, 5)}, r"which \[3, 6, 5\] does not fit"),
        ({"x": (1, 3, 0, 5)}, "the shape of input 'x' must be sizes of at least 1"),
        ({"x": ()}, "the shape of input 'x' must be sizes of at least 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        import_onnx(saved(dynamic(), tmp_path), shapes=shapes)


def test_a_batch_is_still_one(tmp_path):
    with pytest.raises(UnsupportedError, match="input 'x' has batch 2; only batch 1 is supported"):
        import_onnx(saved(dynamic(), tmp_path), shapes={"x": (2, 3, 6, 5)})


def test_a_name_may_be_that_of_the_imported_network(tmp_path):
    path = saved(dynamic(("input:img",)), tmp_path)
    for name in ("input:img", "input_img"):
        assert import_onnx(path, shapes={name: (1, 3, 4, 4)}).shape("input_img") == (1, 4, 4, 3)


def test_other_files_have_fixed_shapes(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text("dscompile: 1\n")
    with pytest.raises(UsageError, match=r"the inputs of 'net\.yaml' have fixed shapes"):
        load_network(path, shapes={"x": (1, 3, 6, 5)})


@pytest.mark.slow
def test_verify_takes_the_open_sizes_from_the_artifact(tmp_path):
    path = saved(dynamic(), tmp_path)
    made = api.build(path, "c99", tmp_path / "artifact", input_shapes={"x": (1, 3, 6, 5)})
    verification = api.verify(made.path, path)
    assert verification.ok
    assert any(check.against.startswith("onnxruntime") for check in verification.checks)
