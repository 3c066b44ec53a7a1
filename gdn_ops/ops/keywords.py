"""Arguments of flash-linear-attention that are not supported, ignored, or renamed."""

from __future__ import annotations

import warnings
from typing import Any

from gdn_ops.errors import InvalidInput, UnsupportedProblem

CHUNK_SIZES = (16, 32, 64, 128)


def renamed(unknown: dict[str, Any], state_v_first: bool) -> bool:
    """Return ``state_v_first``, which older callers pass as ``transpose_state_layout``.

    Raises:
        InvalidInput: both names are given.
    """
    if "transpose_state_layout" not in unknown:
        return state_v_first
    if state_v_first:
        raise InvalidInput(
            "state_v_first and transpose_state_layout, its old name, are both given; give only "
            "state_v_first."
        )
    warnings.warn(
        "transpose_state_layout was renamed; pass state_v_first.", DeprecationWarning, stacklevel=3
    )
    return bool(unknown.pop("transpose_state_layout"))


def check_chunk_size(chunk_size: object) -> None:
    """Check the chunk size, which is otherwise ignored: the tuned variant decides."""
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise InvalidInput(f"chunk_size={chunk_size} is not one of {CHUNK_SIZES}; leave it out.")


def refuse(unknown: dict[str, Any], cp_context: object | None) -> None:
    """Refuse arguments of ``chunk_gated_delta_rule`` that are unknown or not supported."""
    if cp_context is not None:
        raise UnsupportedProblem(
            "cp_context is given, but context parallelism over several GPUs is not supported; "
            "leave it out."
        )
    if "head_first" in unknown:
        raise InvalidInput("head_first is no longer supported; give [B, T, heads, head dim].")
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")


def refuse_more(name: str, more: dict[str, Any]) -> None:
    """Refuse arguments that a function does not support, unless they are None or False."""
    # ``is``, not ``==``: a tensor of zeros equals False, but was given.
    given = [n for n, value in more.items() if value is not None and value is not False]
    if given:
        raise UnsupportedProblem(
            f"{name} does not support {', '.join(sorted(given))} yet; leave it out."
        )
