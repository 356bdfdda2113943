"""The order of the steps, and which of them are kept: those that measurably bring the outputs nearer to float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dscompile.errors import BadInputError
from dscompile.ir.network import Network
from dscompile.ir.storage import Storage
from dscompile.ir.tensor import Quantization
from dscompile.quantization.bias_correction import correct_biases
from dscompile.quantization.calibration import Observation, observe, tensor_parameters
from dscompile.quantization.conversion import int8_network
from dscompile.quantization.equalization import MEASURES, equalizable_pairs, equalize
from dscompile.quantization.headroom import with_headroom
from dscompile.quantization.lowering import lower
from dscompile.quantization.measure import (
    Agreement,
    LayerReport,
    compare,
    signal_sqnr_db,
    signals,
)
from dscompile.quantization.reconstruction import reconstruct
from dscompile.quantization.settings import Sample, Settings
from dscompile.quantization.stored import chosen_storage

# Samples on which improvements are tried and layers are compared, evenly spread over all of them: more would cost time
# and decide nothing else.
TRIAL_SAMPLES = 32
# Elements of the largest tensor, over all samples from which kernels are fitted: they are kept in memory in both forms.
_FITTED_ELEMENTS = 1 << 26

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
    real = lower(network)
    work = _Work(settings, chosen_storage(real, settings), samples, progress)
    seen = work.observe(real, "calibrating")
    steps: list[Step] = []
    best = work.first_candidate(real, seen, steps)
    if settings.bias_correction:
        best = work.better("bias correction", best, work.corrected(best), steps)
    if settings.equalize:
        best = work.with_equalization(best, real, seen, steps)
    if settings.weight_rounding == "optimized":
        best = work.better("weight rounding", best, work.reconstructed(best), steps)
    layers, agreement = compare(best.real, best.integer, work.trial, work.advance("comparing layers"))
    # Against the network as it was: where the other samples reach the 6 of a ReLU6, the equalized one differs.
    second = compare(real, best.integer, against, work.advance("comparing outputs"))[1] if against else None
    return Quantized(best.integer, best.real, settings, len(samples), tuple(steps), layers, agreement, second)


class _Work:
    """What all steps share: the settings, the layers with smaller weights, the samples."""

    def __init__(
        self, settings: Settings, storage: Mapping[str, Storage], samples: Sequence[Sample], progress: Stage
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.samples = samples
        self.progress = progress
        self.trial = _spread(samples, TRIAL_SAMPLES)

    def fitted(self, network: Network) -> Sequence[Sample]:
        """The samples from which kernels are fitted: as many as memory allows, at least those of the trials."""
        largest = max(tensor.elements for tensor in network.tensors.values())
        return _spread(self.samples, max(TRIAL_SAMPLES, _FITTED_ELEMENTS // largest))

    def advance(self, what: str) -> Callable[[int, int], None]:
        """A counter of one stage."""
        return lambda done, total: self.progress(what, done, total)

    def observe(self, network: Network, what: str) -> Mapping[str, Observation]:
        """What the tensors of a float32 network hold on all samples."""
        return observe(network, self.samples, self.advance(what))

    def first_candidate(self, real: Network, seen: Mapping[str, Observation], steps: list[Step]) -> _Candidate:
        """The int8 form of the network as it is; what smaller weights cost goes into `steps`."""
        scales = self.scales(real, seen)
        whole = self.converted(real, scales, {})
        if not self.storage:
            return whole
        made = self.converted(real, scales, self.storage)
        kinds = sorted(set(self.storage.values()))
        steps.append(Step(f"weights as {' and '.join(kinds)}", whole.sqnr_db, made.sqnr_db, kept=True))
        return made

    def candidate(self, real: Network, seen: Mapping[str, Observation]) -> _Candidate:
        """The int8 form of a lowered network, measured."""
        return self.converted(real, self.scales(real, seen), self.storage)

    def scales(self, real: Network, seen: Mapping[str, Observation]) -> Mapping[str, Quantization]:
        """The parameters of all tensors."""
        scales = tensor_parameters(real, seen, self.settings.method, self.settings.keep)
        return with_headroom(real, scales, self.trial) if self.settings.method == "mse" else scales

    def converted(
        self, real: Network, scales: Mapping[str, Quantization], storage: Mapping[str, Storage]
    ) -> _Candidate:
        """The int8 form with these scales, measured."""
        clipped = self.settings.method == "mse"
        integer = int8_network(real, scales, self.settings.rounding, least_error_kernels=clipped, storage=storage)
        return self.measured(real, integer)

    def measured(self, real: Network, integer: Network) -> _Candidate:
        """Signal to noise of the outputs on the trial samples."""
        wanted = signals(real, self.trial)
        got = signals(integer, self.trial)
        return _Candidate(real, integer, signal_sqnr_db(wanted, got))

    def corrected(self, candidate: _Candidate) -> _Candidate:
        """The candidate with corrected biases."""
        self.progress("bias correction", 0, 0)
        return self.measured(candidate.real, correct_biases(candidate.real, candidate.integer, self.trial))

    def reconstructed(self, candidate: _Candidate) -> _Candidate:
        """The candidate with kernels whose integers are chosen together."""
        self.progress("rounding weights", 0, 0)
        return self.measured(
            candidate.real,
            reconstruct(
                candidate.real,
                candidate.integer,
                self.fitted(candidate.real),
                biases=self.settings.bias_correction,
            ),
        )

    def with_equalization(
        self, best: _Candidate, real: Network, seen: Mapping[str, Observation], steps: list[Step]
    ) -> _Candidate:
        """The best of the network as it is and its equalized forms.

        Where biases may be corrected they are, before anything is compared: mean shifts would hide the noise that
        equalization is about.
        """
        pairs = equalizable_pairs(real, seen)
        for measure in MEASURES if pairs else ():
            what = f"equalization by {measure}"
            balanced = equalize(real, seen, pairs, measure, self.storage)
            tried = self.candidate(balanced, self.observe(balanced, what))
            if self.settings.bias_correction:
                corrected = self.corrected(tried)
                tried = corrected if corrected.sqnr_db > tried.sqnr_db else tried
            best = self.better(what, best, tried, steps)
        return best

    @staticmethod
    def better(name: str, best: _Candidate, tried: _Candidate, steps: list[Step]) -> _Candidate:
        """The one with more signal to noise; the comparison goes into `steps`."""
        kept = tried.sqnr_db > best.sqnr_db
        steps.append(Step(name, best.sqnr_db, tried.sqnr_db, kept))
        return tried if kept else best


def _spread(samples: Sequence[Sample], most: int) -> Sequence[Sample]:
    """At most so many of the samples, evenly spread."""
    count = min(len(samples), most)
    return [samples[index * len(samples) // count] for index in range(count)]
