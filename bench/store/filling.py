"""A large results database, made in bulk: trials of many problems on several targets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import insert

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.device import target_of
from gdn_ops.tuner.measure.fingerprint import Environment, fingerprint
from gdn_ops.tuner.search.verdict_cache import (
    FINALISTS_TIMED,
    REPEATS_PASSED,
    WINNER_REPEATS,
)
from gdn_ops.tuner.spaces.space import plan_key
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import TrialRow, WinnerRow
from gdn_ops.tuner.store.records import TrialKey
from gdn_ops.tuner.store.store import Store

GPUS = ("h200", "h100", "b200")
"""Targets of the database besides this machine's CPU."""
SAMPLES = 15
BATCH = 20_000
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)

HEADS = ((16, 32), (8, 8), (4, 16), (32, 32))
DIMS = ((128, 128), (64, 64), (256, 256))
RULES = (Rule("scalar", True), Rule("vector", True))
KINDS: tuple[dict[str, Any], ...] = (
    {"op": "forward"},
    {"op": "forward", "final_state": True},
    {"op": "forward", "initial_state": True, "final_state": True, "varlen": True},
    {"op": "backward"},
    {"op": "decode", "initial_state": True, "final_state": True},
)
SIZES = tuple(2**i for i in range(6, 24))


def problems(count: int) -> list[Problem]:
    """Distinct buckets: a few models' heads and dims, each with many sizes."""
    every = product(HEADS, DIMS, RULES, ("bf16", "fp32"), KINDS, SIZES)
    found = [
        Problem(
            H=H, HV=HV, K=K, V=V, rule=rule, dtype=dtype, tokens=size,
            sequences=size if kind["op"] == "decode" else 1, **kind,
        )
        for (H, HV), (K, V), rule, dtype, kind, size in every
    ]  # fmt: skip
    if count > len(found):
        raise ValueError(f"{count} problems are more than {len(found)}")
    return found[:count]


def targets() -> list[Target]:
    """This machine's CPU and some GPUs."""
    return [target_of(torch.device("cpu")), *(TARGETS[name] for name in GPUS)]


def fill(path: Path, *, trials: int, problem_count: int) -> None:
    """Make a database with trials and winners; every problem is tuned to the end on each target.

    Each has one trial of a whole variant, the winner; the others are of stages or failed.

    Args:
        trials: of all problems and targets together.
    """
    posed, where = problems(problem_count), targets()
    each = trials // (len(posed) * len(where))
    with open_database(path, create=True) as database:
        store = Store(database)
        context = {target.name: _context(store, target) for target in where}
        for problem in posed:
            store.add_problem(problem.id(), problem.facts())
        rows = _rows(posed, where, context, each)
        while batch := list(islice(rows, BATCH)):
            with database.write() as session:
                session.execute(insert(TrialRow), [trial for trial, _ in batch])
                winners = [winner for _, winner in batch if winner]
                if winners:
                    session.execute(insert(WinnerRow), winners)


def environment_of(target: Target) -> Environment:
    """The environment of all trials on a target."""
    if not target.gpu:
        return fingerprint("cpu", arch=target.arch)
    return Environment(
        device=target.name, arch=target.arch, driver="590.1", torch="2.13.0", triton="3.7.1",
        python="3.11.7", platform="Linux-x86_64", threads=8, ptxas="12.9.1",
    )  # fmt: skip


def _context(store: Store, target: Target) -> tuple[int, int]:
    run = store.start_run("bulk", target.name, seed=0, options={})
    store.finish_run(run)
    return run, store.add_environment(environment_of(target))


def _rows(
    posed: list[Problem], where: list[Target], context: dict[str, tuple[int, int]], each: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The trials, and with the last one of each problem and target the winner."""
    random_numbers = random.Random(0)
    number = 0
    for problem, target in product(posed, where):
        run, environment = context[target.name]
        variant = _variant(problem, target)
        sources = source_hashes(problem, variant)
        shared = {
            "run_id": run, "environment_id": environment, "target": target.name,
            "arch": target.arch, "problem_id": problem.id(), "variant_id": variant.id,
        }  # fmt: skip
        for i in range(each):
            number += 1
            final = i == each - 1
            trial = _trial(number, shared, _key(problem, target, variant, None if final else i))
            trial |= _outcome(random_numbers, sources, ok=final or i % 5 > 0)
            if not final:
                yield trial, None
                continue
            seconds = {name: trial[name] for name in ("median", "low", "high")}
            winner = shared | seconds | {
                "uid": f"winner {number}", "variant": variant.to_json(), "reference": 5e-3,
                "provenance": "measured", "trial_id": number, "created": trial["created"],
                "superseded": None,
            }  # fmt: skip
            del winner["run_id"]
            trial["resources"] |= {FINALISTS_TIMED: 4, REPEATS_PASSED: WINNER_REPEATS}
            yield trial, winner


def _variant(problem: Problem, target: Target) -> Variant:
    if not target.gpu:
        return Variant.default("torch", problem)
    for plan in ("split", "recurrent"):
        variant = Variant.default(plan, problem)
        if not variant.reasons(problem, target):
            return variant
    return Variant.default("torch", problem)


def _key(problem: Problem, target: Target, variant: Variant, number: int | None) -> TrialKey:
    key = plan_key(problem, target, variant)
    if number is None:
        return key
    stage, config = variant.stages[number % len(variant.stages)]
    return replace(key, scope="stage", stage=stage, config={**dict(config), "trial": number})


def _trial(number: int, shared: dict[str, Any], key: TrialKey) -> dict[str, Any]:
    return shared | {
        "id": number, "uid": f"trial {number}", "scope": key.scope, "plan": key.plan,
        "stage": key.stage, "interface": dict(key.interface), "config": dict(key.config),
        "config_hash": key.config_hash, "created": BEGIN + timedelta(seconds=number),
    }  # fmt: skip


def _outcome(random_numbers: random.Random, sources: dict[str, str], *, ok: bool) -> dict[str, Any]:
    median = random_numbers.uniform(1e-3, 2e-3)
    conditions = {"threads": 8, "cores": 8, "load_before": 0.5, "load_after": 0.5, "flags": []}
    return {
        "status": "ok" if ok else "compile-error", "sources": sources,
        "median": median if ok else None, "low": 0.9 * median if ok else None,
        "high": 1.1 * median if ok else None,
        "samples": [median] * SAMPLES if ok else [], "method": "recorded" if ok else None,
        "errors": {"o": 2e-7, "ht": 4e-8} if ok else {},
        "resources": {"registers": 96, "shared": 49152, "stack": 0, "conditions": conditions},
        "message": "" if ok else "PassManager::run failed",
    }  # fmt: skip
