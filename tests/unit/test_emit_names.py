"""C names, strings, comments and numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscompile.emit.driver import kernel_symbols
from dscompile.emit.interface import network_interface
from dscompile.emit.names import c_comment, c_float, c_identifier, c_string, network_prefix, spaced, unique_identifiers
from dscompile.emit.render import wrap
from tests.tiny_programs import several, single


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("kws", "kws"),
        ("MobileNet-V1 1.0/224", "mobilenet_v1_1_0_224"),
        ("serving_default_input:0", "serving_default_input_0"),
        ("3net", "net_3net"),
        ("Möbel", "mobel"),
        ("网络", "net"),
        ("", "net"),
        ("__x__", "x"),
        ("double", "double"),
        ("string", "string_net"),
        ("m", "m_net"),
        ("math.h", "math_h"),
        ("selftest", "selftest_net"),
    ],
)
def test_network_names_become_prefixes(name: str, identifier: str) -> None:
    assert network_prefix(name) == identifier


def test_names_that_become_equal_are_numbered() -> None:
    wanted = {"a": "x.y", "b": "x/y", "c": "x_y_2", "d": "X Y"}
    assert unique_identifiers(wanted, "t", ["x_y"]) == {"a": "x_y_2", "b": "x_y_3", "c": "x_y_2_2", "d": "x_y_4"}


def test_several_tensors_carry_their_names_and_a_single_one_does_not() -> None:
    net = network_interface(several().network)
    assert [(p.parameter, p.accessor, p.size_macro) for p in net.inputs] == [
        ("input_le_ft", "net_3_mobel_net_input_le_ft", "NET_3_MOBEL_NET_INPUT_LE_FT_SIZE"),
        ("input_le_ft_2", "net_3_mobel_net_input_le_ft_2", "NET_3_MOBEL_NET_INPUT_LE_FT_2_SIZE"),
    ]
    port = network_interface(single().network).outputs[0]
    assert (port.parameter, port.accessor, port.size_macro) == ("output", "tiny_output", "TINY_OUTPUT_SIZE")
    assert port.description == '"scores": float32 NHWC [1, 2, 3, 2]'


def test_kernels_that_are_called_like_the_interface_get_other_names() -> None:
    tiny = single()
    functions = tuple(
        type(f)(symbol, f.kernel, f.parameters)
        for f, symbol in zip(tiny.program.functions, ("run", "tiny_layers"), strict=True)
    )
    program = type(tiny.program)(
        **{**{k: getattr(tiny.program, k) for k in tiny.program.__dataclass_fields__}, "functions": functions}
    )
    assert kernel_symbols(program, network_interface(tiny.network)) == {
        "run": "tiny_run_2",
        "tiny_layers": "tiny_layers_2",
    }


@given(st.text())
def test_identifiers_are_identifiers(text: str) -> None:
    identifier = c_identifier(text, "t")
    assert identifier.isascii()
    assert identifier.isidentifier()
    assert identifier == identifier.lower()


@given(st.text())
def test_comments_stay_comments(text: str) -> None:
    comment = c_comment(text)
    assert "*/" not in comment
    assert "/*" not in comment
    assert "??" not in comment
    assert "\\" not in comment
    assert comment.isprintable()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_strings_and_floats_come_back_from_c_as_they_were(tmp_path: Path) -> None:
    texts = ["plain", 'quo"te', "back\\slash", "??/ trigraph", "é1 中9", "new\nline\ttab", "\x01\x7f0", "%s"]
    floats = [0.1, 1.0, -2.5, 1e-38, 3.4028234e38, 1e-45, 16777217.0, 1 / 3, -0.0]
    code = "".join(f"    fputs({c_string(text)}, stdout); putchar(0);\n" for text in texts)
    code += "".join(f"    {{ float x = {c_float(value)}; fwrite(&x, 4, 1, stdout); }}\n" for value in floats)
    (tmp_path / "x.c").write_text(f"#include <stdio.h>\nint main(void)\n{{\n{code}    return 0;\n}}\n")
    subprocess.run("gcc -std=c99 -Wall -Werror x.c -o x", shell=True, cwd=tmp_path, check=True)
    output = subprocess.run("./x", cwd=tmp_path, capture_output=True, check=True).stdout
    *strings, numbers = output.split(b"\0", len(texts))
    assert [string.decode() for string in strings] == texts
    assert numbers == np.array(floats, np.float32).tobytes()


def test_numbers_are_grouped() -> None:
    assert [spaced(n) for n in (0, 999, 2656768)] == ["0", "999", "2 656 768"]


def test_long_calls_have_one_argument_per_line() -> None:
    assert wrap("f(", ["a", "b"], ");") == "f(a, b);"
    assert wrap("f(", ["a" * 60, "b" * 60], ");", 4) == f"f({'a' * 60},\n      {'b' * 60});"
