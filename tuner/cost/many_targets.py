"""Predicting many problems for many GPUs, with what is compiled shared by an architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gdn_ops.codegen.errors import GdnError, InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, target_named
from gdn_ops.tuner.cost.compiled_file import CompiledFile
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.prediction import Ranking
from gdn_ops.tuner.cost.shortlist import Shortlist, compiled_ranking, predict_shortlist
from gdn_ops.tuner.workers.worker_pool import WorkerPool

LEAD = "h100"
"""The GPU for whose architecture every plan is compiled, and stages are searched. For another
architecture only the plans that are then close to the best are compiled: a third as many."""


@dataclass(frozen=True, kw_only=True)
class TargetPredictions:
    """What could be predicted for a target.

    Args:
        rankings: the plans of each problem, fastest first.
        left_out: problems that could not be predicted, each with the reason.
    """

    target: Target
    rankings: Mapping[Problem, Ranking]
    left_out: Mapping[Problem, str]


def predicted_targets() -> tuple[Target, ...]:
    """The GPUs with a row whose machine code the cost model can count, in the order of the rows."""
    return tuple(target for target in TARGETS.values() if target.gpu and not refusal(target))


def refusal(target: Target) -> str:
    """Why a target is not predicted; empty if it is."""
    if not target.gpu:
        return f"{target.name} is not a GPU; name a GPU, or measure with `gdn tune`."
    if target.vendor != "nvidia":
        return (
            f"{target.name} is not predicted: the cost model counts NVIDIA instructions; name an "
            "NVIDIA GPU, or measure with `gdn tune`."
        )
    return ""


def predict_targets(
    problems: Sequence[Problem],
    targets: Sequence[Target],
    pool: WorkerPool,
    *,
    file: CompiledFile | None = None,
) -> Iterator[TargetPredictions]:
    """Predict the same problems for several targets with shortlists, one target after another.

    Nothing is predicted that spills, is unsound or cannot start on the target. What is predicted
    for a target does not depend on the others.

    Raises:
        InvalidInput: a target cannot be predicted.
    """
    for target in targets:
        if why := refusal(target):
            raise InvalidInput(why)
    lead = CostModel(target_named(LEAD), pool, spills=False, file=file)
    own = {lead.target.arch: lead}
    for target in targets:
        if target.arch not in own:
            own[target.arch] = CostModel(target, pool, spills=False, file=file)
        likely, model, shortlist = lead.of(target), own[target.arch].of(target), Shortlist(lead)
        rankings: dict[Problem, Ranking] = {}
        left_out: dict[Problem, str] = {}
        for problem in problems:
            try:
                ranking = predict_shortlist(problem, likely, shortlist)
                if target.arch != lead.target.arch:
                    ranking = compiled_ranking(ranking, model, shortlist)
                rankings[problem] = ranking
            except GdnError as error:
                left_out[problem] = str(error)
        yield TargetPredictions(target=target, rankings=rankings, left_out=left_out)
