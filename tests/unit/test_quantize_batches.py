"""Several samples at once, beside one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.oracle import run_all
from dscompile.quantization.batches import batch_size, batched, in_batches
from dscompile.quantization.lowering import lower
from dscompile.quantization.measure import quantize_sample
from tests.unit.netfiles import network as network_of
from tests.unit.quantizing import DS_CNN, INVERTED, quantized, samples


@pytest.mark.parametrize("layers", [DS_CNN, INVERTED], ids=["ds_cnn", "inverted"])
def test_batches_give_what_single_samples_give(layers: str) -> None:
    network = lower(network_of(layers, "[1, 13, 9, 3]"))
    given = samples(network, 11)
    batches = list(in_batches(network, given))
    assert [(batch.first, batch.count) for batch in batches] == [(0, 8), (8, 3)]
    for batch in batches:
        together = run_all(batched(network, batch.count), batch.sample)
        for row in range(batch.count):
            alone = run_all(network, given[batch.first + row])
            for name, array in alone.items():
                np.testing.assert_allclose(together[name][row], array[0], rtol=1e-6, atol=1e-7)


def test_integers_of_a_batch_are_those_of_single_samples() -> None:
    network = quantized(INVERTED, "[1, 13, 9, 3]").network
    given = [quantize_sample(network, sample) for sample in samples(network, 5)]
    (batch,) = in_batches(network, given)
    together = run_all(batched(network, 5), batch.sample)
    for row, sample in enumerate(given):
        for name, array in run_all(network, sample).items():
            np.testing.assert_array_equal(together[name][row], array[0])


def test_constants_are_there_once_for_all_samples() -> None:
    network = lower(network_of("- prelu: {name: p}\n- pointwise: {name: q, out: 2}", "[1, 5, 4, 3]"))
    constants = [name for name in network.tensors if name.endswith(".slope")]
    grown = batched(network, 4).validate()
    assert [grown.shape(name) for name in constants] == [network.shape(name) for name in constants]
    assert (grown.shape("x"), grown.shape("q")) == ((4, 5, 4, 3), (4, 5, 4, 2))


def test_large_tensors_make_small_batches() -> None:
    assert batch_size(network_of("- pointwise: {out: 2}", "[1, 512, 512, 3]")) == 5
    assert batch_size(network_of("- pointwise: {out: 2}", "[1, 1024, 2048, 3]")) == 1


def test_a_layer_that_looks_at_the_first_axis_allows_no_batches() -> None:
    network = network_of("- reshape: {name: rows, shape: [4, 6]}\n- dense: {name: d, out: 2}", "[1, 4, 2, 3]")
    assert batch_size(network) == 1
    assert [batch.count for batch in in_batches(network, samples(network, 3))] == [1, 1, 1]
