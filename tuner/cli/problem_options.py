"""The options that describe one problem, shared by every command that takes one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem

QWEN = {"H": 16, "HV": 32, "K": 128, "V": 128, "dtype": "bf16"}
"""Facts of a problem that the command line leaves out: a prefill with the heads of Qwen3-Next."""


@dataclass(frozen=True, kw_only=True)
class ProblemOptions:
    """The options that describe one problem; each field is the option of its name."""

    H: Annotated[int | None, typer.Option("--H", help="Query/key heads.")] = None
    HV: Annotated[
        int | None,
        typer.Option("--HV", help="Value heads, a multiple of H. With --H: H by default."),
    ] = None
    K: Annotated[int | None, typer.Option("--K", help="Head dim of queries and keys.")] = None
    V: Annotated[int | None, typer.Option("--V", help="Head dim of values; K by default.")] = None
    dtype: Annotated[str | None, typer.Option("--dtype", help="bf16, fp16 or fp32.")] = None
    tokens: Annotated[int | None, typer.Option(help="Total tokens over all sequences.")] = None
    sequences: Annotated[int | None, typer.Option(help="Number of independent sequences.")] = None
    decode: Annotated[
        bool, typer.Option("--decode", help="One new token per sequence, not a prefill.")
    ] = False
    backward: Annotated[bool, typer.Option("--backward", help="The gradients of a prefill.")] = (
        False
    )
    varlen: Annotated[
        bool,
        typer.Option(
            "--varlen", help="Sequences of different lengths, packed in one row (cu_seqlens)."
        ),
    ] = False
    gate: Annotated[
        str | None,
        typer.Option(
            help="scalar (one decay per head, the default), vector (one per key channel) or none."
        ),
    ] = None
    linear: Annotated[
        bool, typer.Option("--linear", help="Without the delta rule: (gated) linear attention.")
    ] = False
    initial_state: Annotated[
        bool, typer.Option("--initial-state", help="The call takes an initial state.")
    ] = False
    final_state: Annotated[
        bool | None,
        typer.Option(
            "--final-state/--no-final-state",
            help="Whether the call returns the final state; the default, but with --backward.",
        ),
    ] = None
    raw_gate: Annotated[
        bool,
        typer.Option(
            "--raw-gate", help="g is raw; the log decay is -exp(A_log) softplus(g + dt_bias)."
        ),
    ] = False

    def facts(self) -> dict[str, Any]:
        """The facts that were given; HV follows H and V follows K where they were not.

        Raises:
            InvalidInput: both --decode and --backward were given.
        """
        if self.decode and self.backward:
            raise InvalidInput("--decode and --backward are two problems; give one of them.")
        sizes = ("H", "HV", "K", "V", "dtype", "tokens", "sequences", "gate")
        given = asdict(self)
        facts = {name: given[name] for name in sizes if given[name] is not None}
        if "H" in facts:
            facts.setdefault("HV", facts["H"])
        if "K" in facts:
            facts.setdefault("V", facts["K"])
        flags = {
            "varlen": self.varlen, "initial_state": self.initial_state,
            "gate_in_kernel": self.raw_gate, "dt_bias": self.raw_gate,
        }  # fmt: skip
        facts |= {name: True for name, on in flags.items() if on}
        if self.final_state is not None:
            facts["final_state"] = self.final_state
        if self.linear:
            facts["delta"] = False
        op = {"op": "decode"} if self.decode else {"op": "backward"} if self.backward else {}
        return facts | op

    def problem(self) -> Problem:
        """The problem that the options describe, completed by ``problem_from``."""
        return problem_from(self.facts())


def problem_from(facts: dict[str, Any]) -> Problem:
    """A problem from given facts; the rest is Qwen3-Next's prefill of 2048 tokens, or its decode.

    Raises:
        InvalidInput, UnknownName: a fact is not allowed.
    """
    from gdn_ops.tuner.spaces.workloads import problem_of

    if facts.get("op") == "decode":
        usual: dict[str, Any] = {"sequences": 8, "initial_state": True, "final_state": True}
    elif facts.get("op") == "backward":
        usual = {"tokens": 2048}
    else:
        usual = {"tokens": 2048, "final_state": True}
    return problem_of({**QWEN, **usual, **facts})
