"""The dispatch mode, and the context managers that change it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from gdn_ops.codegen.errors import UnknownName, shown
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.saved_tensors import SAVING
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.dispatch.current_mode import MODE as MODE
from gdn_ops.dispatch.current_mode import USUAL as USUAL
from gdn_ops.dispatch.current_mode import Mode as Mode
from gdn_ops.dispatch.current_mode import mode_of
from gdn_ops.errors import InvalidInput, UnsupportedProblem

_NUMBERED: dict[int, Mode] = {}

TRACED: list[tuple[str, bool]] = []
"""Inside torch.compile: the plan and the invariance set within the traced function, innermost last.

Dynamo can trace a list, but not a ContextVar. Everything else comes from ``MODE`` when the graph
runs.
"""


@contextmanager
def using(forced: str | Variant) -> Iterator[None]:
    """Context manager: run every call inside on one plan or on one variant.

    The gradients of a call run on the same plan. Calls in float64 are not affected: they always
    run on ``gdn_ops.reference``.

    Args:
        forced: a plan's name, for its default variant, or a ``Variant``. Inside a function that
            torch.compile traces only a name is allowed; put ``using(variant)`` around the call of
            the compiled function.

    Raises:
        InvalidInput: ``forced`` is neither a string nor a variant.
        UnknownName: there is no plan of this name.
        UnsupportedProblem: a variant is given inside a function that torch.compile traces. Calls
            inside raise it too if the plan cannot run them; the message lists every reason.
    """
    if isinstance(forced, str):
        # Dynamo cannot trace this check; in a compiled function the operator checks at run time.
        if not torch.compiler.is_compiling():
            plan_named(forced)
    elif not isinstance(forced, Variant):
        raise InvalidInput(
            f"using({shown(forced)}) is neither a plan nor a variant; give a plan's name "
            f"({', '.join(PLANS)}) or a Variant."
        )
    if torch.compiler.is_compiling():
        if not isinstance(forced, str):
            raise UnsupportedProblem(
                "using(Variant) is inside torch.compile, which allows only a plan's name; put it "
                "around the call of the compiled function."
            )
        with _traced(forced, traced_mode()[1]):
            yield
        return
    with _mode(mode_of(forced, MODE.get().invariant, MODE.get().keep)):
        yield


@contextmanager
def batch_invariant() -> Iterator[None]:
    """Context manager: make the results of a sequence independent of the batch, bit for bit.

    Inside, a sequence gives the same bits alone, in a batch, and packed with others. Every plan
    computes each sequence on its own, but the fastest variant depends on the sizes; here one
    variant serves all sizes: one for prefill, one for decode (one token per sequence, not packed)
    and one for the gradients. Results are also the same from run to run, as no variant uses
    atomics.

    The guarantee does not cover the ``torch`` plan on a GPU, which runs if no kernel can: results
    of cuBLAS may depend on the batch.
    """
    if torch.compiler.is_compiling():
        with _traced(traced_mode()[0], True):
            yield
        return
    with _mode(mode_of(MODE.get().forced, True, MODE.get().keep)):
        yield


@contextmanager
def saving_for_backward(keep: str) -> Iterator[None]:
    """Context manager: choose which tensors the calls inside save for their backward.

    Saving more makes the backward faster and takes more memory. The setting applies to forward
    calls inside the block; their backward may run outside it. ``explain`` of a call shows the
    bytes of each setting, and why a plan saves only its inputs if it cannot save more. A call
    inside torch.compile always saves only its inputs. With torch.utils.checkpoint, put this
    inside the checkpointed function.

    Args:
        keep: what to save. ``inputs`` (the default outside): the inputs; the backward recomputes
            the rest. ``inverse``: also the cumulative log decays and the inverse matrix of each
            chunk. ``states``: also every other tensor of the forward that the backward reads.

    Raises:
        UnknownName: ``keep`` is none of these. Inside torch.compile: InvalidInput.
    """
    known = isinstance(keep, str) and keep in SAVING
    if torch.compiler.is_compiling():
        if not known:
            raise InvalidInput(
                f"saving_for_backward({keep!r}) is unknown; give one of {', '.join(SAVING)}."
            )
        yield
        return
    if not known:
        raise UnknownName.of("setting of saving_for_backward", keep, SAVING)
    with _mode(mode_of(MODE.get().forced, MODE.get().invariant, keep)):
        yield


@contextmanager
def asking() -> Iterator[None]:
    """Context manager: a call says which problem it poses, by an exception; nothing is run.

    The exception is ``gdn_ops.dispatch.posed.Answer``.
    """
    mode = MODE.get()
    with _mode(mode_of(mode.forced, mode.invariant, mode.keep, True)):
        yield


keeping = saving_for_backward
"""The old name of ``saving_for_backward``."""


def number_of(mode: Mode) -> int:
    """Return a number for a mode, valid in this process; ``mode_numbered`` reverses it."""
    _NUMBERED[id(mode)] = mode
    return id(mode)


def mode_numbered(number: int) -> Mode:
    """Return the mode of a number from ``number_of``."""
    return _NUMBERED[number]


def traced_mode() -> tuple[str, bool]:
    """Return the plan (or an empty string) and the invariance set in the traced function."""
    return TRACED[-1] if TRACED else ("", False)


def as_traced(plan: str, invariant: bool) -> AbstractContextManager[None]:
    """Context manager: apply what a traced function has set on top of the current mode.

    Args:
        plan: the plan that it runs on, or an empty string.
        invariant: whether it asked for batch invariance.

    Raises:
        UnknownName: there is no plan of this name.
    """
    if not plan and not invariant:
        return nullcontext()
    if plan:
        plan_named(plan)
    outer = MODE.get()
    return _mode(mode_of(plan or outer.forced, invariant or outer.invariant, outer.keep))


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
