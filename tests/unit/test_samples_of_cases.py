"""Which cases of slow tests stay (tests/conftest.py): few, but every value that crosses others is in one of them."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from tests.conftest import _most_different


class Item:
    """A case of a test as pytest has it."""

    def __init__(self, params: dict[str, object]) -> None:
        self.callspec = SimpleNamespace(params=params)


def chosen(*cases: dict[str, object]) -> list[dict[str, object]]:
    return [item.callspec.params for item in _most_different([Item(case) for case in cases])]


@pytest.mark.parametrize(
    ("targets", "types", "many"), [(3, 2, 3), (2, 3, 3), (6, 2, 6), (3, 5, 5), (3, 3, 3), (8, 9, 24)]
)
def test_every_value_of_parameters_that_cross_is_met(targets: int, types: int, many: int) -> None:
    stay = chosen(*({"target": target, "type": kind} for target, kind in product(range(targets), range(types))))
    assert len(stay) == many
    assert len({case["target"] for case in stay}) == targets
    assert len({case["type"] for case in stay}) == types


def test_of_one_long_list_every_third_stays() -> None:
    assert chosen(*({"name": str(number)} for number in range(10))) == [{"name": name} for name in "0369"]


def test_what_cannot_be_hashed_is_a_value_of_its_own() -> None:
    lists = [[1], [1], [2]]
    stay = chosen(*({"shape": shape, "target": target} for target in "abc" for shape in lists))
    assert len(stay) == 3
    assert {id(case["shape"]) for case in stay} == set(map(id, lists))
    assert {case["target"] for case in stay} == set("abc")
