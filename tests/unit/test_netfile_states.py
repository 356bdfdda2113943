"""`states:` of a net.yaml: written, read, and what is said to wrong ones."""

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.netfile import netfile_from_text, read_netfile
from dscompile.frontend.writer import network_text, write_netfile
from tests.streaming import NETWORKS, ring, total

HEADER = "dscompile: 1\nnetwork:\n  name: n\n  input: {name: x, shape: [1, 2, 1, 4]}\n"
LAYERS = """  layers:
    - concat: {name: rows, from: [last, x], axis: 1}
    - slice: {name: kept, rows: [2, 6]}
    - pool: {name: y, kind: average, over: all, from: rows}
"""


def text(states, layers=LAYERS):
    return f"{HEADER}  states: {states}\n{layers}weights: {{seed: 1}}\n"


def messages(states, folder, layers=LAYERS):
    with pytest.raises(BadInputError) as caught:
        netfile_from_text(text(states, layers), folder / "net.yaml")
    return [f"{found.position.line}: {found.message}" for found in caught.value.diagnostics]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_state_are_read_as_they_were_written(name, tmp_path):
    network = NETWORKS[name]()
    back = read_netfile(write_netfile(network, tmp_path)).network
    assert (back.inputs, back.outputs, back.tensors) == (network.inputs, network.outputs, network.tensors)
    assert back.layers == network.layers
    for one, other in zip(network.states, back.states, strict=True):
        assert (one.name, one.next) == (other.name, other.next)
        np.testing.assert_array_equal(one.initial, other.initial)
        assert one.initial.dtype == other.initial.dtype


def test_a_first_value_that_is_one_number_stands_in_the_file():
    assert "- {name: sum, shape: [1, 2, 3, 4], next: grown, initial: 0.5}" in network_text(total())
    assert "- {name: last, shape: [1, 4, 1, 6], next: kept}" in network_text(ring())


def test_other_first_values_are_stored_with_the_weights(tmp_path):
    first = np.arange(24, dtype=np.int8).reshape(1, 4, 1, 6)
    path = write_netfile(ring(int8=True, initial=first), tmp_path)
    assert "next: kept, initial: stored}" in path.read_text()
    assert np.load(tmp_path / "ring.npz")["last.initial"].tolist() == first.tolist()
    np.testing.assert_array_equal(read_netfile(path).network.states[0].initial, first)
    unread = read_netfile(path, load_weights=False)
    assert unread.network.states[0].initial.shape == first.shape


def test_a_state_is_zero_at_first_and_may_be_any_number(tmp_path):
    for initial, want in (("", 0.0), (", initial: -1.5", -1.5)):
        spec = f"[{{name: last, shape: [1, 4, 1, 4], next: kept{initial}}}]"
        network = netfile_from_text(text(spec), tmp_path / "net.yaml").network
        assert set(network.states[0].initial.reshape(-1)) == {want}
        assert network.user_outputs == ("y",)


GOOD = "name: last, shape: [1, 4, 1, 4]"
WRONG = [
    ("7", ["5: 'states' must be a list of states, not the number 7"]),
    ("[]", ["5: 'states' must be a list of states, not a list"]),
    ("[7]", ["5: 'states' must be a mapping, not the number 7"]),
    (f"[{{{GOOD}}}]", ["5: state needs 'next'"]),
    (f"[{{{GOOD}, next: kept, initial: [1]}}]", ["5: 'initial' must be a number, not a list"]),
    (f"[{{{GOOD}, next: kept, layout: nchw}}]", ["5: unknown key 'layout' of state"]),
    (f"[{{{GOOD}, next: nowhere}}]", ["5: 'next' of state 'last' 'nowhere' is made by no layer"]),
    (
        f"[{{{GOOD}, next: rows}}]",
        ["5: state 'last' is float32 [1, 4, 1, 4], and becomes 'rows', which is float32 [1, 6, 1, 4]"],
    ),
    (
        f"[{{{GOOD}, next: last}}]",
        ["5: state 'last' becomes 'last', which is an input, an output or the next value of another state"],
    ),
    (
        f"[{{{GOOD}, next: kept}}, {{name: more, shape: [1, 4, 1, 4], next: kept}}]",
        ["5: state 'more' becomes 'kept', which is an input, an output or the next value of another state"],
    ),
    (f"[{{{GOOD}, next: kept}}, {{{GOOD}, next: kept}}]", ["5: there are two inputs named 'last'"]),
    ("[{name: last, shape: [2, 4, 1, 4], next: kept}]", ["5: the first size is the batch, which must be 1, not 2"]),
]


@pytest.mark.parametrize(("states", "wanted"), WRONG)
def test_wrong_states_are_reported_where_they_stand(states, wanted, tmp_path):
    found = messages(states, tmp_path)
    assert [each for each in wanted if each in found] == wanted, found


def test_types_of_a_state_and_its_next_value_must_agree(tmp_path):
    states = "[{name: last, shape: [1, 4, 1, 4], scale: 0.5, next: kept}]"
    layers = LAYERS.replace("from: [last, x]", "from: [q, last]").replace(
        "  layers:\n", "  layers:\n    - quantize: {name: q, scale: 0.25}\n"
    )
    assert any("has another scale or zero point" in found for found in messages(states, tmp_path, layers))


def test_a_uint8_state_is_refused(tmp_path):
    states = "[{name: last, shape: [1, 2, 1, 4], dtype: uint8, scale: 0.5, next: kept}]"
    layers = "  layers:\n    - quantize: {name: kept, dtype: uint8, scale: 0.5}\n    - relu: {name: y, from: x}\n"
    assert "5: state 'last' is uint8; it must be float32 or int8" in messages(states, tmp_path, layers)
