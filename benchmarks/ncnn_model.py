"""ncnn's own format, made of an .onnx file by pnnx, a program in the package of that name."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.worker import ContenderError


def ncnn_model(model: Path, folder: Path) -> Path:
    """<folder>/<name>.ncnn.param, beside it its .bin, in float32. ContenderError without pnnx, or if it cannot."""
    import onnx

    package = importlib.util.find_spec("pnnx")  # to import it takes torch, its program does not
    if package is None or package.origin is None:
        raise ContenderError("pnnx is missing: pip install --no-deps pnnx")
    program = Path(package.origin).with_name("pnnx")
    (info,) = onnx.load(model, load_external_data=False).graph.input
    shape = ",".join(str(dimension.dim_value) for dimension in info.type.tensor_type.shape.dim)
    param = folder / f"{model.stem}.ncnn.param"
    with tempfile.TemporaryDirectory() as scratch:  # pnnx writes nine files beside its input
        copy = Path(shutil.copy(model, scratch))
        done = subprocess.run(
            [program, copy.name, f"inputshape=[{shape}]", "fp16=0"],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        made = Path(scratch) / param.name
        if done.returncode or not made.is_file():
            raise ContenderError(f"pnnx: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        for file in (made, made.with_suffix(".bin")):
            shutil.copy(file, folder / file.name)
    return param
