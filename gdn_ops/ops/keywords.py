"""Arguments that a contract has and nothing here computes, or has by another name."""

from __future__ import annotations

import warnings
from typing import Any

from gdn_ops.errors import InvalidInput, UnsupportedProblem

CHUNK_SIZES = (16, 32, 64, 128)


def renamed(unknown: dict[str, Any], state_v_first: bool) -> bool:
    """``state_v_first``, or its value under the name it had before.

    Raises:
        InvalidInput: both are given.
    """
    if "transpose_state_layout" not in unknown:
        return state_v_first
    if state_v_first:
        raise InvalidInput(
            "state_v_first and transpose_state_layout, its name of before, are both given; give "
            "state_v_first alone."
        )
    warnings.warn(
        "transpose_state_layout is now state_v_first; pass that.", DeprecationWarning, stacklevel=3
    )
    return bool(unknown.pop("transpose_state_layout"))


def check_chunk_size(chunk_size: object) -> None:
    """Refuse a chunk size that no contract has; of the others the tuned variant takes its own."""
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise InvalidInput(f"chunk_size={chunk_size} is none of {CHUNK_SIZES}; leave it out.")


def refuse(unknown: dict[str, Any], cp_context: object | None) -> None:
    """Refuse arguments that the contract had once or has and nothing here computes."""
    if cp_context is not None:
        raise UnsupportedProblem(
            "cp_context is given and context parallelism over several GPUs is not built; "
            "leave it out."
        )
    if "head_first" in unknown:
        raise InvalidInput("head_first is gone from the contract; give [B, T, heads, head dim].")
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")


def refuse_more(name: str, more: dict[str, Any]) -> None:
    """Refuse what a contract has and nothing here computes; switched off it is let through."""
    # by identity: a tensor of zeros equals False, and was asked for all the same
    asked = [n for n, value in more.items() if value is not None and value is not False]
    if asked:
        raise UnsupportedProblem(f"{name} has no {', '.join(sorted(asked))} yet; leave it out.")
