"""What a repository sets for its checks: thresholds by row, and exemptions that expire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.targets import ARCHS, TARGETS
from gdn_ops.tuner.check.gate import FLOOR, THRESHOLD, Limits
from gdn_ops.tuner.check.static.rules import INSTRUCTIONS


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The rows that an entry of the settings is for.

    Args:
        match: glob of the row's name, e.g. ``forward-*``; upper and lower case differ.
        target: glob of the row's target, e.g. ``h200`` or ``sm_*``.
    """

    match: str
    target: str = "*"

    def covers(self, name: str, target: str) -> bool:
        return fnmatchcase(name, self.match) and fnmatchcase(target, self.target)


@dataclass(frozen=True, kw_only=True)
class RowSettings(Scope):
    """Thresholds of some rows; None where the default holds."""

    threshold: float | None = None
    floor: float | None = None


@dataclass(frozen=True, kw_only=True)
class Exemption(Scope):
    """Rows that may fail without failing the check.

    Args:
        reason: why, as the report repeats it.
        expires: from this day on the exemption no longer holds.
    """

    reason: str
    expires: date

    def holds(self, today: date) -> bool:
        return today < self.expires

    def text(self, today: date) -> str:
        """Why a row is exempt, or no longer is; a sentence for the report."""
        if self.holds(today):
            return f"Exempt until {self.expires}: {self.reason}"
        return (
            f"The exemption expired on {self.expires} ({self.reason}); repair the row, or set a "
            "later date."
        )


@dataclass(frozen=True, kw_only=True)
class StaticLimits:
    """By how much a figure of compiled code may grow; the others may not grow at all."""

    instructions: float = INSTRUCTIONS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a check. Of several entries that cover a row, the later ones win.

    Args:
        threshold, floor: defaults of all rows, see ``Limits``. What the command line gives is put
            here with ``dataclasses.replace``; the rows' own settings still win.
        file: where the settings were read, for messages; empty if nothing was.
    """

    threshold: float = THRESHOLD
    floor: float = FLOOR
    rows: tuple[RowSettings, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    static: StaticLimits = field(default_factory=StaticLimits)
    file: str = ""

    def limits(self, name: str, target: str, *, noise: float = 0.0) -> Limits:
        """The limits of a measured row.

        Raises:
            InvalidInput: the row's floor is above its threshold, each from another entry.
        """
        threshold, floor = self.threshold, self.floor
        for row in self.rows:
            if row.covers(name, target):
                threshold = threshold if row.threshold is None else row.threshold
                floor = floor if row.floor is None else row.floor
        try:
            return Limits(threshold=threshold, floor=floor, noise=noise)
        except InvalidInput as error:
            where = f"{self.file}: " if self.file else ""
            raise InvalidInput(f"{where}row {shown(name)} on {target}: {error}") from error

    def exemption(self, name: str, target: str, today: date) -> Exemption | None:
        """The exemption of a row: the last one that holds, else the last one that expired."""
        covering = [e for e in self.exemptions if e.covers(name, target)]
        holding = [e for e in covering if e.holds(today)]
        return next(reversed(holding or covering), None)

    def unmatched(self, named: Iterable[tuple[str, str]], *, rows: bool = True) -> tuple[str, ...]:
        """A sentence for each entry that covers no row, so that a misspelt one is noticed.

        Entries for known targets that this check does not have are left out: other machines of
        the repository check them. A check of one workload or of compiled code alone leaves entries
        for other rows unmatched, so ask only where every row was checked.

        Args:
            named: name and target of every row of the check.
            rows: whether entries ``[[row]]`` are meant too; a check of compiled code has no use
                for them.
        """
        checked = list(named)
        targets = {target for _, target in checked}
        elsewhere = {*TARGETS, *ARCHS} - targets
        found = []
        for kind, entries in (("row", self.rows if rows else ()), ("exempt", self.exemptions)):
            for number, entry in enumerate(entries, start=1):
                here = any(fnmatchcase(target, entry.target) for target in targets)
                if not here and any(fnmatchcase(target, entry.target) for target in elsewhere):
                    continue
                if not any(entry.covers(name, target) for name, target in checked):
                    found.append(
                        f"{self.file}: [[{kind}]] {number} (match {shown(entry.match)}, target "
                        f"{shown(entry.target)}) matches none of the {len(checked)} rows of this "
                        "check; correct it, remove it, or give it a target that this check does "
                        "not have."
                    )
        return tuple(found)
