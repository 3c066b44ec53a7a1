"""Trips: how many passes the loops of a compiled kernel make.

The loops and their bounds are read from the rendered source, not declared in specs. Which loops a
kernel has, and in which order, depends on template, macros, problem and config; a declaration would
repeat all of that and could go wrong unnoticed. A spec only declares the run-time numbers in the
bounds (``KernelSpec.loop_bounds``), and a test checks that it declares all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gdn_ops.codegen.compiled.loops import Loop

UNROLLED = 4
"""The most passes of a loop that the compiler may have unrolled completely."""


@dataclass(frozen=True)
class SourceLoop:
    """A loop of the rendered source.

    Args:
        outer: index of the enclosing loop in the kernel's list; -1 if there is none.
        passes: how often its body runs each time the loop is entered.
        known: whether the bounds are known; if not, ``passes`` is 1.
    """

    outer: int
    passes: float
    known: bool = True


def source_loops(source: str, bounds: Mapping[str, int]) -> tuple[SourceLoop, ...]:
    """The ``for`` loops over ``range`` and ``tl.range`` of a kernel, in the order of its lines.

    Args:
        source: a rendered module with one kernel.
        bounds: the values of run-time numbers by their names, e.g. T; see
            ``KernelSpec.loop_bounds``.
    """
    return _source_loops(source, tuple(bounds.items()))


@lru_cache(maxsize=16384)  # the cost model asks for the same kernels for every GPU
def _source_loops(source: str, bounds: tuple[tuple[str, int], ...]) -> tuple[SourceLoop, ...]:
    tree = ast.parse(source)
    names: dict[str, float] = dict(bounds)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _value(node.value, names)
            if value is not None:
                names[node.targets[0].id] = value
    loops: list[SourceLoop] = []
    _walk(tree, -1, names, loops)
    return tuple(loops)


def trips(loops: Sequence[Loop], source: Sequence[SourceLoop]) -> tuple[float, ...]:
    """The passes of each loop of the machine code in one run of a program; 1 for the kernel itself.

    Loops of machine code and source are matched in order, without loops of few passes that the
    compiler may have unrolled. If their numbers still differ, each outermost loop counts as the
    longest outermost loop of the source, and each inner loop as one pass.
    """
    matched = _matched(len(loops) - 1, source)
    longest = max((loop.passes for loop in source if loop.outer < 0), default=1.0)
    total: list[float] = []
    for i, loop in enumerate(loops):
        if loop.outer < 0:
            total.append(1.0)
            continue
        own = matched[i - 1].passes if matched else (longest if loop.outer == 0 else 1.0)
        total.append(own * total[loop.outer])
    return tuple(total)


def _matched(count: int, source: Sequence[SourceLoop]) -> Sequence[SourceLoop]:
    """The ``count`` loops of the source that are in the machine code; none if that is unclear.

    Loops with the fewest passes are taken to be unrolled first.
    """
    left = list(source)
    while len(left) > count:
        shortest = min(left, key=lambda loop: loop.passes)
        if shortest.passes > UNROLLED:
            return ()
        left.remove(shortest)
    return left if len(left) == count else ()


def _walk(node: ast.AST, outer: int, names: dict[str, float], loops: list[SourceLoop]) -> None:
    if isinstance(node, ast.FunctionDef):
        names = dict(names)
    for child in ast.iter_child_nodes(node):
        inside = outer
        if isinstance(child, ast.Assign):
            for name, value in _assigned(child):
                if (number := _value(value, names)) is not None:
                    # what a spec declares stays, such as the T of a sequence that the kernel loads
                    names.setdefault(name, number)
        if isinstance(child, ast.For) and _is_range(child.iter):
            passes = _passes(child.iter, names)
            known = passes is not None
            loops.append(SourceLoop(outer, 1.0 if passes is None else passes, known))
            inside = len(loops) - 1
        _walk(child, inside, names, loops)


def _assigned(node: ast.Assign) -> list[tuple[str, ast.expr]]:
    """The names that an assignment gives values to, with those."""
    target, value = node.targets[0], node.value
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(target.elts, value.elts, strict=False))
    return [(name.id, given) for name, given in pairs if isinstance(name, ast.Name)]


def _is_range(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("range", "tl.range")


def _passes(call: ast.expr, names: Mapping[str, float]) -> float | None:
    assert isinstance(call, ast.Call)
    bounds = [_value(argument, names) for argument in call.args]
    if None in bounds:
        return None
    known = [bound for bound in bounds if bound is not None]
    start, stop, step = (0.0, known[0], 1.0) if len(known) == 1 else (*known, 1.0)[:3]
    return max(0.0, -(-(stop - start) // step)) if step else 1.0


def _value(node: ast.expr, names: Mapping[str, float]) -> float | None:
    """The value of an expression of known names; None if it has others."""
    if isinstance(node, ast.Constant):
        return float(node.value) if isinstance(node.value, int | float) else None
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, names)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        return _arithmetic(node, _value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "to":
            return _value(node.func.value, names)  # a cast
        values = [_value(argument, names) for argument in node.args]
        return _called(ast.unparse(node.func), values)
    return None


def _arithmetic(node: ast.BinOp, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.FloorDiv():
            return left // right if right else None
    return None


def _called(name: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) != len(values) or not known:
        return None
    match name.replace("gl.", "tl."):
        case "tl.cdiv":
            return -(-known[0] // known[1]) if known[1] else None
        case "tl.constexpr":
            return known[0]
        case "tl.minimum" | "min":
            return min(known)
        case "tl.maximum" | "max":
            return max(known)
    return None
