"""The smallest set of variants that serves every problem well."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.search import smallest_cover as module
from gdn_ops.tuner.search.smallest_cover import best_of, smallest_cover

TABLES = st.dictionaries(
    st.sampled_from("PQRSTU"),
    st.dictionaries(st.sampled_from("abcde"), st.floats(0.5, 2.0), min_size=1),
    min_size=1,
)


def serves(times: dict[str, dict[str, float]], chosen: tuple[str, ...], share: float) -> bool:
    return all(
        any(name in own and share * own[name] <= min(own.values()) for name in chosen)
        for own in times.values()
    )


@given(TABLES, st.sampled_from([0.5, 0.9, 1.0]))
def test_no_smaller_set_serves_every_problem(
    times: dict[str, dict[str, float]], share: float
) -> None:
    found = smallest_cover(times, share)
    assert serves(times, found, share)
    names = {name for own in times.values() for name in own}
    smaller = chain.from_iterable(combinations(names, size) for size in range(len(found)))
    assert not any(serves(times, chosen, share) for chosen in smaller)
    for own in times.values():
        assert share * own[best_of(own, found)] <= min(own.values())


def test_of_sets_of_a_size_the_fastest_is_taken() -> None:
    times = {"P": {"a": 1.0, "b": 1.01, "c": 1.04}, "Q": {"a": 1.04, "b": 1.01, "c": 1.0}}
    assert smallest_cover(times, 0.95) == ("b",)


def test_too_many_sets_are_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SETS", 3)
    times = {p: {p.lower(): 1.0, "z": 1.5} for p in "ABCD"}
    assert serves(times, smallest_cover(times, 1.0), 1.0)


def test_a_problem_without_a_variant_is_named() -> None:
    with pytest.raises(InvalidInput, match="no variant runs P; tune it first"):
        smallest_cover({"P": {}}, 0.9)
