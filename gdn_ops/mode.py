"""Mode: how the calls inside a ``with`` are dispatched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Mode:
    """How calls are dispatched; one object for each way, for every call hashes it.

    Args:
        forced: the plan (its default variant) or the variant they run on; None: the best known.
        invariant: the choice does not depend on the sizes of a call.
    """

    forced: str | Variant | None = None
    invariant: bool = False


mode_of = lru_cache(maxsize=1024)(Mode)
USUAL = mode_of(None, False)

MODE: ContextVar[Mode] = ContextVar("gdn_ops_mode", default=USUAL)


@contextmanager
def using(forced: str | Variant) -> Iterator[None]:
    """Run every call inside on one plan (its default variant) or one variant.

    The gradients of a call run on the same plan.

    Raises:
        InvalidInput: neither a name nor a variant is given.
        UnknownName: no plan has that name.
    """
    if isinstance(forced, str):
        plan_named(forced)
    elif not isinstance(forced, Variant):
        raise InvalidInput(
            f"using({shown(forced)}) names nothing; give a plan's name ({', '.join(PLANS)}) "
            "or a Variant."
        )
    with _mode(mode_of(forced, MODE.get().invariant)):
        yield


@contextmanager
def batch_invariant() -> Iterator[None]:
    """Let a sequence inside give the same bits alone, in a batch, and packed with others.

    Every plan computes a sequence without regard to its neighbours; what differs is which variant
    is the fastest for a size. Here one is chosen for all sizes, of prefill, of decode (one token a
    sequence, not packed) and of gradients each. No variant uses atomics, so calls also repeat. On a
    GPU the ``torch`` plan, which runs where nothing was tuned, is no better than cuBLAS, whose
    products may depend on the batch.

    Gradients of an eager call keep the mode of the call; those of a compiled one have the mode that
    is in force where they are taken.
    """
    with _mode(mode_of(MODE.get().forced, True)):
        yield


@contextmanager
def _mode(mode: Mode) -> Iterator[None]:
    token = MODE.set(mode)
    try:
        yield
    finally:
        MODE.reset(token)
