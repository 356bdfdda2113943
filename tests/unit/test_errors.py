"""Errors as the user reads them, literally."""

from __future__ import annotations

import pytest

from dscompile.errors import (
    BadInputError,
    BudgetError,
    CheckFailedError,
    Diagnostic,
    DscompileError,
    ExitCode,
    Position,
    ToolError,
    UnsupportedError,
    UsageError,
    did_you_mean,
)


def test_diagnostic_with_everything_is_drawn_like_a_compilers():
    line = "    - seperable: {name: block, out: 64, kernel: 3, repeat: 4}"
    diagnostic = Diagnostic(
        "unknown layer 'seperable'", Position("net.yaml", 9, 7, 9, line), help="did you mean 'separable'?"
    )
    assert diagnostic.render() == "\n".join(
        [
            "error: unknown layer 'seperable'",
            "  --> net.yaml:9:7",
            "   |",
            " 9 |     - seperable: {name: block, out: 64, kernel: 3, repeat: 4}",
            "   |       ^^^^^^^^^",
            "  = help: did you mean 'separable'?",
        ]
    )


def test_margin_grows_with_the_line_number():
    assert Diagnostic("duplicate key", Position("net.yaml", 1204, 1, 4, "name: kws")).render() == "\n".join(
        [
            "error: duplicate key",
            "  --> net.yaml:1204:1",
            "      |",
            " 1204 | name: kws",
            "      | ^^^^",
        ]
    )


def test_file_without_a_line_is_only_named():
    assert Diagnostic("the file is empty", Position("net.yaml")).render() == "error: the file is empty\n  --> net.yaml"


def test_layer_is_named_before_the_message():
    diagnostic = Diagnostic("arena needs 21 504 B, cortex-m4 allows 20 480 B", layer="block2", help="try streaming")
    assert diagnostic.render() == (
        "error: layer block2: arena needs 21 504 B, cortex-m4 allows 20 480 B\n  = help: try streaming"
    )


def test_empty_underline_is_one_caret():
    rendered = Diagnostic("missing value", Position("net.yaml", 2, 6, 0, "name:")).render()
    assert rendered.endswith("2 | name:\n   |      ^")


def test_error_of_one_message_has_one_diagnostic():
    error = BadInputError("too short", layer="stem", help="add a row")
    assert error.diagnostics == (Diagnostic("too short", None, "stem", "add a row"),)
    assert str(error) == "error: layer stem: too short\n  = help: add a row"


def test_error_of_several_diagnostics_shows_all():
    error = BadInputError([Diagnostic("one"), Diagnostic("two", layer="stem")])
    assert str(error) == "error: one\nerror: layer stem: two"
    assert len(error.diagnostics) == 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (BadInputError, 3),
        (UnsupportedError, 3),
        (BudgetError, 4),
        (ToolError, 5),
        (CheckFailedError, 1),
    ],
)
def test_exit_codes(kind, code):
    assert kind("text").code == code
    assert isinstance(kind("text"), DscompileError)


def test_exit_codes_outside_of_errors():
    assert (ExitCode.OK, ExitCode.INTERNAL, ExitCode.INTERRUPTED) == (0, 70, 130)


def test_did_you_mean_finds_the_nearest_word_or_none():
    assert did_you_mean("seperable", ["conv", "separable", "dense"]) == "did you mean 'separable'?"
    assert did_you_mean("quux", ["conv", "separable", "dense"]) is None
