"""Storing predictions as winners that serve until one is measured."""

from __future__ import annotations

from collections.abc import Iterable

from gdn_ops.codegen.target import Target
from gdn_ops.tuner.cost.prediction import Prediction
from gdn_ops.tuner.store.records import NewWinner
from gdn_ops.tuner.store.store import Store


def store_predictions(store: Store, target: Target, predictions: Iterable[Prediction]) -> int:
    """Store predictions for problems without a measured winner.

    A stored prediction that says the same stays as it is.

    Returns:
        How many problems the store has these predictions for.
    """
    current = {winner.problem_id: winner for winner in store.winners(target=target.name)}
    kept = 0
    for prediction in predictions:
        problem = prediction.problem
        old = current.get(problem.id())
        if old is not None and old.provenance == "measured":
            continue
        kept += 1
        new = NewWinner(
            problem_id=problem.id(), target=target.name, arch=target.arch,
            variant_id=prediction.variant.id, variant=prediction.variant.to_json(),
            median=prediction.seconds, low=prediction.interval[0], high=prediction.interval[1],
            reference=None, provenance="predicted", trial_id=None, environment_id=None,
        )  # fmt: skip
        if old is None or any(getattr(old, name) != value for name, value in vars(new).items()):
            store.add_problem(problem.id(), problem.facts())
            store.set_winner(new)
    return kept
