"""Merging: copies the rows of other results databases into this one; no row of it is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gdn_ops.codegen.errors import shown
from gdn_ops.tuner.store.database import Database
from gdn_ops.tuner.store.merge_source import Source, opened_source
from gdn_ops.tuner.store.merged import KEPT, REFUSED, TAKEN, WITHDRAWN, Merged, Verdict
from gdn_ops.tuner.store.models import EnvironmentRow, ProblemRow, TrialRow, WinnerRow, utc_now
from gdn_ops.tuner.store.preference import Rival, preferred, why
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.store.row_copier import RefusedRow, RowCopier
from gdn_ops.tuner.store.rows import name_of, require_sound
from gdn_ops.tuner.store.usable import usable

Key = tuple[str, str]


def merge(database: Database, sources: Sequence[Source], *, dry_run: bool = False) -> Merged:
    """Copy every row of other databases that this one lacks; merging them again adds nothing.

    Rows are recognized by their ``uid``. ``preferred`` chooses the current winner of a problem on
    a target; every other one is kept as superseded. All happens in one transaction. The sources
    are only read. A row that cannot be used is refused, and the others are copied.

    Args:
        dry_run: undo the transaction at its end.

    Raises:
        InvalidInput: a source is missing, unreadable, damaged, empty or of a newer schema.
        ResultsError: this database cannot be written. In both cases it is unchanged.
    """
    with ExitStack() as stack:
        opened = [(path, stack.enter_context(opened_source(path))) for path in sources]
        with database.write() as here:
            merging = _Merging(here)
            for path, source in opened:
                with source.read() as there:
                    merging.bring(path, there)
            merged = merging.end()
            if dry_run:
                here.rollback()
            return merged


@dataclass
class _Offer:
    rival: Rival
    source: Source


class _Merging:
    """One merge under way: first every source is brought, then the winners are chosen."""

    def __init__(self, here: Session) -> None:
        self._here, self._now = here, utc_now()
        self._known = {row.uid: row for row in here.scalars(select(WinnerRow))}
        self._current = {
            (row.problem_id, row.target): row
            for row in self._known.values()
            if row.superseded is None
        }
        self._offers: dict[Key, list[_Offer]] = {}
        self._theirs: dict[tuple[Source, Key], str] = {}
        self._superseded: list[tuple[Source, Key, str]] = []
        self._verdicts: list[Verdict] = []
        self._refused: list[RefusedRow] = []
        self._added: Counter[str] = Counter()

    def bring(self, source: Source, there: Session) -> None:
        """Copy the rows of a source; its current winners become offers."""
        copier = RowCopier(there, self._here, source)
        copier.copy()
        for row in there.scalars(select(WinnerRow).order_by(WinnerRow.id)):
            try:
                require_sound(row)
                self._bring_winner(row, copier)
            except (ValueError, TypeError) as error:
                if row.superseded is None:
                    why_not = f"{name_of(row)} of {source}: {error}"
                    self._judge(source, row, REFUSED, why_not)
                else:
                    copier.refuse(row, error)
        self._refused += copier.refused
        self._added += copier.added

    def _bring_winner(self, row: WinnerRow, copier: RowCopier) -> None:
        StoredWinner.of(row)
        key, source = (row.problem_id, row.target), copier.source
        if row.superseded is None:
            self._theirs[source, key] = row.uid
        known = self._known.get(row.uid)
        if known is not None:
            if (known.problem_id, known.target, known.median) != (*key, row.median):
                raise ValueError("it has the uid of a stored winner, and other content")
            if row.superseded is not None:
                self._superseded.append((source, key, row.uid))
            else:
                said = "stored already" + ("" if known.superseded is None else ", and superseded")
                self._judge(source, row, KEPT, said, self._name(known))
            return
        new = WinnerRow(**copier.values(row))
        self._known[row.uid] = new
        if row.superseded is None:
            try:
                rival = self._rival(new)
            except (ValueError, TypeError):
                del self._known[row.uid]
                raise
            self._offers.setdefault(key, []).append(_Offer(rival, source))
        else:
            self._add(new)

    def _rival(self, row: WinnerRow) -> Rival:
        """A winner as a rival; raises ValueError or TypeError if it cannot be used."""
        here = self._here
        trial = None if row.trial_id is None else here.get(TrialRow, row.trial_id)
        environment = None
        if row.environment_id is not None:
            environment = here.get(EnvironmentRow, row.environment_id)
        problem = here.get(ProblemRow, row.problem_id)
        if problem is None:
            raise ValueError("its problem is missing")
        for linked in (problem, trial, environment):
            if linked is not None:
                require_sound(linked)
        found = usable(StoredWinner.of(row), problem.facts, trial, self._now)
        return Rival(row, environment, found.fresh, found.text)

    def _name(self, row: WinnerRow) -> str:
        """The variant of a winner here as text; its id if it can no longer be rendered."""
        try:
            return self._rival(row).text
        except (ValueError, TypeError):
            return _text(row.variant_id)

    def end(self) -> Merged:
        """Choose the winners and return what was done."""
        for key in dict.fromkeys([*self._offers, *(key for _, key, _ in self._superseded)]):
            self._choose(key)
        self._here.flush()
        order = sorted(self._verdicts, key=lambda v: (v.target, v.problem_id))
        return Merged(added=dict(self._added), verdicts=tuple(order), refused=tuple(self._refused))

    def _choose(self, key: Key) -> None:
        offers, current = self._offers.get(key, []), self._current.get(key)
        stored, unusable = self._stored(current)
        rivals = [*([] if stored is None else [stored]), *(offer.rival for offer in offers)]
        dropped = self._dropped(key, rivals, current)
        rivals = [rival for rival in rivals if rival.row.uid not in dropped]
        best = preferred(rivals) if rivals else None
        gone = current is not None and current.uid in dropped
        if current is not None and (gone or (best is not None and best is not stored)):
            current.superseded = self._now
            self._here.flush()
        if current is not None and gone and best is None:
            said = f"{dropped[current.uid]} has superseded it"
            self._judge(dropped[current.uid], current, WITHDRAWN, said, self._name(current))
        for offer in offers:
            row = offer.rival.row
            row.superseded = None if offer.rival is best else self._now
            self._add(row)
            if offer.rival is best:
                replaced = dropped.get(current.uid) if current is not None else None
                outcome, said = TAKEN, _why_taken(best, stored, unusable, replaced)
            elif row.uid in dropped:
                outcome, said = KEPT, f"{dropped[row.uid]} has superseded it"
            else:
                assert best is not None
                outcome = KEPT
                owner = "the stored one" if best is stored else f"{_owner(best, offers)}'s"
                said = f"{owner} is preferred: {why(best, offer.rival)}"
            self._judge(offer.source, row, outcome, said, offer.rival.text, offer.rival.fresh)

    def _stored(self, current: WinnerRow | None) -> tuple[Rival | None, str]:
        """The stored winner as a rival; if it cannot be used, None and why."""
        if current is None:
            return None, ""
        try:
            require_sound(current)
            return self._rival(current), ""
        except (ValueError, TypeError) as error:
            return None, str(error)

    def _dropped(
        self, key: Key, rivals: Sequence[Rival], current: WinnerRow | None
    ) -> dict[str, Source]:
        """The winners that a source has superseded, and the source.

        A source that has another winner instead counts only if that one can take its place, so
        that no problem loses its winner to a row that was refused, or to databases that contradict
        each other.
        """
        uids = {rival.row.uid for rival in rivals} | ({current.uid} if current else set())
        retired, replaced = dict[str, Source](), dict[str, Source]()
        for source, of, uid in self._superseded:
            if of != key or uid not in uids:
                continue
            instead = self._theirs.get((source, key))
            if instead is None and not self._has_refused(source, key):
                retired[uid] = source
            elif instead in uids:
                replaced[uid] = source
        if uids <= (retired.keys() | replaced.keys()) and replaced:
            return retired
        return retired | replaced

    def _has_refused(self, source: Source, key: Key) -> bool:
        return any(
            (v.source, v.outcome, (v.problem_id, v.target)) == (source, REFUSED, key)
            for v in self._verdicts
        )

    def _add(self, row: WinnerRow) -> None:
        self._here.add(row)
        self._here.flush()
        self._added[row.__tablename__] += 1

    def _judge(
        self,
        source: Source,
        row: WinnerRow,
        outcome: str,
        why: str,
        text: str = "",
        fresh: bool = True,
    ) -> None:
        median = row.median if isinstance(row.median, float) else None
        self._verdicts.append(
            Verdict(
                source=source, target=_text(row.target), problem_id=_text(row.problem_id),
                winner=text or _text(row.variant_id), median=median, outcome=outcome, why=why,
                fresh=fresh,
            )
        )  # fmt: skip


def _why_taken(best: Rival, stored: Rival | None, unusable: str, replaced: Source | None) -> str:
    if replaced is not None:
        return f"{replaced} has superseded the stored one"
    if stored is not None:
        return why(best, stored)
    if unusable:
        return f"the stored one cannot be used: {unusable}"
    return "no winner was stored"


def _owner(best: Rival, offers: Sequence[_Offer]) -> Source:
    return next(offer.source for offer in offers if offer.rival is best)


def _text(value: object) -> str:
    return value if isinstance(value, str) else shown(value)
