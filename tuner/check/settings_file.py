"""``gdn-check.toml``: the settings of a check as a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.tuner.check.gate import FLOOR, THRESHOLD, Limits
from gdn_ops.tuner.check.percentage import percentage
from gdn_ops.tuner.check.settings import Exemption, RowSettings, Settings, StaticLimits
from gdn_ops.tuner.data_file import read_data

NAME = "gdn-check.toml"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def settings_of(given: Path | None, folder: Path) -> Settings:
    """The settings of a file that was named, else of ``folder``'s own, else the defaults."""
    if given is not None:
        return read_settings(given)
    own = folder / NAME
    return read_settings(own) if own.exists() else Settings()


def read_settings(path: Path) -> Settings:
    """Read a file of settings: TOML, or JSON with the same keys.

    Raises:
        InvalidInput: the file cannot be read, or a value is missing, of the wrong type or not
            allowed. The message names the file, the entry and the value.
        UnknownName: a key does not exist.
    """
    data = read_data(path, kind="settings")
    file = _Table(str(path), data, keys=("threshold", "floor", "row", "exempt", "static"))
    settings = Settings(
        threshold=file.percentage("threshold", default=THRESHOLD),
        floor=file.percentage("floor", default=FLOOR),
        rows=tuple(map(_row, file.tables("row", ("match", "target", "threshold", "floor")))),
        exemptions=tuple(
            map(_exemption, file.tables("exempt", ("match", "target", "reason", "expires")))
        ),
        static=_static(file),
        file=str(path),
    )
    file.check_limits(settings.threshold, settings.floor)
    return settings


def _row(table: _Table) -> RowSettings:
    row = RowSettings(
        match=table.text("match"),
        target=table.text("target", default="*"),
        threshold=table.optional_percentage("threshold"),
        floor=table.optional_percentage("floor"),
    )
    if row.threshold is None and row.floor is None:
        raise InvalidInput(f"{table.where} sets nothing; give it a threshold or a floor.")
    if row.threshold is not None:
        table.check_limits(row.threshold, row.floor or 0.0)
    return row


def _exemption(table: _Table) -> Exemption:
    return Exemption(
        match=table.text("match"),
        target=table.text("target", default="*"),
        reason=table.text("reason"),
        expires=table.date("expires"),
    )


def _static(file: _Table) -> StaticLimits:
    if "static" not in file.values:
        return StaticLimits()
    where = f"{file.where}: [static]"
    table = _Table(where, file.values["static"], keys=("instructions",))
    usual = StaticLimits().instructions
    return StaticLimits(instructions=table.percentage("instructions", default=usual))


class _Table:
    """A table of the file, whose values are checked as they are read.

    Args:
        where: the file and the entry, as messages begin with it.
        keys: those that it may have.
    """

    def __init__(self, where: str, values: Any, *, keys: Iterable[str]) -> None:
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{where} is {shown(values)}; write a table of key = value.")
        for key in values:
            if key not in keys:
                raise UnknownName(f"{where}: {UnknownName.of('key', key, keys)}")
        self.where, self.values = where, values

    def tables(self, key: str, keys: tuple[str, ...]) -> list[_Table]:
        entries = self.values.get(key, [])
        if not isinstance(entries, list):
            raise InvalidInput(
                f"{self.where}: {key} is {shown(entries)}; begin every entry with [[{key}]], "
                "with two brackets each."
            )
        return [
            _Table(f"{self.where}: [[{key}]] {number}", entry, keys=keys)
            for number, entry in enumerate(entries, start=1)
        ]

    def percentage(self, key: str, *, default: float) -> float:
        given = self.optional_percentage(key)
        return default if given is None else given

    def optional_percentage(self, key: str) -> float | None:
        if key not in self.values:
            return None
        return percentage(self.values[key], of=f"{self.where}: {key}")

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise InvalidInput(f'{self.where} has no {key}; add {key} = "...".')
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"{self.where}: {key} is {shown(value)}; write a text in quotes.")
        return value.strip()

    def date(self, key: str) -> date:
        """A day as TOML writes it, or as text, which is all that JSON has."""
        example = "a day such as 2030-01-31"
        if key not in self.values:
            raise InvalidInput(f"{self.where} has no {key}; add {key} with {example}.")
        value = self.values[key]
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass  # no such day
        raise InvalidInput(f"{self.where}: {key} is {shown(value)}; write {example}.")

    def check_limits(self, threshold: float, floor: float) -> None:
        try:
            Limits(threshold=threshold, floor=floor)
        except InvalidInput as error:
            raise InvalidInput(f"{self.where}: {error}") from error
