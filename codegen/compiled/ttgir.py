"""TTGIR, the last of Triton's program texts that names tiles: its operations and its arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

VALUE = r"%[\w$.-]+(?:#\d+)?"
"""A pattern for the name of a value."""
NAME = re.compile(VALUE)

_OP = re.compile(r'^(?:(%[\w$.-]+)(?::(\d+))? = )?"?([a-z][\w.]*)"?(.*)$')
_CONSTANT = re.compile(r" (true|false|-?\d+)\b(?!\.)")
_BINARY: dict[str, Callable[[int, int], int]] = {
    "arith.addi": lambda a, b: a + b,
    "arith.subi": lambda a, b: a - b,
    "arith.muli": lambda a, b: a * b,
    "arith.divsi": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "arith.remsi": lambda a, b: abs(a) % abs(b) * (1 if a >= 0 else -1),
    "arith.minsi": min,
    "arith.maxsi": max,
    "arith.andi": lambda a, b: a & b,
    "arith.ori": lambda a, b: a | b,
    "arith.xori": lambda a, b: a ^ b,
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "slt": lambda a, b: a < b,
    "sle": lambda a, b: a <= b,
    "sgt": lambda a, b: a > b,
    "sge": lambda a, b: a >= b,
}


T = TypeVar("T")


class Op(NamedTuple):
    """One operation, e.g. ``%0 = arith.addi %1, %2 : i32``.

    Args:
        result: the name of its result, or the common name of several; empty without one.
        results: how many results it has.
        name: ``arith.addi``.
        text: what follows the name.
        regions: the operations of each block it holds, such as a loop's body.
    """

    result: str
    results: int
    name: str
    text: str
    regions: list[list[Op]]

    @property
    def operands(self) -> list[str]:
        """The names of the values it reads."""
        return NAME.findall(self.head)

    @property
    def head(self) -> str:
        """The text before attributes and types."""
        return re.split(r" \{| : ", self.text, maxsplit=1)[0]


def parse(text: str) -> list[Op]:
    """The operations of a program, each with those inside it."""
    return _block(iter(text.splitlines()))[0]


def _block(lines: Iterator[str]) -> tuple[list[Op], str]:
    """The operations up to the closing brace, and the line it stands in."""
    ops: list[Op] = []
    for line in map(str.strip, lines):
        if line.startswith("}"):
            return ops, line
        if not (found := _OP.match(line)):
            continue
        op = Op(found[1] or "", int(found[2] or 1), found[3], found[4], [])
        ops.append(op)
        while line.endswith("{"):
            region, line = _block(lines)
            op.regions.append(region)
    return ops, ""


def arithmetic(op: Op, values: Sequence[int | T | None]) -> int | T | None:
    """The result of an operation of dialect ``arith``; None where it is not known.

    Args:
        values: of its operands; None where one is not known. Only a select passes on what is not a
            number.
    """
    if op.name == "arith.constant":
        found = _CONSTANT.match(op.text)
        return int({"true": "1", "false": "0"}.get(found[1], found[1])) if found else None
    if op.name == "arith.select":
        condition, *either = values
        if condition is None:
            return either[0] if either[0] == either[1] else None
        return either[0] if condition else either[1]
    numbers = [value for value in values if isinstance(value, int)]
    if op.name in ("arith.extsi", "arith.extui", "arith.trunci"):
        return numbers[0] if numbers else None
    if len(numbers) != 2 or len(values) != 2:
        return None
    a, b = numbers
    if op.name == "arith.cmpi":
        compare = _COMPARISONS.get(op.text.split(",")[0].strip())
        return None if compare is None else int(compare(a, b))
    if op.name in ("arith.divsi", "arith.remsi") and b == 0:
        return None
    compute = _BINARY.get(op.name)
    return None if compute is None else compute(a, b)
