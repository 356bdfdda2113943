"""How commands are found and how they end."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import click
import pytest

from dscompile import __version__, api
from dscompile.cli.main import COMMANDS, cli
from dscompile.errors import CheckFailedError, Diagnostic, Position, ToolError
from tests.cli.conftest import CommandLine


def raising(error: BaseException):
    """A function that raises `error`, whatever it is called with."""

    def function(*arguments, **options):
        raise error

    return function


def test_version(dscompile: CommandLine):
    outcome = dscompile("--version")
    assert (outcome.code, outcome.out) == (0, f"dscompile {__version__}\n")


def test_help_lists_all_commands_in_the_order_of_use(dscompile: CommandLine):
    outcome = dscompile("--help")
    assert outcome.code == 0
    listed = [line.split()[0] for line in outcome.out.partition("Commands:\n")[2].splitlines()]
    assert listed == [
        "init",
        "import",
        "check",
        "inspect",
        "build",
        "verify",
        "run",
        "bench",
        "tune",
        "quantize",
        "factorize",
        "stream",
        "export",
        "zoo",
        "targets",
        "farm",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_a_summary_and_the_common_options(name: str):
    module, summary = COMMANDS[name]
    command = import_module(f"dscompile.cli.{module}").command
    assert command.name == name
    assert command.help
    assert summary.endswith(".")
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert {"--json", "--quiet", "--verbose", "--seed"} <= {option for p in leaf.params for option in p.opts}


def test_no_command_is_a_usage_error(dscompile: CommandLine):
    outcome = dscompile()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: missing command\n  = help: 'dscompile --help' shows what it takes\n"


def test_an_unknown_command_gets_the_nearest_one(dscompile: CommandLine):
    outcome = dscompile("chekc", "net.yaml")
    assert outcome.code == 2
    assert outcome.err == "error: unknown command 'chekc'\n  = help: did you mean 'check'?\n"


def test_an_unknown_option(dscompile: CommandLine):
    outcome = dscompile("check", "net.yaml", "--frobnicate")
    assert outcome.code == 2
    assert outcome.err == (
        "error: no such option '--frobnicate'\n  = help: 'dscompile check --help' shows what it takes\n"
    )


def test_a_usage_error_as_json(dscompile: CommandLine):
    outcome = dscompile("chekc", "--json")
    assert outcome.code == 2
    assert json.loads(outcome.out)["error"] == {
        "code": 2,
        "message": "unknown command 'chekc'",
        "file": None,
        "line": None,
        "column": None,
        "layer": None,
        "help": "did you mean 'check'?",
    }


def test_common_options_stand_before_or_after_the_command(dscompile: CommandLine, tiny: Path):
    assert dscompile("--json", "check", tiny) == dscompile("check", tiny, "--json")


def test_a_negative_seed_is_a_usage_error(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("check", tiny, "--seed", "-1")
    assert outcome.code == 2
    assert "invalid value for '--seed'" in outcome.err


def test_several_diagnostics_are_all_printed(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    problems = (Diagnostic("first", Position("a.yaml")), Diagnostic("second", layer="stem", help="try this"))
    monkeypatch.setattr(api, "check", raising(CheckFailedError(problems)))
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 1
    assert outcome.err == "error: first\n  --> a.yaml\n\nerror: layer stem: second\n  = help: try this\n"


def test_a_missing_tool_is_exit_5(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(ToolError("gcc is missing")))
    assert dscompile("check", "net.yaml").code == 5


def test_a_file_the_system_refuses_is_exit_5(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(PermissionError(13, "Permission denied", "secret.npz")))
    outcome = dscompile("check", "net.yaml")
    assert (outcome.code, outcome.err) == (5, "error: cannot use 'secret.npz': Permission denied\n")


def test_our_own_bug_shows_no_traceback(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(KeyError("oops")))
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 70
    assert outcome.err == (
        "error: this is a bug in dscompile: KeyError: 'oops'\n"
        "  = help: please report it with the output of the same command and -v\n"
    )


def test_our_own_bug_shows_a_traceback_with_v(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(KeyError("oops")))
    outcome = dscompile("check", "net.yaml", "-v")
    assert outcome.code == 70
    assert "Traceback (most recent call last)" in outcome.err


def test_our_own_bug_as_json(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(KeyError("oops")))
    error = json.loads(dscompile("check", "net.yaml", "--json").out)["error"]
    assert (error["code"], error["message"]) == (70, "this is a bug in dscompile: KeyError: 'oops'")


def test_an_interrupt_is_exit_130(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(KeyboardInterrupt()))
    outcome = dscompile("check", "net.yaml")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "interrupted\n")


def test_an_interrupt_as_json(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "check", raising(KeyboardInterrupt()))
    outcome = dscompile("check", "net.yaml", "--json")
    assert outcome.code == 130
    assert json.loads(outcome.out)["error"]["message"] == "interrupted"


def test_completion_offers_targets_and_networks():
    build = import_module("dscompile.cli.build").command
    context = click.Context(build, info_name="build")
    target = next(p for p in build.params if p.name == "targets")
    assert [item.value for item in target.shell_complete(context, "x86-a")] == [
        "x86-avx2",
        "x86-avx512",
        "x86-avx512bf16",
        "x86-avx512vnni",
    ]
    show = import_module("dscompile.cli.zoo").command.commands["show"]
    assert [item.value for item in show.params[0].shell_complete(context, "ds")] == ["ds_cnn", "ds_cnn_l", "ds_cnn_m"]


def test_completion_offers_commands():
    assert [item.value for item in cli.shell_complete(click.Context(cli), "in")] == ["init", "inspect"]
