"""Formulas: integer computations of Python as C expressions, found by running them on symbols.

Grids and shapes are Python functions of a call's sizes. ``formulas`` runs such a function on
symbols, which record what is done to them. Where the function branches on a symbol it is run once
for each way, and the results are joined by ``condition ? a : b``. Sizes are not negative, so that
Python's ``//`` is C's ``/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

CEIL = "ceil_div"
"""The function of C that the formulas call: the quotient, rounded up."""
CHOICE, COMPARISON, SUM, PRODUCT, ATOM = range(5)
"""How tight an expression binds, the loosest first."""


class Undecided(Exception):
    """A function asks for the truth of a condition that no way through it has decided."""

    def __init__(self, condition: str) -> None:
        super().__init__(f"the truth of {condition} depends on the sizes of a call")
        self.condition = condition


_TAKEN: ContextVar[Mapping[str, bool] | None] = ContextVar("taken", default=None)


class Formula:
    """An integer that is not negative, as an expression in C.

    Args:
        text: the expression.
        binding: how tight it binds.
    """

    def __init__(self, text: str, binding: int = ATOM) -> None:
        self.text, self.binding = text, binding

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: int | Formula) -> Formula:
        return self if _is(other, 0) else _joined(self, "+", other, SUM)

    def __radd__(self, other: int) -> Formula:
        return self if other == 0 else _joined(other, "+", self, SUM)

    def __mul__(self, other: int | Formula) -> Formula:
        return self if _is(other, 1) else _joined(self, "*", other, PRODUCT)

    def __rmul__(self, other: int) -> Formula:
        return self if other == 1 else _joined(other, "*", self, PRODUCT)

    def __floordiv__(self, other: int) -> Formula:
        if other <= 0:
            raise ValueError(f"a size is divided by {other}; a formula divides by more than 0 only")
        return self if other == 1 else _joined(self, "/", other, PRODUCT)

    def __neg__(self) -> Negative:
        return Negative(self)

    def __gt__(self, other: int | Formula) -> Condition:
        return _compared(self, ">", other)

    def __ge__(self, other: int | Formula) -> Condition:
        return _compared(self, ">=", other)

    def __lt__(self, other: int | Formula) -> Condition:
        return _compared(self, "<", other)

    def __le__(self, other: int | Formula) -> Condition:
        return _compared(self, "<=", other)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return _compared(self, "==", cast(Any, other))

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return _compared(self, "!=", cast(Any, other))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(_compared(self, "!=", 0))


class Negative:
    """Minus a formula; ``-(-a // b)`` is how Python rounds a quotient up."""

    def __init__(self, of: Formula) -> None:
        self._of = of

    def __floordiv__(self, divisor: int) -> NegativeQuotient:
        return NegativeQuotient(self._of, divisor)


class NegativeQuotient:
    """Minus a quotient that is rounded up."""

    def __init__(self, of: Formula, divisor: int) -> None:
        self._of, self._divisor = of, divisor

    def __neg__(self) -> Formula:
        if self._divisor <= 0:
            raise ValueError(f"a size is divided by {self._divisor}, not by more than 0")
        return self._of if self._divisor == 1 else Formula(f"{CEIL}({self._of}, {self._divisor})")


class Condition:
    """A comparison; its truth is what the way through the function has decided."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __bool__(self) -> bool:
        taken = _TAKEN.get()
        if taken is None or self.text not in taken:
            raise Undecided(self.text)
        return taken[self.text]


def formulas(compute: Callable[[], Sequence[Any]]) -> tuple[str, ...]:
    """The expressions of what a function computes from symbols, each a ``Formula`` or an integer.

    Raises:
        TypeError, ValueError: it does what no formula can say.
    """
    return tuple(str(found) for found in _explored(compute, {}))


def _explored(compute: Callable[[], Sequence[Any]], taken: Mapping[str, bool]) -> list[Any]:
    token = _TAKEN.set(taken)
    try:
        found = list(compute())
        for value in found:
            if not isinstance(value, Formula | int):
                raise TypeError(f"{value!r} is no formula; compute with + * // and max only")
        return found
    except Undecided as question:
        condition = question.condition
    finally:
        _TAKEN.reset(token)
    yes, no = (_explored(compute, {**taken, condition: truth}) for truth in (True, False))
    if len(yes) != len(no):
        raise ValueError(f"the number of results depends on {condition}")
    return [_either(condition, *pair) for pair in zip(yes, no, strict=True)]


def _either(condition: str, yes: Formula | int, no: Formula | int) -> Formula | int:
    if str(yes) == str(no):
        return yes
    return Formula(f"{condition} ? {_text(yes, COMPARISON)} : {_text(no, CHOICE)}", CHOICE)


def _joined(a: Formula | int, operator: str, b: Formula | int, binding: int) -> Formula:
    # C groups from the left, and so does the text: (a * b) / c, but a * (b / c)
    return Formula(f"{_text(a, binding)} {operator} {_text(b, binding + 1)}", binding)


def _compared(a: Formula, operator: str, b: Formula | int) -> Condition:
    return Condition(f"{_text(a, SUM)} {operator} {_text(b, SUM)}")


def _text(x: Formula | int, binding: int) -> str:
    """An operand, in parentheses if it binds less tight."""
    if isinstance(x, Formula):
        return x.text if x.binding >= binding else f"({x.text})"
    if x < 0:
        raise ValueError(f"{x} is negative, and sizes are not")
    return str(x)


def _is(x: int | Formula, number: int) -> bool:
    return isinstance(x, int) and x == number
