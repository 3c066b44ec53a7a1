"""Reading rows one by one, because other programs may have written to the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import inspect

from gdn_ops.tuner.store.models import Base, Malformed

Row = TypeVar("Row", bound=Base)
Record = TypeVar("Record")
Warn = Callable[[str], object]


class RowReader:
    """Turns rows into records; a malformed row is skipped with one warning.

    Args:
        warn: is called with a sentence that names the row and the fault.
    """

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._noted: set[str] = set()

    def read(self, rows: Iterable[Row], record: Callable[[Row], Record]) -> Iterator[Record]:
        """Yield the record of each row that is not malformed."""
        for row in rows:
            found = self.one(row, record)
            if found is not None:
                yield found

    def one(self, row: Row | None, record: Callable[[Row], Record]) -> Record | None:
        """The record of a row; None if there is no row or it is malformed."""
        if row is None:
            return None
        try:
            require_sound(row)
            return record(row)
        except (ValueError, TypeError) as error:
            text = f"skipped {name_of(row)}, which is malformed: {error}"
            if text not in self._noted:
                self._noted.add(text)
                self._warn(text)
            return None


def require_sound(row: Base) -> None:
    """Raise ValueError if a value of a row does not have the type of its column."""
    for attribute in inspect(type(row)).column_attrs:
        value = getattr(row, attribute.key)
        column = attribute.columns[0]
        fault = _fault(column.type.python_type, value, nullable=getattr(column, "nullable", True))
        if fault is not None:
            raise ValueError(f"{attribute.key}: {fault}")


def name_of(row: Base) -> str:
    """The table and key of a row, e.g. ``row 12 of trials``."""
    (key,) = inspect(row).identity or ("?",)
    return f"row {key} of {row.__tablename__}"


def _fault(kind: type[Any], value: object, *, nullable: bool) -> str | None:
    if isinstance(value, Malformed):
        return value.reason
    if value is None:
        return None if nullable else "it is missing"
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        return f"{value!r:.60} is not a {kind.__name__}"
    if isinstance(value, list) and not all(isinstance(item, int | float) for item in value):
        return f"{value!r:.60} is not a list of numbers"
    return None
