"""Strategies as a user names them: settings, other names, and packages that are missing."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner import strategies
from gdn_ops.tuner.strategies import checked
from gdn_ops.tuner.strategies.settings import Setting, parsed

KNOWN = (Setting("startup", 10, 0, 99, "random ones"), Setting("size", 4, 2, 8, "of a batch"))


def test_a_setting_that_is_not_given_has_its_default() -> None:
    assert parsed("x", [], KNOWN) == {"startup": 10, "size": 4}
    assert parsed("x", ["size = 8"], KNOWN) == {"startup": 10, "size": 8}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "tpe:statup=3",
            "has no setting 'statup'; with their defaults and ranges it has startup=10",
        ),
        ("tpe:startup=3:startup=4", "has startup twice"),
        ("tpe:candidates=0", "candidates of strategy tpe is '0'; it must be a whole number >= 1"),
        ("tpe:startup=few", "startup of strategy tpe is 'few'"),
        ("tpe:startup", "startup of strategy tpe is ''"),
        ("model:startup=3", "has no setting 'startup'; it has none"),
        ("auto:startup=3", "auto chooses the strategy, so it has no settings"),
        ("random", "unknown strategy 'random'; use 'enumeration'"),
        ("tpa", "did you mean 'tpe'"),
    ],
)
def test_what_is_no_strategy_is_refused_with_what_is(text: str, why: str) -> None:
    with pytest.raises(GdnError) as error:
        checked(text, auto=True)
    assert why in str(error.value)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "find_spec", lambda package: None)
    with pytest.raises(
        GdnError, match=r"cmaes needs the package cmaes; pip install 'gdn-ops\[samp"
    ):
        checked("cmaes:population=8")
    checked("tpe:startup=3")
