"""Builders of typical problems, by default with the heads of Qwen3-Next and Qwen3.5."""

from __future__ import annotations

from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule


def prefill(*, tokens: int, sequences: int = 1, dtype: str = "bf16", **facts: Any) -> Problem:
    """A prefill; by default with the heads of Qwen3-Next and Qwen3.5."""
    geometry = {"H": 16, "HV": 32, "K": 128, "V": 128, "final_state": True}
    return Problem(
        op="forward", tokens=tokens, sequences=sequences, dtype=dtype, **(geometry | facts)
    )


def training(*, tokens: int, sequences: int = 1, dtype: str = "bf16", **facts: Any) -> Problem:
    """The gradients of a training batch, without initial and final states."""
    return prefill(
        tokens=tokens, sequences=sequences, dtype=dtype, final_state=False, **facts
    ).backward(final_state=False)


def decode(*, sequences: int, dtype: str = "bf16", **facts: Any) -> Problem:
    """One token per sequence, with initial and final states."""
    geometry = {"H": 16, "HV": 32, "K": 128, "V": 128, "initial_state": True, "final_state": True}
    return Problem(
        op="decode", tokens=sequences, sequences=sequences, dtype=dtype, **(geometry | facts)
    )


def pool(*, sequences: int, drafts: int = 0, dtype: str = "bf16", **facts: Any) -> Problem:
    """Decode as serving engines do it: raw inputs, and a V-first pool of states.

    Args:
        drafts: draft tokens to verify per sequence, besides its own token. With drafts the
            sequences are packed.
    """
    geometry: dict[str, Any] = {"H": 16, "HV": 32, "K": 128, "V": 128, "state_dtype": "bf16"}
    flags = (
        "initial_state", "final_state", "gate_in_kernel", "dt_bias", "state_v_first", "qk_l2norm",
        "beta_sigmoid",
    )  # fmt: skip
    verify = {"verify": True, "varlen": True} if drafts else {}
    given = geometry | dict.fromkeys(flags, True) | verify | facts
    tokens = sequences * (1 + drafts)
    return Problem(op="pool", tokens=tokens, sequences=sequences, dtype=dtype, **given)


KDA: dict[str, Any] = {
    "rule": Rule("vector"), "H": 32, "HV": 32, "gate_in_kernel": True, "dt_bias": True,
}  # fmt: skip
"""Kimi delta attention of Kimi-Linear-48B-A3B, with a raw gate per key channel."""
