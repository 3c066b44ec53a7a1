"""Trips: how often the loops of a rendered kernel are passed through."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gdn_ops.codegen.compiled.loops import Loop

UNROLLED = 4
"""Passes below which the compiler may have written a loop out."""


@dataclass(frozen=True)
class SourceLoop:
    """A loop of the rendered source: index of the one around it (-1: none), and its passes."""

    outer: int
    passes: float


def source_loops(source: str, sizes: Mapping[str, int]) -> tuple[SourceLoop, ...]:
    """The ``for`` loops over ``range`` and ``tl.range`` of a kernel, in the order of its lines.

    Args:
        source: a rendered module with one kernel.
        sizes: the kernel's run-time numbers by name, e.g. T, the tokens of a sequence.

    Bounds that depend on anything else count as one pass.
    """
    tree = ast.parse(source)
    names: dict[str, float] = dict(sizes)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _value(node.value, names)
            if value is not None:
                names[node.targets[0].id] = value
    loops: list[SourceLoop] = []
    _walk(tree, -1, names, loops)
    return tuple(loops)


def trips(loops: Sequence[Loop], source: Sequence[SourceLoop]) -> tuple[float, ...]:
    """Passes of each loop of the machine code over the whole run of a program; the kernel's is 1.

    Loops are matched in order, those of a few passes left out if the compiler wrote them out; where
    the numbers still differ, an outermost loop has the passes of the longest of the source.
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
    """The source's loops that are in the machine code, or none if that is not clear.

    Those of the fewest passes are the first that a compiler writes out.
    """
    left = list(source)
    while len(left) > count:
        shortest = min(left, key=lambda loop: loop.passes)
        if shortest.passes > UNROLLED:
            return ()
        left.remove(shortest)
    return left if len(left) == count else ()


def _walk(node: ast.AST, outer: int, names: Mapping[str, float], loops: list[SourceLoop]) -> None:
    for child in ast.iter_child_nodes(node):
        inside = outer
        if isinstance(child, ast.For) and _is_range(child.iter):
            loops.append(SourceLoop(outer, _passes(child.iter, names)))
            inside = len(loops) - 1
        _walk(child, inside, names, loops)


def _is_range(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("range", "tl.range")


def _passes(call: ast.expr, names: Mapping[str, float]) -> float:
    assert isinstance(call, ast.Call)
    bounds = [_value(argument, names) for argument in call.args]
    if None in bounds:
        return 1.0
    known = [bound for bound in bounds if bound is not None]
    start, stop, step = (0.0, known[0], 1.0) if len(known) == 1 else (*known, 1.0)[:3]
    return max(0.0, -(-(stop - start) // step)) if step else 1.0


def _value(node: ast.expr, names: Mapping[str, float]) -> float | None:
    """The number an expression of known names comes to; None if it is of others."""
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
    match name:
        case "tl.cdiv":
            return -(-known[0] // known[1]) if known[1] else None
        case "tl.constexpr":
            return known[0]
        case "tl.minimum" | "min":
            return min(known)
        case "tl.maximum" | "max":
            return max(known)
    return None
