"""Render a large sample of kernels in a checkout, and print the results as JSON.

It must run in old and new revisions, so it uses only stable interfaces: ``KERNELS``, ``PLANS``,
``TARGETS``, ``Problem`` and ``render``. Stages are identified by their position in a plan, because
their names may change.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import re
import sys
import tokenize
from collections.abc import Iterator

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.tensor import Sizes

TARGET_NAMES = ("h200", "b200", "a100", "mi300x", "cpu")
SIZES = (Sizes(2, 300, 2, 10, 8), Sizes(1, 4096, 5, 70, 20))
HEADS = ((2, 2, 128, 128), (2, 4, 128, 128), (1, 2, 60, 100), (2, 4, 64, 256))
RANDOM_CONFIGS = 2
"""Random configs per problem and stage."""


def problems() -> Iterator[Problem]:
    """Yield problems of all ops and rules, with heads, dtypes and flags that change the code."""
    rules = [Rule(gate, delta) for gate in ("none", "scalar", "vector") for delta in (True, False)]
    for op, rule, (H, HV, K, V), dtype in itertools.product(
        ("forward", "backward", "decode"), rules, HEADS, ("bf16", "fp32")
    ):
        for flags in (
            {},
            {"varlen": True, "initial_state": True, "final_state": True},
            {"gate_in_kernel": True, "dt_bias": True, "final_state": True},
        ):
            if "gate_in_kernel" in flags and rule.gate == "none":
                continue
            sequences = 512 if op == "decode" else 4
            tokens = sequences if op == "decode" else 4096
            yield Problem(
                op=op, H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=tokens, sequences=sequences,
                rule=rule, **flags,
            )  # fmt: skip
    for (H, HV, K, V), dtype, state, verify, first in itertools.product(
        HEADS, ("bf16", "fp32"), ("fp32", "bf16"), (False, True), (False, True)
    ):
        yield Problem(
            op="pool", H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=32, sequences=8,
            initial_state=True, final_state=not verify, state_dtype=state, state_v_first=first,
            verify=verify, qk_l2norm=first, gate_in_kernel=verify, dt_bias=verify,
            beta_sigmoid=verify,
        )  # fmt: skip


def code_of(source: str) -> str:
    """Return a rendered file without docstrings and comments, and with one name for all stages."""
    body = re.sub(r'\A""".*?"""', "", source, count=1, flags=re.DOTALL)
    body = re.sub(r"(?m)^def (\w+)\(", "def stage(", body, count=1)
    body = re.sub(r'^    """.*?"""\n', "", body, flags=re.DOTALL | re.MULTILINE)
    tokens = tokenize.generate_tokens(io.StringIO(body).readline)
    skipped = (tokenize.COMMENT, tokenize.NL)
    return "\n".join(f"{t.type} {t.string}" for t in tokens if t.type not in skipped)


def collect() -> dict[str, list[object]]:
    """Return code hashes, arguments, grids and refusing targets by stage, problem and config."""
    found: dict[str, list[object]] = {}
    for problem, (name, plan) in itertools.product(problems(), PLANS.items()):
        interface = defaults(plan, problem)
        if plan.reasons(problem, interface, TARGETS["h200"]):
            continue
        for place, spec in enumerate(plan.specs(problem)):
            chance = random.Random(f"{problem.id()} {name} {place}")
            for config in configs(plan, interface, spec, problem, chance):
                key = f"{problem.id()} {name} {place} {sorted(config.items())}"
                found[key] = facts(spec, problem, config)
    return found


def defaults(plan, problem) -> dict[str, object]:
    """The plan's default for a problem; older revisions have one default for all problems."""
    if hasattr(plan, "default"):
        return plan.default(problem)
    return {axis.name: axis.default for axis in plan.axes}


def configs(plan, interface, spec, problem, chance) -> Iterator[dict[str, object]]:
    """Yield the default config, one with another value of one axis, and random ones."""
    default = {**spec.default(problem), **interface}
    yield default
    axes = [*spec.axes, *(axis for axis in plan.axes if axis.name in spec.shared)]
    changed = [(axis, value) for axis in axes for value in axis.values if not axis.launch]
    if changed:
        axis, value = chance.choice(changed)
        yield {**default, axis.name: value}
    for _ in range(RANDOM_CONFIGS):
        yield {**default, **{axis.name: chance.choice(axis.values) for axis in axes}}


def facts(spec, problem, config) -> list[object]:
    refused = [name for name in TARGET_NAMES if spec.reasons(problem, config, TARGETS[name])]
    # A config that every target refuses need not render.
    hashes: object = "refused"
    if len(refused) < len(TARGET_NAMES):
        sources = [code_of(render(spec, problem, config, interpret=i)) for i in (False, True)]
        hashes = [hashlib.sha256(source.encode()).hexdigest()[:16] for source in sources]
    grids = [spec.grid(problem, config, sizes) for sizes in SIZES]
    return [hashes, spec.arguments(problem, config), grids, refused]


if __name__ == "__main__":
    json.dump(collect(), sys.stdout)
