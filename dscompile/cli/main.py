"""The entry point: finds the command, and turns every way a command can end into an exit code.

Commands are imported when they are called, so that `dscompile check` does not pay for what `dscompile build` needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from dscompile.cli import output
from dscompile.cli.settings import CONTEXT, Settings, common_options
from dscompile.errors import Diagnostic, DscompileError, ExitCode, ToolError, did_you_mean
from dscompile.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a starter net.yaml with weights that builds at once."),
    "import": ("import_model", "Turn an .onnx or .tflite model into net.yaml and weights."),
    "check": ("check", "Check a network: schema, shapes, weights, budgets."),
    "inspect": ("inspect", "Show what every layer of a network is and costs."),
    "build": ("build", "Compile a network to a C header and a library."),
    "verify": ("verify", "Run an artifact and compare it with the NumPy oracle."),
    "run": ("run", "Run one inference."),
    "bench": ("bench", "Measure the speed of artifacts, alone or beside other runtimes."),
    "tune": ("tune", "Find the fastest tiles of every layer by measuring."),
    "quantize": ("quantize", "Turn a float32 network into an int8 network."),
    "factorize": ("factorize", "Turn standard convolutions into sums of separable ones."),
    "stream": ("stream", "Turn a network over a window into one of new frames alone."),
    "export": ("export", "Write a network as an ONNX model."),
    "zoo": ("zoo", "The networks that come with dscompile."),
    "targets": ("targets", "The machines that artifacts can be built for."),
    "farm": ("farm", "Devices that measure candidates: tracker, device, status."),
}
_BROKEN_PIPE = 128 + 13  # as if ended by SIGPIPE


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"dscompile.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command of `args`; an unknown one is a usage error with the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError(f"unknown command '{args[0]}'", did_you_mean(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


class UnknownNameError(click.UsageError):
    """A word on the command line that is not known, with the nearest one that is."""

    def __init__(self, message: str, help: str | None) -> None:
        super().__init__(message)
        self.help = help


@click.group("dscompile", cls=LazyGroup, context_settings=CONTEXT, no_args_is_help=False)
@click.version_option(__version__, message="dscompile %(version)s")
def cli() -> None:
    """Ahead-of-time compiler for depthwise-separable CNNs.

    NET is a net.yaml, or an .onnx or .tflite file directly.
    """


cli.params += common_options()


def run() -> NoReturn:
    """What the installed `dscompile` calls."""
    if "_DSCOMPILE_COMPLETE" in os.environ:
        cli.main(prog_name="dscompile", complete_var="_DSCOMPILE_COMPLETE", obj=Settings())
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _quiet_broken_pipe()
    sys.exit(code)


def main(args: Sequence[str]) -> int:
    """Runs a command line and returns its exit code (docs/exit-codes.md). Errors are printed, never raised."""
    settings = Settings(json="--json" in args, verbose="-v" in args or "--verbose" in args)
    try:
        with cli.make_context("dscompile", list(args), obj=settings) as context:
            code = cli.invoke(context)
            return int(code or ExitCode.OK)
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except click.ClickException as error:
        return _fail(_usage_diagnostic(error), ExitCode.USAGE, settings)
    except DscompileError as error:
        return _fail(error, error.code, settings)
    except (KeyboardInterrupt, click.Abort):
        return _fail(Diagnostic("interrupted"), ExitCode.INTERRUPTED, settings)
    except BrokenPipeError:
        return _quiet_broken_pipe()
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        return _fail(ToolError(f"cannot use{where}: {error.strerror or error}"), ExitCode.TOOL_MISSING, settings)
    except Exception as error:  # whatever it is, the user must not see a traceback
        return _bug(error, settings)


def _fail(error: DscompileError | Diagnostic, code: ExitCode, settings: Settings) -> int:
    if settings.json:
        output.print_json(output.error_record(error, code))
    elif code is ExitCode.INTERRUPTED:
        print("interrupted", file=sys.stderr)
    else:
        diagnostics = error.diagnostics if isinstance(error, DscompileError) else (error,)
        print(output.error_text(diagnostics), file=sys.stderr)
    return int(code)


def _usage_diagnostic(error: click.ClickException) -> Diagnostic:
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "dscompile"
    advice = getattr(error, "help", None) or f"'{path} --help' shows what it takes"
    message = error.format_message().rstrip(".")
    return Diagnostic(message[:1].lower() + message[1:], help=advice)


def _bug(error: Exception, settings: Settings) -> int:
    if settings.verbose:
        import traceback

        traceback.print_exception(error)
    advice = "please report it with the output of the same command and -v"
    bug = Diagnostic(f"this is a bug in dscompile: {type(error).__name__}: {error}", help=advice)
    return _fail(bug, ExitCode.INTERNAL, settings)


def _quiet_broken_pipe() -> int:
    """Whoever read our output has gone; nothing more is written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE
