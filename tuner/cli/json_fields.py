"""Fields of JSON documents that several commands share; ``docs/json.md`` describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdn_ops.codegen.problem import Problem
    from gdn_ops.codegen.variant import Variant
    from gdn_ops.dispatch.choice import Choice
    from gdn_ops.dispatch.explanation import Explanation
    from gdn_ops.dispatch.model_explanation import ModelRow
    from gdn_ops.dispatch.winner import Winner
    from gdn_ops.results_url import Location
    from gdn_ops.tuner.search.providers import Compared
    from gdn_ops.tuner.store.merged import Merged
    from gdn_ops.tuner.store.records import StoredWinner
    from gdn_ops.tuner.workers.offline import CompileRow


def of_times(median: float, low: float, high: float) -> dict[str, float]:
    """A median with its bounds: of 95 % if it was measured, of 90 % if it is predicted."""
    return {"median_seconds": median, "low_seconds": low, "high_seconds": high}


def of_variant(variant: Variant) -> dict[str, Any]:
    return {
        "variant_id": variant.id, "variant": variant.to_json(), "variant_text": str(variant),
    }  # fmt: skip


def of_winner(winner: Winner) -> dict[str, Any]:
    """A stored winner as the dispatcher reads it."""
    return {
        "problem_id": winner.problem_id, "target": winner.target, "arch": winner.arch,
        "variant_id": winner.variant_id, "variant": winner.variant, "variant_text": winner.text,
        **of_times(winner.median, winner.low, winner.high),
        "reference_seconds": winner.reference, "speedup": winner.speedup,
        "provenance": winner.provenance, "stale": winner.stale or None,
        "doubtful": winner.doubtful or None,
        "trial_id": winner.trial_id, "device": winner.device, "driver": winner.driver,
        "torch": winner.torch, "triton": winner.triton, "ptxas": winner.ptxas,
        "created": winner.created, "database": winner.database,
    }  # fmt: skip


def of_stored_winner(winner: StoredWinner, variant: Variant) -> dict[str, Any]:
    """A winner that was just stored, and its variant."""
    return {
        "problem_id": winner.problem_id, "target": winner.target, "arch": winner.arch,
        **of_variant(variant),
        **of_times(winner.median, winner.low, winner.high),
        "reference_seconds": winner.reference, "speedup": winner.speedup,
        "provenance": winner.provenance, "trial_id": winner.trial_id, "created": winner.created,
    }  # fmt: skip


def of_compared(row: Compared) -> dict[str, Any]:
    """What a provider did on a problem."""
    return {
        "problem_id": row.problem_id, "provider": row.provider, "library": row.release,
        "status": row.status, "reason": row.reason or None, "median_seconds": row.median,
        "low_seconds": row.low, "high_seconds": row.high, "won": row.won,
        "winner_over_library": row.speed, "trial_id": row.trial_id,
    }  # fmt: skip


def of_choice(choice: Choice) -> dict[str, Any]:
    """What a problem runs on, and how it was found."""
    return {"problem_id": choice.problem.id(), **of_variant(choice.variant), "how": choice.how}


def of_explanation(explanation: Explanation) -> dict[str, Any]:
    """An explanation of one problem, and of its gradients if it has them."""
    choice, gradients = explanation.found, explanation.gradients
    winner = None if choice is None else choice.winner
    refused = () if choice is None else choice.refused
    return {
        **_found(explanation.problem, choice),
        "target": None if choice is None else choice.target.name,
        "reason": explanation.refusal or None,
        "winner": None if winner is None else of_winner(winner),
        "verified": explanation.verified or None,
        "not_chosen": [
            {"candidate": refusal.candidate, "reasons": refusal.reasons}
            for refusal in (*refused, *explanation.others)
        ],
        "skipped": [_skipped(row) for row in explanation.skipped],
        "saving": [
            {
                "keep": kept.keep, "in_force": kept.keep == explanation.keep,
                "tensors": kept.saved.names,
                "bytes_per_token_and_value_head": kept.bytes,
                "moved_bytes_per_token_and_value_head": kept.moved,
            }
            for kept in explanation.kept
        ],
        "gradients": None if gradients is None else of_explanation(gradients),
    }  # fmt: skip


def of_model_row(row: ModelRow) -> dict[str, Any]:
    """What one problem of some layers runs on."""
    winner = None if row.choice is None else row.choice.winner
    return {
        "layers": row.layers,
        **_found(row.problem, row.choice),
        "stored_seconds": None if winner is None else winner.median,
        "reason": row.why or None,
    }


def _found(problem: Problem, choice: Choice | None) -> dict[str, Any]:
    """What a problem runs on; no variant if no plan can run it."""
    if choice is not None:
        return of_choice(choice)
    return {
        "problem_id": problem.id(),
        "variant_id": None,
        "variant": None,
        "variant_text": None,
        "how": "none",
    }


def of_compiled(row: CompileRow) -> dict[str, Any]:
    """One compiled config; its figures are null if it was not compiled."""
    need = row.resources
    return {
        "plan": row.plan, "stage": row.stage, "config": row.config, "status": row.status,
        "reasons": row.reasons, "message": row.message,
        "registers_per_thread": None if need is None else need.registers,
        "stack_bytes_per_thread": None if need is None else need.stack,
        "shared_bytes_per_block": None if need is None else need.shared,
        "occupancy": None if need is None else need.occupancy.fraction,
        "warps_per_sm": None if need is None else need.occupancy.warps,
        "instructions": None if need is None else need.instructions,
        "matrix_instructions": None if need is None else need.matrix,
        "compile_seconds": None if need is None else need.seconds,
        "cached": None if need is None else need.cached,
    }  # fmt: skip


def _skipped(row: Any) -> dict[str, Any]:
    return {"database": row.database, "problem_id": row.problem_id, "reason": row.reason}


def of_merged(merged: Merged, destination: Location, *, dry_run: bool) -> dict[str, Any]:
    """What a merge did with each winner and row."""
    return {
        "destination": destination,
        "dry_run": dry_run,
        "verdicts": [
            {
                "source": v.source, "target": v.target, "problem_id": v.problem_id,
                "winner": v.winner, "median_seconds": v.median, "outcome": v.outcome,
                "reason": v.why, "fresh": v.fresh,
            }
            for v in merged.verdicts
        ],
        "added_rows": merged.added,
        "refused_rows": [
            {"source": r.source, "row": r.row, "reason": r.why} for r in merged.refused
        ],
    }  # fmt: skip
