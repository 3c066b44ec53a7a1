"""The options that describe one problem, shared by every command that takes one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem

H = Annotated[int | None, typer.Option("--H", help="Query/key heads of one problem.")]
HV = Annotated[int | None, typer.Option("--HV", help="Value heads, a multiple of H.")]
K = Annotated[int | None, typer.Option("--K", help="Head dim of queries and keys.")]
V = Annotated[int | None, typer.Option("--V", help="Head dim of values; K by default.")]
DType = Annotated[str | None, typer.Option("--dtype", help="bf16, fp16 or fp32.")]
Tokens = Annotated[int | None, typer.Option(help="Tokens of the whole call.")]
Sequences = Annotated[int | None, typer.Option(help="Independent sequences.")]
Decode = Annotated[bool, typer.Option("--decode", help="One token a sequence, not a prefill.")]
Backward = Annotated[bool, typer.Option("--backward", help="The gradients of a prefill.")]
Varlen = Annotated[bool, typer.Option("--varlen", help="Packed sequences.")]
Gate = Annotated[
    str | None, typer.Option(help="scalar (the default), vector (a decay a key channel) or none.")
]
Linear = Annotated[bool, typer.Option("--linear", help="The rule without the delta.")]
InitialState = Annotated[bool, typer.Option("--initial-state", help="One comes in.")]
FinalState = Annotated[bool, typer.Option("--final-state", help="One goes out.")]
RawGate = Annotated[
    bool, typer.Option("--raw-gate", help="The gate comes raw, with A_log and dt_bias.")
]

QWEN = {"H": 16, "HV": 32, "K": 128, "V": 128, "dtype": "bf16"}
"""What a problem is where the command line does not say: a prefill of Qwen3-Next's heads."""


def given_facts(
    *,
    decode: bool = False,
    backward: bool = False,
    varlen: bool = False,
    initial_state: bool = False,
    final_state: bool = False,
    raw_gate: bool = False,
    linear: bool = False,
    **sizes: Any,
) -> dict[str, Any]:
    """The facts that were given on the command line, HV and V following H and K.

    Raises:
        InvalidInput: both --decode and --backward.
    """
    if decode and backward:
        raise InvalidInput("--decode and --backward are two problems; give one of them.")
    facts = {name: value for name, value in sizes.items() if value is not None}
    if "H" in facts:
        facts.setdefault("HV", facts["H"])
    if "K" in facts:
        facts.setdefault("V", facts["K"])
    flags = {
        "varlen": varlen, "initial_state": initial_state, "final_state": final_state,
        "gate_in_kernel": raw_gate, "dt_bias": raw_gate,
    }  # fmt: skip
    facts |= {name: True for name, on in flags.items() if on}
    if linear:
        facts["delta"] = False
    op = {"op": "decode"} if decode else {"op": "backward"} if backward else {}
    return facts | op


def problem_from(facts: dict[str, Any]) -> Problem:
    """A problem from given facts; the rest is Qwen3-Next's prefill of 2048 tokens, or its decode.

    Raises:
        InvalidInput, UnknownName: a fact is outside the contract.
    """
    from gdn_ops.tuner.spaces.workloads import problem_of

    if facts.get("op") == "decode":
        usual: dict[str, Any] = {"sequences": 8, "initial_state": True, "final_state": True}
    elif facts.get("op") == "backward":
        usual = {"tokens": 2048}
    else:
        usual = {"tokens": 2048, "final_state": True}
    return problem_of({**QWEN, **usual, **facts})
