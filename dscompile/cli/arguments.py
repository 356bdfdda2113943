"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from dscompile.cli.completion import complete_target
from dscompile.errors import UsageError
from dscompile.ir.memory import MEMORY_MODES

net_argument = click.argument("net", type=click.Path())

artifact_argument = click.argument("directory", type=click.Path(), metavar="DIR")

weights_option = click.option(
    "--weights",
    type=click.Path(),
    metavar="FILE",
    help="An .npz or .safetensors file instead of the weights that the net.yaml names; it may lie anywhere.",
)

rounding_option = click.option(
    "--rounding",
    type=click.Choice(("tflite", "float32", "half-up", "single")),
    help="How int8 layers requantize.  [default: tflite for .tflite, float32 for .onnx; a net.yaml says it itself]",
)

input_shape_option = click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    callback=lambda _context, _option, texts: dict(map(_input_shape, texts)),
    metavar="NAME:1x3x480x640",
    help="The shape of an input whose sizes an .onnx file leaves open, in the file's order of axes. Repeats.",
)

runner_option = click.option(
    "--runner",
    metavar="ssh://[USER@]HOST[:PORT]",
    help="Another machine to run the artifact on, through OpenSSH; what is copied there is removed afterwards.",
)

targets_option = click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    shell_complete=complete_target,
    help="What to build for: a name of 'dscompile targets list' or a target file. Repeats.  [default: host]",
)

target_option = click.option(
    "-t",
    "--target",
    metavar="TARGET",
    shell_complete=complete_target,
    help="Also show the roofline and the arena for this target.",
)

memory_option = click.option(
    "--memory",
    type=click.Choice(MEMORY_MODES),
    help="What standalone C may give for a smaller arena: nothing, 5 % more instructions, or the input row by row.  "
    "[default: as the net.yaml says, or fast]",
)

tuning_option = click.option(
    "--tuning",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="Tuning records of a target, before those that ship with dscompile. Repeats.",
)

no_tuning_option = click.option(
    "--no-tuning", is_flag=True, help="Take no tuning records: tiles by the target's rule, for comparison."
)


def chosen_tuning(files: tuple[str, ...], no_tuning: bool) -> tuple[str, ...] | None:
    """What both options say together; None is none at all. Raises UsageError if they contradict each other."""
    if files and no_tuning:
        raise UsageError("--tuning and --no-tuning exclude each other")
    return None if no_tuning else files


def netfile_output_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """-o, where a command writes a network; `default` is what the help says of it."""
    return click.option(
        "-o",
        "--output",
        "destination",
        type=click.Path(),
        metavar="NET.YAML",
        help=f"The net.yaml to write; its weights go beside it.  [default: {default}]",
    )


def _input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`NAME:1x3x480x640`; names may hold colons themselves."""
    name, _, sizes = text.rpartition(":")
    if not name or not re.fullmatch(r"\d{1,9}([x,]\d{1,9})*", sizes, re.ASCII):
        raise click.BadParameter(f"'{text}' is not a name and a shape, such as image:1x3x480x640")
    return name, tuple(int(size) for size in re.split("[x,]", sizes))
