"""Which of many random networks are enough: together they have everything that one of all has."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from tests.generate.cases import Case, make_case

X86_EVERY = 5  # seeds, for which a network is a library, too; no divisor of the makers and cores that take turns


def covering_seeds(seeds: Iterable[int]) -> list[int]:
    """Some of the seeds, in order: every feature that a network of any seed has, one of these has as well."""
    left = {seed: features(make_case(seed)) for seed in seeds}
    wanted = {feature for found in left.values() for feature in found}
    chosen = []
    while wanted:
        best = max(left, key=lambda seed: len(left[seed] & wanted))
        wanted -= left.pop(best)
        chosen.append(best)
    return sorted(chosen)


def features(case: Case) -> set[Hashable]:
    """Of each layer: its kind with the core, the maker, the type and the activation, and with the kinds that it reads.

    Of a network that is a library, too, these once more for that.
    """
    network = case.network
    kinds = {layer.output: type(layer.op).__name__ for layer in network.layers}
    found: set[Hashable] = {(case.core, case.maker), (case.core, network.rounding), (case.core, case.seed % 6 == 1)}
    for layer in network.layers:
        kind = kinds[layer.output]
        own: set[Hashable] = {
            (kind, case.maker),
            (kind, getattr(layer.op, "kind", ""), network.is_quantized),
            (kind, getattr(getattr(layer.op, "activation", None), "name", "")),
            *((kind, kinds[name], network.is_quantized) for name in layer.inputs if name in kinds),
        }
        found |= {(kind, case.core), *own}
        if case.seed % X86_EVERY == 0:
            found |= {("x86", feature) for feature in own}
    return found
