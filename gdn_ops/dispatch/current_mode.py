"""The mode in which calls are dispatched now; ``mode`` changes it. PyTorch is not imported here."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from gdn_ops.codegen.variant import Variant


@dataclass(frozen=True, eq=False)
class Mode:
    """How calls are dispatched. Equal modes are one object: every call hashes its mode.

    Args:
        forced: the plan (its default variant) or the variant to run on; None: the best known.
        invariant: whether the choice ignores the sizes of a call.
        keep: which tensors stay in memory for the backward, one of ``SAVING``.
        asking: whether calls say which problem they pose instead of running it.
    """

    forced: str | Variant | None = None
    invariant: bool = False
    keep: str = "inputs"
    asking: bool = False


mode_of = lru_cache(maxsize=1024)(Mode)
USUAL = mode_of(None, False, "inputs")

MODE: ContextVar[Mode] = ContextVar("gdn_ops_mode", default=USUAL)
