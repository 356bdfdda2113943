"""dscompile quantize NET."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import input_shape_option, net_argument, netfile_output_option, weights_option
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.report.quantization import quantize_record, quantize_text

if TYPE_CHECKING:
    from dscompile.ir.storage import WeightBits, WeightType
    from dscompile.ir.tensor import Rounding
    from dscompile.quantization import Method, WeightRounding


def _layer_weights(text: str) -> tuple[str, WeightType]:
    """`stem=int8`."""
    from dscompile.ir.storage import WEIGHT_TYPES

    name, _, word = text.rpartition("=")
    for known in WEIGHT_TYPES:
        if name and word == known:
            return name, known
    raise click.BadParameter(f"'{text}' is not a layer and one of {', '.join(WEIGHT_TYPES)}, such as stem=int8")


@subcommand("quantize")
@net_argument
@click.option(
    "--calibrate",
    type=click.Path(),
    metavar="DATA.NPZ",
    help="Typical inputs: for each input of the network an array [N, ...].  [default: as the net.yaml says]",
)
@netfile_output_option("<net>_int8.yaml")
@click.option(
    "--method",
    type=click.Choice(("min-max", "percentile", "mse")),
    help="How ranges are chosen.  [default: as the net.yaml says, or mse]",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Share of the values that a range covers, with percentile.  [default: as the net.yaml says, or 0.9999]",
)
@click.option(
    "--rounding",
    type=click.Choice(("tflite", "float32", "half-up", "single")),
    help="How layers requantize.  [default: as the net.yaml says, or tflite]",
)
@click.option("--no-equalize", is_flag=True, help="Do not try cross-layer equalization.")
@click.option("--no-bias-correction", is_flag=True, help="Do not try bias correction.")
@click.option(
    "--weight-rounding",
    type=click.Choice(("nearest", "optimized")),
    default="optimized",
    show_default=True,
    help="Each weight to the nearest integer, or all so that errors cancel in the layer's sums, where that helps.",
)
@click.option(
    "--weight-type",
    type=click.Choice(("int8", "int4")),
    help="Bits of the weights of all layers over channels but the first and the last.  [default: as the net.yaml says, "
    "or int8]",
)
@click.option(
    "--sparsity",
    type=click.Choice(("2:4", "none")),
    help="Leave two of each four weights, in the same layers.  [default: as the net.yaml says, or none]",
)
@click.option(
    "--layer-weights",
    multiple=True,
    metavar="LAYER=TYPE",
    callback=lambda _context, _option, values: dict(_layer_weights(text) for text in values),
    help="int8, int4, 2:4 or int4-2:4 for one layer.  Repeats.",
)
@click.option(
    "--against",
    type=click.Path(),
    metavar="DATA.NPZ",
    help="Other inputs: compare the outputs with float32 on them, too.",
)
@weights_option
@input_shape_option
def command(
    net: str,
    calibrate: str | None,
    destination: str | None,
    method: Method | None,
    keep: float | None,
    rounding: Rounding | None,
    no_equalize: bool,
    no_bias_correction: bool,
    weight_rounding: WeightRounding,
    weight_type: WeightBits | None,
    sparsity: Literal["2:4", "none"] | None,
    layer_weights: dict[str, WeightType],
    against: str | None,
    weights: str | None,
    input_shapes: dict[str, tuple[int, ...]],
) -> None:
    """Turn a float32 network into an int8 network.

    Ranges come from the calibration data. Equalization, bias correction and weight rounding are kept only where they
    bring the outputs nearer to float32. Columns: SQNR, signal to quantization noise of the layer's result; kernel, that
    of its weights; clipped, the share of results outside of the range.
    """
    with shown_progress() as progress:
        result = api.quantize(
            net,
            calibrate,
            destination,
            method=method,
            keep=keep,
            rounding=rounding,
            equalize=not no_equalize,
            bias_correction=not no_bias_correction,
            weight_rounding=weight_rounding,
            weight_type=weight_type,
            sparsity=sparsity,
            layer_weights=layer_weights,
            against=against,
            weights=weights,
            input_shapes=input_shapes,
            progress=progress,
        )
    path = str(result.path)
    output.result(quantize_text(path, result.quantized), quantize_record(path, result.quantized))
