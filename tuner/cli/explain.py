"""``gdn explain``: what a problem runs on, from which row, and why not on something else."""

from __future__ import annotations

from typing import Annotated

import typer

from gdn_ops.tuner.cli import problem_options as option


def explain(
    target: Annotated[
        str | None, typer.Option(help="Explain for this target instead of this machine.")
    ] = None,
    H: option.H = None,
    HV: option.HV = None,
    K: option.K = None,
    V: option.V = None,
    dtype: option.DType = None,
    tokens: option.Tokens = None,
    sequences: option.Sequences = None,
    decode: option.Decode = False,
    backward: option.Backward = False,
    varlen: option.Varlen = False,
    gate: option.Gate = None,
    linear: option.Linear = False,
    initial_state: option.InitialState = False,
    final_state: option.FinalState = False,
    raw_gate: option.RawGate = False,
) -> int:
    """Say what a problem runs on and why.

    Names the variant, the row of the database that decided, and why not the others. What is not
    given is Qwen3-Next's: 16 and 32 heads, K = V = 128, bf16, 2048 tokens. For gradients it also
    says how much memory each choice of gdn_ops.saving_for_backward takes, and how many bytes the
    backward then moves.

    Examples:

        gdn explain

        gdn explain --decode --sequences 8 --dtype fp32

        gdn explain --target h200 --tokens 32768

        gdn explain --backward

        gdn explain --gate vector --raw-gate
    """
    from gdn_ops.dispatch.explanation import explain as explain_problem
    from gdn_ops.tuner.report import console

    facts = option.given_facts(
        H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=tokens, sequences=sequences, decode=decode,
        backward=backward, varlen=varlen, gate=gate, initial_state=initial_state,
        final_state=final_state, raw_gate=raw_gate, linear=linear,
    )  # fmt: skip
    console.say(str(explain_problem(option.problem_from(facts), target=target)))
    return 0
