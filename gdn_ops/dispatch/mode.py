"""Mode: how the calls inside a ``with`` are dispatched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch

from gdn_ops.codegen.errors import UnknownName, shown
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.saved_tensors import SAVING
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.errors import InvalidInput, UnsupportedProblem


@dataclass(frozen=True, eq=False)
class Mode:
    """How calls are dispatched; one object for each way, for every call hashes it.

    Args:
        forced: the plan (its default variant) or the variant they run on; None: the best known.
        invariant: the choice does not depend on the sizes of a call.
        keep: what stays in memory for the gradients, one of ``SAVING``.
    """

    forced: str | Variant | None = None
    invariant: bool = False
    keep: str = "inputs"


mode_of = lru_cache(maxsize=1024)(Mode)
USUAL = mode_of(None, False, "inputs")

MODE: ContextVar[Mode] = ContextVar("gdn_ops_mode", default=USUAL)

_NUMBERED: dict[int, Mode] = {}

TRACED: list[tuple[str, bool]] = []
"""Inside torch.compile: the plan and the invariance that the traced region has chosen so far.

Dynamo traces a list, not a ContextVar. What is outside the region is the mode where the graph runs.
"""


@contextmanager
def using(forced: str | Variant) -> Iterator[None]:
    """Run every call inside on one plan (its default variant) or one variant.

    The gradients of a call run on the same plan. Inside a function that torch.compile traces, give
    a plan's name; a variant goes around the call of the compiled function.

    Raises:
        InvalidInput: neither a name nor a variant is given.
        UnknownName: no plan has that name.
        UnsupportedProblem: a variant is given inside a traced function.
    """
    if isinstance(forced, str):
        # Dynamo cannot trace the look-up: there the operator does it, when it runs
        if not torch.compiler.is_compiling():
            plan_named(forced)
    elif not isinstance(forced, Variant):
        raise InvalidInput(
            f"using({shown(forced)}) names nothing; give a plan's name ({', '.join(PLANS)}) "
            "or a Variant."
        )
    if torch.compiler.is_compiling():
        if not isinstance(forced, str):
            raise UnsupportedProblem(
                "using(Variant) is inside torch.compile, where a plan's name can be given alone; "
                "put it around the call of the compiled function."
            )
        with _traced(forced, traced_mode()[1]):
            yield
        return
    with _mode(mode_of(forced, MODE.get().invariant, MODE.get().keep)):
        yield


@contextmanager
def batch_invariant() -> Iterator[None]:
    """Let a sequence inside give the same bits alone, in a batch, and packed with others.

    Every plan computes a sequence without regard to its neighbours; what differs is which variant
    is the fastest for a size. Here one is chosen for all sizes, of prefill, of decode (one token a
    sequence, not packed) and of gradients each. No variant uses atomics, so calls also repeat. On a
    GPU the ``torch`` plan, which runs where nothing was tuned, is no better than cuBLAS, whose
    products may depend on the batch.
    """
    if torch.compiler.is_compiling():
        with _traced(traced_mode()[0], True):
            yield
        return
    with _mode(mode_of(MODE.get().forced, True, MODE.get().keep)):
        yield


@contextmanager
def saving_for_backward(keep: str) -> Iterator[None]:
    """Choose what the calls inside keep in memory for their gradients: less memory, or less time.

    It is the call that counts, not where its gradients are taken. ``explain`` of a call tells the
    bytes of each choice, and why a plan keeps nothing but its inputs where it cannot do more. A
    call inside torch.compile always keeps its inputs alone. Where torch.utils.checkpoint runs a
    call again, put this inside the function that it is given.

    Args:
        keep: ``inputs``, the default, from which the backward makes everything again; ``inverse``,
            the gate's sums and the inverse of each chunk too; or ``states``, every tensor too that
            the forward makes and the backward reads.

    Raises:
        UnknownName: it is none of these.
    """
    known = isinstance(keep, str) and keep in SAVING
    if torch.compiler.is_compiling():
        if not known:
            raise InvalidInput(f"keeping({keep!r}) is no choice; give one of {', '.join(SAVING)}.")
        yield
        return
    if not known:
        raise UnknownName.of("choice of what to keep", keep, SAVING)
    with _mode(mode_of(MODE.get().forced, MODE.get().invariant, keep)):
        yield


keeping = saving_for_backward
"""The older name of ``saving_for_backward``."""


def number_of(mode: Mode) -> int:
    """A number for a mode, as long as the process lives; ``mode_numbered`` gives the mode back."""
    _NUMBERED[id(mode)] = mode
    return id(mode)


def mode_numbered(number: int) -> Mode:
    """The mode of a number that ``number_of`` gave."""
    return _NUMBERED[number]


def traced_mode() -> tuple[str, bool]:
    """The plan, or an empty string, and the invariance in force where a region is traced."""
    return TRACED[-1] if TRACED else ("", False)


def as_traced(plan: str, invariant: bool) -> AbstractContextManager[None]:
    """The mode of a traced region, inside the mode in force where its graph runs.

    Raises:
        UnknownName: no plan has that name.
    """
    if not plan and not invariant:
        return nullcontext()
    if plan:
        plan_named(plan)
    usual = MODE.get()
    return _mode(mode_of(plan or usual.forced, invariant or usual.invariant, usual.keep))


@contextmanager
def _traced(plan: str, invariant: bool) -> Iterator[None]:
    TRACED.append((plan, invariant))
    try:
        yield
    finally:
        TRACED.pop()


@contextmanager
def _mode(mode: Mode) -> Iterator[None]:
    token = MODE.set(mode)
    try:
        yield
    finally:
        MODE.reset(token)
