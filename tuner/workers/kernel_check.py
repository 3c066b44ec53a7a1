"""Checks of the kernels on a machine without a GPU: run in the interpreter, and compiled.

Nothing is timed and nothing is stored: choosing among variants needs the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.workers.harness import VERIFY_SECONDS
from gdn_ops.tuner.workers.offline import CompileRow, compile_variants, runnable_plans
from gdn_ops.tuner.workers.worker_pool import Job, WorkerPool

TINY = Problem(
    op="forward", H=1, HV=2, K=16, V=16, dtype="fp32", tokens=32, sequences=1, final_state=True
)
"""A problem that the interpreter, at about 10 ms per program, runs in seconds."""
TINY_16 = replace(TINY, H=1, HV=1, K=64, V=64, dtype="bf16")
"""The same for plans that take no other heads and dtypes."""


@dataclass(frozen=True)
class Checked:
    """The result of one check, in words.

    Args:
        stage: the stage that was compiled, or the op of a plan that was interpreted.
    """

    plan: str
    stage: str
    what: str
    ok: bool

    @property
    def interpreted(self) -> bool:
        """Whether an op was run in the interpreter, and not a stage compiled."""
        return self.stage in ("forward", "backward")


def check_kernels(
    problem: Problem,
    target: Target,
    *,
    seconds: float,
    workers: int,
    interruption: Interruption,
) -> Iterator[Checked]:
    """Interpret and compile the default variants with kernels, forward and backward.

    Args:
        problem: is compiled, with its backward; ``TINY`` is interpreted.
        target: a GPU, which this machine need not have.
        seconds: time limit; checks that would start later are left out.
    """
    deadline = Deadline.after(seconds)
    with WorkerPool(1, interpret=True, threads=1) as pool, interruption.waiting():
        for name in PLANS:
            for op in ("forward", "backward"):
                small = [replace(tiny, op=op) for tiny in (TINY, TINY_16)]
                runnable = next((tiny for tiny in small if _runs(name, tiny, target)), None)
                if runnable is not None and not deadline.passed:
                    yield _interpreted(pool, name, runnable)
    with interruption.waiting():
        seen: set[str] = set()
        for posed in (problem, problem.backward(final_state=False)):
            stages = [s for s in _compiled_stages(posed, target) if s not in seen]
            seen.update(stages)
            if deadline.passed or not stages:
                continue
            rows = compile_variants(
                posed, target, stages=stages, jobs=workers, timeout=deadline.remaining
            )
            for row in rows:
                if row.reasons:
                    continue
                yield _compiled(row, target)
                if deadline.passed:
                    return


def _runs(plan: str, problem: Problem, target: Target) -> bool:
    kernels = any(KERNELS[stage].compiled for stage in PLANS[plan].stages(problem))
    return kernels and not Variant.default(plan, problem).reasons(problem, target)


def _compiled_stages(problem: Problem, target: Target) -> list[str]:
    plans = runnable_plans(problem, target)
    names = dict.fromkeys(stage for plan in plans for stage in plan.stages(problem))
    return [name for name in names if KERNELS[name].compiled]


def _interpreted(pool: WorkerPool, plan: str, problem: Problem) -> Checked:
    payload = {
        "problem": problem.facts(),
        "variant": Variant.default(plan, problem).to_json(),
        "device": "cpu",
        "interpret": True,
        "repeats": 1,
    }
    result = pool.one(Job(kind="verify", payload=payload, timeout=VERIFY_SECONDS))
    verdict = result.payload or {"status": result.status, "message": result.message, "errors": {}}
    if verdict["status"] != "ok":
        return Checked(plan, problem.op, f"{verdict['status']}: {verdict['message']}", False)
    errors = ", ".join(f"{name} {float(error):.0e}" for name, error in verdict["errors"].items())
    return Checked(plan, problem.op, f"right in the interpreter, error of {errors}", True)


def _compiled(row: CompileRow, target: Target) -> Checked:
    if row.resources is None and row.status == "ok":
        return Checked(row.plan, row.stage, f"compiles for {target.name}; {row.message}", True)
    if row.resources is None or row.status != "ok":
        why = "; ".join(row.reasons) or row.message
        return Checked(row.plan, row.stage, f"{row.status} for {target.name}: {why}", False)
    used = row.resources
    took = "from the cache" if used.cached else f"in {used.seconds:.1f} s"
    what = (
        f"compiles for {target.name} {took}: {used.registers} registers, "
        f"{used.shared} bytes shared, {used.stack} spilled"
    )
    return Checked(row.plan, row.stage, what, True)
