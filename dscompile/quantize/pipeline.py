"""The order of the steps, and which of them are kept: those that measurably bring the outputs nearer to float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dscompile.errors import BadInputError
from dscompile.ir.network import Network
from dscompile.quantize.bias_correction import correct_biases
from dscompile.quantize.calibration import Observation, observe, tensor_parameters
from dscompile.quantize.conversion import int8_network
from dscompile.quantize.equalization import MEASURES, equalizable_pairs, equalize
from dscompile.quantize.lowering import lower
from dscompile.quantize.measure import (
    Agreement,
    LayerReport,
    compare,
    quantize_sample,
    signal_sqnr_db,
    signals,
)
from dscompile.quantize.settings import Sample, Settings

# Samples on which improvements are tried and layers are compared, evenly spread over all of them: more would cost time
# and decide nothing else.
TRIAL_SAMPLES = 48

Stage = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Step:
    """An improvement that was tried: signal to noise of the outputs without and with it, in dB."""

    name: str
    before_db: float
    after_db: float
    kept: bool


@dataclass(frozen=True)
class Quantized:
    """The int8 network, and how it compares with `real`: the float32 network of the same layers.

    `agreement` is over the calibration samples on which layers were compared, `against` over samples of the caller's.
    """

    network: Network
    real: Network
    settings: Settings
    calibration_samples: int
    steps: tuple[Step, ...]
    layers: tuple[LayerReport, ...]
    agreement: Agreement
    against: Agreement | None = None


@dataclass(frozen=True)
class _Candidate:
    """A float32 network and its int8 form."""

    real: Network
    integer: Network
    sqnr_db: float


def quantize_network(
    network: Network,
    samples: Sequence[Sample],
    settings: Settings,
    *,
    against: Sequence[Sample] = (),
    progress: Stage = lambda _what, _done, _total: None,
) -> Quantized:
    """A float32 network as int8, with ranges from `samples` (at least one) and a comparison with float32.

    `against` are inputs that did not take part, for a second opinion. Raises BadInputError for samples that make the
    network infinite, UnsupportedError for layers without an int8 form.
    """
    if not samples:
        raise BadInputError("there is no calibration sample", help="give inputs like those that the network will meet")
    work = _Work(settings, samples, progress)
    real = lower(network)
    seen = work.observe(real, "calibrating")
    best = work.candidate(real, seen)
    steps: list[Step] = []
    if settings.equalize:
        best = work.with_equalization(best, seen, steps)
    if settings.bias_correction:
        best = work.with_bias_correction(best, steps)
    layers, agreement = compare(best.real, best.integer, work.trial, work.advance("comparing layers"))
    # Against the network as it was: where the other samples reach the 6 of a ReLU6, the equalized one differs.
    second = compare(real, best.integer, against, work.advance("comparing outputs"))[1] if against else None
    return Quantized(best.integer, best.real, settings, len(samples), tuple(steps), layers, agreement, second)


class _Work:
    """What all steps share: the settings, the samples, and the outputs that the float32 network gives."""

    def __init__(self, settings: Settings, samples: Sequence[Sample], progress: Stage) -> None:
        self.settings = settings
        self.samples = samples
        self.progress = progress
        count = min(len(samples), TRIAL_SAMPLES)
        self.trial = [samples[index * len(samples) // count] for index in range(count)]

    def advance(self, what: str) -> Callable[[int, int], None]:
        """A counter of one stage."""
        return lambda done, total: self.progress(what, done, total)

    def observe(self, network: Network, what: str) -> Mapping[str, Observation]:
        """What the tensors of a float32 network hold on all samples."""
        return observe(network, self.samples, self.advance(what))

    def candidate(self, real: Network, seen: Mapping[str, Observation]) -> _Candidate:
        """The int8 form of a lowered network, measured."""
        chosen = self.settings
        scales = tensor_parameters(real, seen, chosen.method, chosen.keep)
        integer = int8_network(real, scales, chosen.rounding, least_error_kernels=chosen.method == "mse")
        return self.measured(real, integer)

    def measured(self, real: Network, integer: Network) -> _Candidate:
        """Signal to noise of the outputs on the trial samples."""
        wanted = signals(real, self.trial)
        got = signals(integer, [quantize_sample(integer, sample) for sample in self.trial])
        return _Candidate(real, integer, signal_sqnr_db(wanted, got))

    def with_equalization(self, best: _Candidate, seen: Mapping[str, Observation], steps: list[Step]) -> _Candidate:
        """The best of the network as it is and its equalized forms."""
        real, pairs = best.real, equalizable_pairs(best.real, seen)
        if not pairs:
            return best
        for measure in MEASURES:
            what = f"equalization by {measure}"
            balanced = equalize(real, seen, pairs, measure)
            tried = self.candidate(balanced, self.observe(balanced, what))
            best = self._better(what, best, tried, steps)
        return best

    def with_bias_correction(self, best: _Candidate, steps: list[Step]) -> _Candidate:
        """The network with corrected biases, if that is better."""
        self.progress("bias correction", 0, 0)
        integers = [quantize_sample(best.integer, sample) for sample in self.trial]
        corrected = correct_biases(best.real, best.integer, self.trial, integers)
        return self._better("bias correction", best, self.measured(best.real, corrected), steps)

    @staticmethod
    def _better(name: str, best: _Candidate, tried: _Candidate, steps: list[Step]) -> _Candidate:
        kept = tried.sqnr_db > best.sqnr_db
        steps.append(Step(name, best.sqnr_db, tried.sqnr_db, kept))
        return tried if kept else best
