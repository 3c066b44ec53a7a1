"""The cases of the accuracy gate: small calls that cover the edge cases of a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from gdn_ops.codegen.problem import Problem
from gdn_ops.inputs.recipes import GATES, Recipe
from gdn_ops.inputs.rule_inputs import Layout
from gdn_ops.verify.other_states import with_other_states

CHUNK = 64
"""Chunk size assumed for a variant without one."""
MEDIUM = 150
"""Tokens of a case about values: two chunks of the largest size, the second one not full."""
SEVERAL = 401
"""Not a multiple of any chunk size: 16 * 25 + 1, 32 * 12 + 17, 64 * 6 + 17, 128 * 3 + 17."""
LONG = 1500
FEW = 6
"""Tokens of a case about values in the interpreter, for a variant without chunks."""
MULTIPLE = 16
"""Tokens of a case at first use, for a variant without chunks."""
HARD_SLACK = 2.5
"""Slack of cases in which nothing damps rounding errors.

With bf16 intermediates and an exact solve the error of o is 0.004 for model inputs (K from 60 to
256). In these cases it is 0.0044 to 0.0055 (correlated keys) and 0.005 to 0.0083 (beta near 2). A
solve that is unstable for such keys has errors that are orders of magnitude larger.
"""


@dataclass(frozen=True)
class Case:
    """One call of the gate.

    Args:
        name: what is special about it, in words.
        problem: the tuned problem with the case's sizes and states, and fewer heads on a CPU.
        slack: factor on the bar.
        every_repeat: run it as often as the gate is asked to repeat; other cases run twice.
    """

    name: str
    problem: Problem
    layout: Layout
    recipe: Recipe = field(default_factory=Recipe)
    slack: float = 1.0
    every_repeat: bool = False


def gate_cases(
    problem: Problem, *, BT: int = 0, segment: int = 0, gpu: bool, interpret: bool
) -> tuple[Case, ...]:
    """List the cases of a problem.

    Args:
        problem: gives rule, op, dtype, K, V, HV / H and the flags; its sizes do not matter.
        BT: the variant's chunk size; 0 if it has none.
        segment: tokens per segment, of a variant that cuts sequences into segments, else 0.
        gpu: keep all heads, so that exactly the kernels that will be timed are checked.
        interpret: only tiny cases, because Triton's interpreter takes about 10 ms per program.
    """
    if problem.op == "decode":
        cases = _decode(problem)
    elif problem.op == "pool":
        cases = _pool(problem)
    elif interpret:
        cases = _tiny(problem, BT)
    else:
        cases = _chunked(problem, BT or CHUNK, gpu)
    if segment:
        cases = chain(cases, _segments(problem, segment, interpret))
    if gpu:
        return tuple(cases)
    if not interpret:
        return tuple(_few_heads(case) for case in cases)
    return tuple(_cheap(case) for case in cases)


def first_use_cases(problem: Problem, *, BT: int = 0, segment: int = 0) -> tuple[Case, ...]:
    """List the few small cases of a problem that a variant must pass before its first use.

    They run the kernels that the problem's calls will run, and no others, so that nothing is
    compiled in vain. The first case has several chunks and a ragged end; the others have the values
    on which kernels fail most often, and numbers of tokens that are multiples of 16, for which
    Triton compiles apart.

    Args:
        problem, BT, segment: as for ``gate_cases``.
    """
    if problem.op == "decode":
        first = _case(problem, "five sequences", *[1] * 5, every_repeat=True)
        tokens = 1
    elif problem.op == "pool":
        return tuple(_pool(problem))[1:]
    else:
        tokens = (BT or CHUNK) + 5
        name = "several chunks and a ragged end"
        first = _case(problem, name, 4 * BT + 5 if BT else tokens, every_repeat=True)
        if problem.varlen:
            lengths = (1, 0, 2 * BT + 5, 0, BT) if BT else (1, 0, 29, 0, 13)
            name = "empty, short and ragged sequences with unused tokens at the end"
            first = _case(problem, name, *lengths, tail=3, every_repeat=True)
        tokens = 2 * BT or MULTIPLE
    segments = _segments(problem, segment, interpret=True) if segment else ()
    return (first, *segments, *_values(problem, tokens))


def _chunked(problem: Problem, BT: int, gpu: bool) -> Iterator[Case]:
    if problem.varlen:
        yield _case(problem, "one packed token", 1)
        yield _case(
            problem, "empty, short and ragged sequences with unused tokens at the end",
            13, 0, BT, 1, 0, SEVERAL, 0, tail=3, every_repeat=True,
        )  # fmt: skip
    else:
        yield _case(problem, "one token a sequence", 1, 1)
        yield _case(problem, "fewer tokens than a chunk", 13)
        yield _case(problem, "exactly one chunk", BT)
        yield _case(problem, "several chunks and a ragged end", SEVERAL, SEVERAL, every_repeat=True)
    yield from _values(problem, MEDIUM)
    yield from _other_states(problem, MEDIUM)
    # on a GPU many programs run at a time, so races can show, and repeats are cheap
    yield _case(problem, "a long sequence", LONG, every_repeat=gpu)


def _tiny(problem: Problem, BT: int) -> Iterator[Case]:
    if problem.varlen:
        yield _case(
            problem, "empty, short and ragged sequences with unused tokens at the end",
            1, 0, BT + 5, 0, tail=3, every_repeat=True,
        )  # fmt: skip
    else:
        yield _case(problem, "one token a sequence", 1, 1)
        yield _case(problem, "two chunks, the second one ragged", BT + 5, every_repeat=True)
    yield from _values(problem, BT or FEW)
    yield from _other_states(problem, 5)


def _segments(problem: Problem, segment: int, interpret: bool) -> Iterator[Case]:
    """Sequences longer than a segment, with weak, strong and alternating decays."""
    lengths: tuple[int, ...] = (segment + 5 if interpret else 2 * segment + 17,)
    if problem.varlen:
        lengths = (13, 0, *lengths, 0, segment + 1)
    gates = ("model",) if interpret or problem.rule.gate == "none" else GATES
    for gate in gates:
        name = f"more than a segment, gate {gate}"
        yield _case(problem, name, *lengths, recipe=Recipe(gate), every_repeat=gate == "model")


def _decode(problem: Problem) -> Iterator[Case]:
    yield _case(problem, "one sequence", 1)
    yield _case(problem, "five sequences", *[1] * 5, every_repeat=True)
    if problem.varlen:
        yield _case(problem, "empty sequences with unused tokens at the end", 1, 0, 1, 0, tail=2)
    each = problem.tokens // problem.sequences
    if each > 1 and not problem.varlen:
        yield _case(problem, f"{each} tokens a sequence", each, each)
    yield from _values(problem, 1)
    yield from _other_states(problem, 1)


def _pool(problem: Problem) -> Iterator[Case]:
    tokens = 3 if problem.verify else 1
    yield _case(problem, "one sequence", tokens)
    yield _case(
        problem, "five sequences, two of them skipped", *[tokens] * 5,
        recipe=Recipe(skipped=2), every_repeat=True,
    )  # fmt: skip
    if problem.varlen:
        yield _case(problem, "empty sequences with unused tokens at the end", 1, 0, 3, 0, 2, tail=2)
    yield from _values(problem, tokens)


def _values(problem: Problem, tokens: int) -> Iterator[Case]:
    if problem.rule.gate != "none":
        yield _case(problem, "log decays of exactly 0", tokens, recipe=Recipe("open"))
        yield _case(problem, "log decays of -50 to -1000", tokens, recipe=Recipe("strong"))
        yield _case(problem, "log decays of 0 between resets", tokens, recipe=Recipe("resetting"))
    correlated = Recipe("open", cosine=0.33)
    yield _case(problem, "correlated keys", tokens, recipe=correlated, slack=HARD_SLACK)
    if problem.beta_sigmoid or not problem.rule.delta:
        return  # beta is below 1, or there is none
    near_two = Recipe("open", cosine=0.2, beta="near two")
    yield _case(problem, "beta near 2, correlated keys", tokens, recipe=near_two, slack=HARD_SLACK)


def _other_states(problem: Problem, tokens: int) -> Iterator[Case]:
    for states in with_other_states(problem):
        name = "an initial and a final state"
        if not states.initial_state:
            name = "neither initial nor final state"
        yield _case(states, name, tokens)


def _case(
    problem: Problem,
    name: str,
    *lengths: int,
    tail: int = 0,
    recipe: Recipe | None = None,
    slack: float = 1.0,
    every_repeat: bool = False,
) -> Case:
    sized = replace(problem, tokens=sum(lengths) + tail, sequences=len(lengths))
    return Case(name, sized, Layout(lengths, tail), recipe or Recipe(), slack, every_repeat)


def _few_heads(case: Case) -> Case:
    """The same with two key heads, or four if HV = H: enough to find heads mixed up."""
    problem = case.problem
    H = min(problem.H, 2 if problem.group > 1 else 4)
    return replace(case, problem=replace(problem, H=H, HV=H * problem.group))


def _cheap(case: Case) -> Case:
    """The same for the interpreter: at most two key heads and few value heads."""
    problem = case.problem
    H = min(problem.H, 2) if case.every_repeat else 1
    HV = H * (problem.group if case.every_repeat else min(problem.group, 2))
    return replace(case, problem=replace(problem, H=H, HV=HV))
