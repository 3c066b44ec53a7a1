"""Fixes for Triton's interpreter, so that it rounds, loops and masks as GPUs do.

The language is patched once per launch, not once per call.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gdn_ops.codegen.interpreter.operands import fit_operands_faster
from gdn_ops.codegen.interpreter.types import reuse_types


def patch_interpreter() -> None:
    """Apply every fix below; further calls in the same process change nothing."""
    round_bf16_to_nearest()
    index_by_one_element()
    compare_to_booleans()
    call_builtins_at_once()
    patch_language_once_per_launch()
    reuse_types()
    fit_operands_faster()


def round_bf16_to_nearest() -> None:
    """Make the interpreter round fp32 to bf16 to the nearest even value.

    Triton 3.6 to 3.9 cut the low bits off, which is an error of up to one part in 128 with a bias
    towards zero that no GPU makes; their own nearest-even branch drops the carry into the exponent.
    """
    import numpy as np
    from triton.runtime import interpreter

    theirs = interpreter._convert_float
    if getattr(theirs, "rounds_to_nearest", False):
        return

    def convert(data: Any, source: Any, target: Any, mode: Any) -> Any:
        if (str(source), str(target)) != ("fp32", "bf16"):
            return theirs(data, source, target, mode)
        bits = np.ascontiguousarray(data).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        # the carry must not turn a NaN into infinity
        nan = (bits & 0x7FFFFFFF) > 0x7F800000
        return np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)

    convert.rounds_to_nearest = True  # type: ignore[attr-defined]
    interpreter._convert_float = convert


def index_by_one_element() -> None:
    """Let a loop's bound be a loaded or computed value.

    Triton 3.6 calls ``int`` on an array of one element, which NumPy refuses since 2.4, so that
    every ``range`` over such a value fails (triton-lang/triton#9171, fixed in Triton 3.7).
    """
    import triton
    from triton.runtime import interpreter

    theirs = interpreter._patch_lang_tensor
    if not triton.__version__.startswith("3.6.") or hasattr(theirs, "indexes_by_one_element"):
        return

    def patch(tensor: Any, scope: Any) -> None:
        theirs(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patch.indexes_by_one_element = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patch


def compare_to_booleans() -> None:
    """Let a comparison be of booleans, once a process.

    Triton 3.6 to 3.9 give it the type of what it compares, by which a scalar one that is spread
    over a block becomes an int32, and Triton 3.9 refuses to mask by that.
    """
    from triton import language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def boolean(theirs: Any) -> Any:
        def compare(self: Any, a: Any, b: Any) -> Any:
            return TensorHandle(theirs(self, a, b).data, tl.int1)

        compare.gives_booleans = True  # type: ignore[attr-defined]
        return compare

    for name in dir(InterpreterBuilder):
        if name.startswith(("create_icmp", "create_fcmp")):
            theirs = getattr(InterpreterBuilder, name)
            if not hasattr(theirs, "gives_booleans"):
                setattr(InterpreterBuilder, name, boolean(theirs))


def call_builtins_at_once() -> None:
    """Replace a module's builtins by calls that are made once a process.

    Triton 3.6 to 3.9 look for them at every launch, and each call of one copies its arguments.
    """
    import inspect

    import triton.language as tl
    from triton.runtime import interpreter

    if getattr(interpreter._patch_builtin, "calls_at_once", False):
        return
    semantic = interpreter.interpreter_semantic
    replaced: dict[Any, dict[str, Any]] = {}

    def interpreted(builtin: Any) -> Any:
        # what wraps it checks that the argument passed below is there
        function = getattr(builtin, "__wrapped__", builtin)

        def call(*args: Any, **named: Any) -> Any:
            named["_semantic"] = semantic
            return function(*args, **named)

        return call

    def patch(module: Any, builder: Any, scope: Any) -> None:
        if module not in replaced:
            members = inspect.getmembers(module, tl.core.is_builtin)
            replaced[module] = {name: interpreted(member) for name, member in members}
        for name, call in replaced[module].items():
            scope.set_attr(module, name, call)

    patch.calls_at_once = True  # type: ignore[attr-defined]
    interpreter._patch_builtin = patch


def patch_language_once_per_launch() -> None:
    """Patch ``triton.language`` once per launch and not at each call of a device function.

    Triton 3.6 to 3.9 replace every builtin again whenever a kernel calls a function such as
    ``tl.sum``, which takes a third of a kernel's time, and do not restore what that replaced.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    theirs = interpreter._patch_lang
    if getattr(theirs, "patches_once_per_launch", False):
        return
    launches: list[Any] = []  # the scope of the launch that runs
    patched: list[Any] = []  # the modules that it has patched

    def patch(function: Any) -> Any:
        seen = list(function.__globals__.values())
        visible = [part for part in (tl, tl.core) if any(value is part for value in seen)]
        missing = [part for part in visible if part not in patched]
        if not missing:
            return interpreter._LangPatchScope()
        patched.extend(missing)
        scope = theirs(SimpleNamespace(__globals__=dict(enumerate(missing))))
        if launches:  # the launch's scope restores this, too
            launches[0]._changes += scope._changes
            return interpreter._LangPatchScope()
        launches.append(scope)
        restore_language = scope.restore

        def restore() -> None:
            launches.clear()
            patched.clear()
            restore_language()

        scope.restore = restore
        return scope

    patch.patches_once_per_launch = True  # type: ignore[attr-defined]
    interpreter._patch_lang = patch
