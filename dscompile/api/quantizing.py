"""Float32 networks as int8 networks. Nothing here imports tvm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from dscompile.api.networks import Source, destination_beside, read_network, require_no_state, source_name
from dscompile.errors import UsageError
from dscompile.report.progress import Event, Progress, silent

if TYPE_CHECKING:
    from dscompile.frontend.input_shapes import InputShapes
    from dscompile.frontend.loaded import NetFile
    from dscompile.frontend.settings import QuantizationSettings
    from dscompile.ir.storage import Sparsity, WeightBits, WeightType
    from dscompile.ir.tensor import Rounding
    from dscompile.quantization import Method, WeightRounding
    from dscompile.quantization.pipeline import Quantized


@dataclass(frozen=True)
class QuantizeResult:
    """The int8 network with its report, and the net.yaml that describes it (its weights lie beside it)."""

    quantized: Quantized
    path: Path


def quantize(
    source: Source,
    calibrate: str | Path | None = None,
    output: str | Path | None = None,
    *,
    method: Method | None = None,
    keep: float | None = None,
    rounding: Rounding | None = None,
    equalize: bool = True,
    bias_correction: bool = True,
    weight_rounding: WeightRounding = "optimized",
    weight_type: WeightBits | None = None,
    sparsity: Literal["2:4", "none"] | None = None,
    layer_weights: Mapping[str, WeightType] = MappingProxyType({}),
    against: str | Path | None = None,
    weights: str | Path | None = None,
    input_shapes: InputShapes | None = None,
    progress: Progress = silent,
) -> QuantizeResult:
    """Turns a float32 network into an int8 network, written as a net.yaml and its weights.

    `calibrate` is an .npz file with an array [N, ...] for each input (see docs/quantization.md). It, `method`, `keep`
    (for the method percentile) and `rounding` default to what the section `quantization:` of a net.yaml says, then to
    mse, 0.9999 and tflite. `weight_rounding` says whether the integers of kernels are the nearest ones, or are chosen
    so that errors cancel in the sums of each layer. `weight_type` int4 and `sparsity` 2:4 make weights that take less
    flash on microcontrollers, in all layers that mix channels but the first and the last; `layer_weights` says
    otherwise for single ones, by their names. They default to what the section says, too. `against` is a second .npz
    on which the outputs are compared with float32. `input_shapes` are those of build(). `output` is the net.yaml to
    write (default: <net>_int8.yaml in the current directory).

    Raises UsageError, BadInputError, UnsupportedError naming layers without an int8 form, or ToolError.
    """
    from dscompile.frontend.writer import write_netfile
    from dscompile.quantization import Settings, quantize_network
    from dscompile.quantization.data import read_samples
    from dscompile.quantization.settings import DEFAULT_KEEP, DEFAULT_METHOD

    _check_words(weight_type, sparsity, layer_weights)
    path = destination_beside(source, output, "int8")
    progress(Event(f"reading {source_name(source)}"))
    net = read_network(source, weights, input_shapes=input_shapes)
    require_no_state(net.network, "quantized", help="import one that is int8 already")
    section = net.quantization
    calibration = section.calibration if section is not None else None
    default = calibration.method if calibration is not None else DEFAULT_METHOD
    chosen_method = method or ("percentile" if keep is not None else default)
    if keep is not None and chosen_method != "percentile":
        raise UsageError(f"'keep' belongs to the method percentile, not to {chosen_method}")
    settings = Settings(
        method=chosen_method,
        keep=keep if keep is not None else calibration.keep if calibration is not None else DEFAULT_KEEP,
        rounding=rounding or (section.rounding if section is not None else "tflite"),
        equalize=equalize,
        bias_correction=bias_correction,
        weight_rounding=weight_rounding,
        weight_type=weight_type or (section.weights if section is not None else None) or "int8",
        sparsity=_sparsity(sparsity, section),
        layer_weights={**(section.layers if section is not None else {}), **layer_weights},
    )
    quantized = quantize_network(
        net.network,
        read_samples(_calibration_file(calibrate, net), net.network),
        settings,
        against=read_samples(Path(against), net.network) if against is not None else (),
        progress=lambda what, done, total: progress(Event(what, done, total)),
    )
    return QuantizeResult(quantized, write_netfile(quantized.network, path.parent, path.name, weights_stem=path.stem))


def _check_words(weight_type: str | None, sparsity: str | None, layer_weights: Mapping[str, str]) -> None:
    """Raises UsageError for words that say nothing about weights."""
    from dscompile.ir.storage import WEIGHT_BITS, WEIGHT_TYPES

    given = [
        ("weight_type", weight_type or "int8", WEIGHT_BITS),
        ("sparsity", sparsity or "none", ("2:4", "none")),
        *((f"layer_weights of '{name}'", word, WEIGHT_TYPES) for name, word in layer_weights.items()),
    ]
    for what, word, words in given:
        if word not in words:
            raise UsageError(f"{what} is '{word}', which is not one of {', '.join(words)}")


def _sparsity(asked: Literal["2:4", "none"] | None, section: QuantizationSettings | None) -> Sparsity | None:
    """What the caller asks, or else the section."""
    if asked is not None:
        return "2:4" if asked == "2:4" else None
    return section.sparsity if section is not None else None


def _calibration_file(calibrate: str | Path | None, net: NetFile) -> Path:
    if calibrate is not None:
        return Path(calibrate)
    if net.quantization is not None and net.quantization.calibration is not None:
        return net.quantization.calibration.file
    raise UsageError(
        "there is no calibration data",
        help="give --calibrate DATA.npz with inputs like those that the network will meet",
    )
