"""Standalone C as its user meets it: warnings, symbols, sanitizers, C++, sizes, errors."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.artifact import Artifact, load_artifact
from dscompile.emit.mcu import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.errors import UnsupportedError
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Conv2D, Dense, Pads, Pool, Reshape, Softmax
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.run.selftest import SANITIZERS, run_selftest
from dscompile.target import find_target
from tests.mcu import WARNINGS, assert_equals_oracle, planned, random_inputs, write
from tests.quantized_networks import Quantizer
from tests.sanitized import SanitizedModel
from tests.tools import require_tools

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def small_float() -> Network:
    """A stem, a separable block, a classifier."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("small net")

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    x = builder.input(Tensor("image", (1, 10, 9, 3)))
    x = builder.add(
        "stem", Conv2D(8, (3, 3), (2, 2), Pads(0, 1, 1, 1), activation=RELU), [x], kernel=weights(3, 3, 3, 8)
    )
    depthwise = Conv2D(8, (3, 3), (1, 1), Pads(1, 1, 1, 1), groups=8, activation=RELU)
    x = builder.add("block.depthwise", depthwise, [x], kernel=weights(3, 3, 1, 8), bias=weights(8))
    x = builder.add("block.pointwise", Conv2D(12, (1, 1), activation=RELU), [x], kernel=weights(1, 1, 8, 12))
    x = builder.add("pool", Pool("average"), [x])
    x = builder.add("flat", Reshape((1, 12)), [x])
    x = builder.add("classifier", Dense(4), [x], kernel=weights(12, 4), bias=weights(4))
    return builder.build([builder.add("softmax", Softmax(), [x])], ["up", "down", "left", "right"])


def small_int8() -> Network:
    source = small_float()
    network = Quantizer(source, np.random.default_rng(1), "tflite", float_borders=False).run()
    return replace(network, labels=source.labels)


@pytest.fixture(
    scope="module", params=["float32", "int8", "int8 pairs", "int8 words", "int8 blocks", "int8 vectors", "int8 rvv"]
)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    network = small_float() if request.param == "float32" else small_int8()
    target = find_target("c99")
    sets = {
        "int8 pairs": "dsp",
        "int8 words": "m0plus",
        "int8 blocks": "block4x4",
        "int8 vectors": "mve",
        "int8 rvv": "rvv",
    }
    if request.param in sets:
        target = replace(target, kernels=(sets[request.param], "c99"))
    return write(network, tmp_path_factory.mktemp("small") / "a", target)


def compiled(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sources_compile_without_a_warning(artifact, compiler, tmp_path):
    require_tools(compiler)
    sources = [str(path) for path in artifact.sources]
    for level in ("-O0", "-O2"):
        compiled([compiler, *WARNINGS, level, "-c", *sources], tmp_path)
    compiled([compiler, *WARNINGS, "-c", str(artifact.selftest)], tmp_path)


def test_header_is_cpp(artifact, tmp_path):
    (tmp_path / "user.cpp").write_text(f'#include "{artifact.header.name}"\nint main() {{ return 0; }}\n')
    require_tools("g++")
    compiled(
        ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{artifact.directory}", "-c", "user.cpp"], tmp_path
    )


def test_code_needs_only_memcpy_and_memset_and_has_no_variables(artifact, tmp_path):
    compiled(["gcc", "-std=c99", "-O2", "-fno-pic", "-c", *map(str, artifact.sources)], tmp_path)
    for path in tmp_path.glob("*.o"):
        symbols = [line.split() for line in compiled(["nm", str(path)], tmp_path).splitlines()]
        undefined = {parts[-1] for parts in symbols if parts[-2] == "U" and not parts[-1].startswith("small_net_")}
        assert undefined <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
        assert [parts[-1] for parts in symbols if parts[-2] in "dDbBcC"] == []


def test_selftest_passes_under_sanitizers(artifact):
    result = run_selftest(artifact, SANITIZERS)
    assert result.passed, result.message


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    ("statement", "report"),
    [
        ("output[0] = input[SMALL_NET_INPUT_SIZE];", "heap-buffer-overflow"),
        ("output[SMALL_NET_OUTPUT_SIZE] = 0;", "heap-buffer-overflow"),
        ("((volatile uint8_t *)arena)[SMALL_NET_ARENA_SIZE] = 0;", "heap-buffer-overflow"),
        ("output[0] = (int8_t)(1 << (arena->bytes[0] + 32));", "shift exponent"),
    ],
    ids=["input", "output", "arena", "shift"],
)
def test_sanitizers_see_what_a_kernel_does_beside_its_tensors(statement, report, compiler, tmp_path):
    artifact = write(small_int8(), tmp_path / "a")
    inputs = random_inputs(small_int8(), 0)
    code = artifact.driver.read_text()
    start = code.index("{", code.index("small_net_run(")) + 1
    artifact.driver.write_text(f"{code[:start]}\n    {statement}{code[start:]}")
    with pytest.raises(AssertionError, match=report):
        SanitizedModel(artifact, compiler, tmp_path).run(inputs)


def test_selftest_finds_a_changed_weight(artifact, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(artifact.directory, copy)
    weights = copy / "small_net_weights.c"
    text = weights.read_text()
    (start,) = (found.start() for found in re.finditer(r"_classifier_(bias|constants)\[\d+\] = {", text))
    first = re.search(r"-?[0-9.e+-]+f?,", text[start:])
    assert first is not None
    place = start + first.start()
    weights.write_text(text[:place] + "1000000," + text[place + len(first[0]) :])
    assert not run_selftest(load_artifact(copy)).passed


def test_sources_are_clang_format_clean(artifact):
    require_tools("clang-format")
    files = [str(path) for path in sorted(artifact.directory.glob("*.[ch]"))]
    compiled(["clang-format", f"--style=file:{ROOT / '.clang-format'}", "--dry-run", "--Werror", *files], ROOT)


def test_sources_are_cppcheck_clean(artifact):
    require_tools("cppcheck")
    command = ["cppcheck", "--std=c99", "--enable=warning,performance,portability", "--inline-suppr", "--quiet"]
    compiled([*command, "--error-exitcode=1", *map(str, artifact.sources)], ROOT)


def test_weights_stand_16_on_a_line(artifact):
    lines = (artifact.directory / "small_net_weights.c").read_text().splitlines()
    rows = [line.count(",") for line in lines if re.match(r"\s+-?[0-9.e+f-]+,", line)]
    assert max(rows) == 16


def test_header_tells_scale_and_zero_point_of_int8_borders(tmp_path):
    header = write(small_int8(), tmp_path / "a").header.read_text()
    assert re.search(r"#define SMALL_NET_INPUT_SCALE 0\.\d+f ", header)
    assert re.search(r"#define SMALL_NET_INPUT_ZERO_POINT (\d+|\(-\d+\))\n", header)
    assert "#define SMALL_NET_OUTPUT_SCALE 0.00390625f" in header
    assert "#define SMALL_NET_OUTPUT_ZERO_POINT (-128)" in header
    assert "rounding 'tflite'" in header
    assert re.search(
        r"MAC, arena [0-9 ]+ B, flash [0-9 ]+ B \(weights and biases [0-9 ]+\), stack at most [0-9 ]+ B", header
    )


def test_same_network_gives_the_same_bytes(tmp_path):
    one, two = (write(small_int8(), tmp_path / name) for name in ("one", "two"))
    assert [c.sha256 for c in one.manifest.checksums] == [c.sha256 for c in two.manifest.checksums]


def test_a_batch_is_refused():
    builder = NetworkBuilder("batch")
    x = builder.input(Tensor("x", (2, 4)))
    network = builder.build([builder.add("softmax", Softmax(), [x])])
    with pytest.raises(UnsupportedError, match="batch of 2; only 1 is supported"):
        planned(network)


def test_an_output_that_is_an_input_is_refused():
    builder = NetworkBuilder("nothing")
    x = builder.input(Tensor("x", (1, 4)))
    builder.add("softmax", Softmax(), [x])
    with pytest.raises(UnsupportedError, match="'x' is an input of the network; there is nothing to compute"):
        planned(builder.build([x, "softmax"]))


def test_a_softmax_of_another_output_scale_is_refused():
    builder = NetworkBuilder("odd", "tflite")
    x = builder.input(Tensor("x", (1, 4), "int8", Quantization((0.1,), 3)))
    network = builder.build([builder.add("softmax", Softmax(), [x], quantization=Quantization((0.1,), 3))])
    with pytest.raises(UnsupportedError, match="an int8 softmax makes scale 1/256 and zero point -128"):
        planned(network)


def test_another_selftest_input_is_our_bug(tmp_path):
    network = small_float()
    inputs = {name: array + 1 for name, array in selftest_input(network).items()}
    with pytest.raises(ValueError, match="self-test input 'image' is not what selftest_input"):
        write_artifact(planned(network), inputs, {}, tmp_path / "a", origin="test")


def test_a_selftest_output_of_another_shape_is_our_bug(tmp_path):
    network = small_float()
    with pytest.raises(ValueError, match=r"self-test output 'softmax' must be float32 \[1, 4\]"):
        write_artifact(planned(network), selftest_input(network), {}, tmp_path / "a", origin="test")


def long_softmax(elements: int) -> Network:
    builder = NetworkBuilder("long", "tflite")
    x = builder.input(Tensor("x", (1, elements), "int8", Quantization((0.005,), 3)))
    return builder.build([builder.add("softmax", Softmax(), [x], quantization=Quantization((1 / 256,), -128))])


@pytest.mark.parametrize("elements", [511, 513, 3000, 8191])
def test_a_softmax_of_many_elements_whose_shares_vanish(elements):
    assert_equals_oracle(long_softmax(elements), (0,))


def test_a_softmax_whose_sum_can_overflow_is_refused():
    with pytest.raises(UnsupportedError, match="softmax over 8192 elements can overflow its 32-bit sum; 8191 is"):
        planned(long_softmax(8192))
