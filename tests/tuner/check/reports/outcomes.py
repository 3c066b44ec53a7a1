"""Outcomes to render: every state, hostile texts, nothing at all, an interruption, many rows."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from random import Random

from gdn_ops.tuner.check.outcome import CheckRow, Difference, Outcome, Times
from gdn_ops.tuner.check.states import State

HOSTILE = "]]> a|b `c` <script> @triton.jit\r\nline 2\x00\x1b[31m\x7f ü中 \ud800 100 % x,y:z **b**"
"""What XML, Markdown, JSON, workflow commands and terminals each treat in their own way."""


def problem_name(tokens: int, *, op: str = "forward", dtype: str = "bf16") -> str:
    return f"{op}-scalar-delta-N1-L{tokens}-H16-HV32-K128-V128-{dtype}-ht"


def times(ratio: float, *, base: float = 23.5e-3, pairs: int = 12, dropped: int = 0) -> Times:
    noise = Random(pairs)
    bases = tuple(base * noise.uniform(0.99, 1.01) for _ in range(pairs))
    heads = tuple(b * ratio * noise.uniform(0.985, 1.015) for b in bases)
    return Times(
        base=bases,
        head=heads,
        ratio=ratio,
        low=ratio * 0.992,
        high=ratio * 1.008,
        threshold=0.03,
        dropped=dropped,
    )


def row(name: str, state: State, **values: object) -> CheckRow:
    given = {"target": "h200", "op": "forward", "dtype": "bf16", "seconds": 12.25, **values}
    return CheckRow(name=name, state=state, **given)


def measured() -> Outcome:
    """Every state, and one failing row that is exempt."""
    variant = {"base": "split chunk=64", "head": "split chunk=64"}
    rows = (
        row(problem_name(512), State.UNCHANGED, seconds=0.001, **variant),
        row(problem_name(1024), State.PASSED, times=times(1.004, pairs=8), **variant),
        row(problem_name(2048), State.IMPROVED, times=times(0.92, pairs=8), **variant),
        row(
            problem_name(4096),
            State.REGRESSED,
            message="confirmed by a second run.",
            notes=("2 pairs were dropped: the device was throttled.",),
            times=times(1.052, dropped=2),
            file="templates/triton/chunk_h.py.jinja",
            **variant,
        ),
        row(
            problem_name(4096, op="backward"),
            State.REGRESSED,
            op="backward",
            times=times(1.31, base=41e-3),
            exempt="the gradients' rewrite is on its way (until 2027-01-31)",
            **variant,
        ),
        row(
            problem_name(8192),
            State.INCONCLUSIVE,
            message="26 pairs did not decide.",
            times=times(1.021, pairs=26),
            **variant,
        ),
        row(problem_name(16384), State.NEW, head="split chunk=64"),
        row(problem_name(64), State.REMOVED, base="fused chunk=32"),
        row(
            problem_name(128, dtype="fp32"),
            State.WRONG,
            dtype="fp32",
            message="output o: RMS error 0.12, the limit is 0.002.",
            file="templates/triton/chunk_o.py.jinja",
            **variant,
        ),
        row(
            problem_name(256),
            State.CRASHED,
            message="the head's process ended with signal 11 after 3.2 s.",
            **variant,
        ),
        row(
            "decode-scalar-delta-N8-L8-H16-HV32-K128-V128-fp32-h0-ht",
            State.ENVIRONMENT,
            op="decode",
            dtype="fp32",
            message="the baseline was measured with driver 570.1, this device has 580.2.",
        ),
    )
    return Outcome(
        kind="measured",
        base="3f2a91c (main)",
        head="working tree",
        environment={
            "device": "NVIDIA H200",
            "driver": "580.2",
            "torch": "2.13.0",
            "triton": "3.7.1",
        },
        rows=rows,
        started="2026-11-29T21:18:00+00:00",
        seconds=132.4,
    )


def static() -> Outcome:
    """Compiled kernels of two architectures."""
    figures = {
        "registers": 168,
        "spilled bytes": 0,
        "instructions HGMMA": 96,
        "bytes per token": 1.5,
    }
    worse = Difference(figure="registers", base=128, head=168, cause="template", failing=False)
    spills = Difference(
        figure="spilled bytes", base=0, head=64, cause="template and compiler", failing=True
    )
    rows = (
        row("split/chunk_h BT=64", State.UNCHANGED, target="sm_90", figures=figures),
        row(
            "split/chunk_o BT=64",
            State.REGRESSED,
            target="sm_90",
            figures={**figures, "spilled bytes": 64},
            differences=(worse, spills),
            message="a spilled byte more fails.",
            file="templates/triton/chunk_o.py.jinja",
        ),
        row(
            "split/chunk_o BT=64",
            State.IMPROVED,
            target="sm_100",
            figures=figures,
            differences=(
                Difference(figure="registers", base=200, head=168, cause="configuration"),
            ),
        ),
        row("fused/fused_chunk BT=32", State.NEW, target="sm_100", figures=figures),
        row("fused/old BT=32", State.REMOVED, target="sm_100"),
    )
    return replace(
        measured(),
        kind="static",
        base="baselines/static",
        environment={"triton": "3.7.1", "ptxas": "12.9"},
        rows=rows,
        seconds=41.0,
    )


def hostile() -> Outcome:
    """Texts from outside in every field; two names that differ in white space alone."""
    rows = tuple(
        row(
            name,
            state,
            target="cpu|]]>",
            op="for\nward",
            dtype="bf16,x:y",
            message=HOSTILE,
            notes=(HOSTILE,),
            base=HOSTILE,
            head=HOSTILE,
            file="a,b:c%\n.jinja",
            exempt=exempt,
            times=times(1.2) if state is State.REGRESSED else None,
        )
        for name, state, exempt in (
            (HOSTILE, State.REGRESSED, None),
            (HOSTILE.replace("\r\n", " "), State.CRASHED, None),
            (f"{HOSTILE} 3", State.WRONG, HOSTILE),
            (f"{HOSTILE} 4", State.INCONCLUSIVE, None),
        )
    )
    return replace(
        measured(),
        base=HOSTILE,
        head=HOSTILE,
        environment={"device": HOSTILE, HOSTILE: HOSTILE},
        rows=rows,
        notes=(HOSTILE,),
    )


def empty() -> Outcome:
    return replace(measured(), rows=(), seconds=0.4)


def interrupted() -> Outcome:
    """Ended by the user in the third row, with too few pairs for an interval, and in the fourth
    before any pair."""
    few = replace(times(1.02, pairs=3), low=0.0, high=inf)
    none = replace(few, base=(), head=(), ratio=nan)
    started = tuple(
        row(
            problem_name(tokens),
            State.INCONCLUSIVE,
            message=f"interrupted after {len(t.base)} pairs",
            times=t,
        )
        for tokens, t in ((2048, few), (4096, none))
    )
    return replace(
        measured(),
        rows=(*measured().rows[:2], *started),
        interrupted=True,
        notes=("7 problems were not compared.",),
    )


def many(rows: int = 500) -> Outcome:
    """Rows of which every tenth is regressed, the last ones the most."""
    found = tuple(
        row(
            problem_name(64 * (i + 1)),
            State.REGRESSED if i % 10 == 9 else State.PASSED,
            times=times(1.05 + i / 1000 if i % 10 == 9 else 1.0, pairs=8),
            message="why, in a sentence of the usual length.",
        )
        for i in range(rows)
    )
    return replace(measured(), rows=found)


ALL = {
    "measured": measured,
    "static": static,
    "hostile": hostile,
    "empty": empty,
    "interrupted": interrupted,
    "many": many,
}
"""By name, for tests that hold for every outcome."""
