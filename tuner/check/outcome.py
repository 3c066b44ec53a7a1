"""Outcome: the rows of one check, as every report reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gdn_ops.tuner.check.states import State, exit_code


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one problem on both sides.

    Args:
        base, head: seconds per call in each process, the median of its samples. Entry i of both is
            of the same pair, unless ``paired`` is False.
        ratio: time of the head over time of the base (Hodges-Lehmann estimate); NaN without pairs.
        low, high: the 95 % interval of ``ratio``; 0 and infinity if the pairs are too few for one.
        threshold: the ratio above 1 that counts as regressed, e.g. 0.03.
        paired: False if the base was read from a file, so that both were measured apart.
        dropped: pairs that were measured and not counted.
    """

    base: tuple[float, ...]
    head: tuple[float, ...]
    ratio: float
    low: float
    high: float
    threshold: float
    paired: bool = True
    dropped: int = 0

    @property
    def ratios(self) -> tuple[float, ...]:
        """Head over base of each pair."""
        return tuple(h / b for b, h in zip(self.base, self.head, strict=True))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of a compiled kernel that differs between both sides.

    Args:
        figure: its name, e.g. ``registers``; ``instructions HGMMA`` for one kind of instruction.
        base, head: its values.
        cause: what changed it: ``template``, ``configuration``, ``compiler``, several joined by
            `` and ``, or ``unknown``.
        failing: whether it makes the row fail.
    """

    figure: str
    base: float
    head: float
    cause: str
    failing: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """What a check found for one problem (measured) or one compiled kernel (static).

    Args:
        target: name of the device, e.g. ``h200``; of a static row the architecture, e.g. ``sm_90``.
        op: ``forward``, ``backward``, ``decode`` or ``pool``.
        name: unique among the rows of one target; of a measured row the problem's id.
        dtype: of the problem, e.g. ``bf16``.
        state: what was found.
        message: why, in a sentence; may be empty where the state says it all.
        notes: further remarks, a sentence each, e.g. that pairs were dropped.
        base, head: the variant of each side in words, e.g. ``split chunk=64``; None if it has none.
        times: of a measured row that was timed.
        figures: of a static row: the head's figures by name.
        differences: of a static row.
        exempt: why a failing row does not fail the check; from ``gdn-check.toml``.
        file: the template that the row is about, relative to the repository; None if unknown.
        seconds: how long checking this row took.
    """

    target: str
    op: str
    name: str
    dtype: str
    state: State
    message: str = ""
    notes: tuple[str, ...] = ()
    base: str | None = None
    head: str | None = None
    times: Times | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    exempt: str | None = None
    file: str | None = None
    seconds: float = 0.0

    @property
    def failing(self) -> bool:
        return self.state.failing and self.exempt is None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One check.

    Args:
        kind: ``measured`` or ``static``.
        base, head: the sides in words, e.g. ``3f2a91c (main)`` or ``working tree``.
        environment: what the figures depend on besides the code, by name, e.g. ``device``,
            ``driver``, ``torch``, ``triton``; in words.
        rows: in the order in which they are shown.
        started: ISO 8601, UTC.
        seconds: how long the check took.
        interrupted: whether it ended before every row was decided.
        notes: remarks about the whole check, a sentence each.
        strict: whether a row that could not be compared fails the check.
    """

    kind: str
    base: str
    head: str
    environment: Mapping[str, str]
    rows: tuple[CheckRow, ...]
    started: str
    seconds: float
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    strict: bool = False

    @property
    def failing(self) -> tuple[CheckRow, ...]:
        return tuple(row for row in self.rows if row.failing)

    def exit_code(self) -> int:
        """The exit code of ``gdn check``; see ``states``."""
        return exit_code((r.state for r in self.rows if r.exempt is None), strict=self.strict)
