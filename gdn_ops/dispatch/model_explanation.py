"""What each layer of a model would run on, for the sizes that the model is used with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from gdn_ops.codegen.mixer import Mixer, Use
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.choice import Choice
from gdn_ops.dispatch.finder import Finder
from gdn_ops.dispatch.winner_table import HOW
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.seconds import seconds_text

COLUMNS = ("layers", "problem", "runs on", "found", "stored time")
NONE = "none"
"""How the choice was found for a problem that no plan can run."""


@dataclass(frozen=True)
class ModelRow:
    """One problem of some layers.

    Args:
        layers: the layers that pose it, in short.
        problem: the problem.
        choice: what it runs on; None if no plan can run it.
        why: why no plan can run it.
    """

    layers: str
    problem: Problem
    choice: Choice | None
    why: str = ""

    @property
    def how(self) -> str:
        """How the choice was found, as ``Choice.how`` says it, or ``none``."""
        return NONE if self.choice is None else self.choice.how

    def cells(self) -> tuple[str, ...]:
        """The row as texts, one for each of ``COLUMNS``.

        A stored time is that of the stored winner's problem, which may differ from this one.
        """
        if self.choice is None:
            return self.layers, self.problem.id(), self.why.partition("\n")[0], NONE, "-"
        winner = self.choice.winner
        time = "-" if winner is None else seconds_text(winner.median)
        return self.layers, self.problem.id(), str(self.choice.variant), self.how, time


@dataclass(frozen=True)
class ModelExplanation:
    """What each layer of a model would run on; ``str()`` gives a table and a summary.

    Args:
        target: the name of the target.
        rows: one for each kind of layer and problem.
    """

    target: str
    rows: tuple[ModelRow, ...]

    def counts(self) -> dict[str, int]:
        """The number of problems by how their choice was found, the best fit first."""
        counted = Counter(row.how for row in self.rows)
        known = (*HOW, "forced", "default", "fallback", NONE)
        return {how: counted[how] for how in (*known, *sorted(counted)) if counted[how]}

    def summary(self) -> str:
        """One line: how many problems there are, and how their choices were found."""
        found = ", ".join(f"{count} {how}" for how, count in self.counts().items())
        noun = "problem" if len(self.rows) == 1 else "problems"
        return f"{len(self.rows)} {noun} on {self.target}: {found}"

    def __str__(self) -> str:
        cells = [COLUMNS, *(row.cells() for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join((*lines, self.summary()))


def explained(layers: Mapping[Mixer, str], use: Use, find: Finder) -> ModelExplanation:
    """Explain the calls of some layers.

    Args:
        layers: for each kind of layer, the layers in short.
        use: the sizes of the calls.
        find: finds the choice for a problem.
    """
    return explained_problems(
        [(text, problem) for mixer, text in layers.items() for problem in mixer.problems(use)], find
    )


def explained_problems(problems: Sequence[tuple[str, Problem]], find: Finder) -> ModelExplanation:
    """Explain problems, each with a text that says who poses it."""
    rows = tuple(_row(layers, problem, find) for layers, problem in problems)
    target = next((row.choice.target.name for row in rows if row.choice is not None), "this target")
    return ModelExplanation(target, rows)


def in_short(names: Sequence[str]) -> str:
    """The names of layers in short, e.g. ``layers.{0-2,4-6}.mixer``."""
    by_shape: dict[tuple[str, str], list[int]] = {}
    others = []
    for name in names:
        number = re.search(r"\d+", name)
        if number is None:
            others.append(name)
        else:
            shape = name[: number.start()], name[number.end() :]
            by_shape.setdefault(shape, []).append(int(number.group()))
    texts = [f"{before}{_ranges(n)}{after}" for (before, after), n in by_shape.items()]
    return ", ".join((*texts, *others))


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in ascending order in short: ``{0-2,4}``, or the number alone."""
    texts = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        texts.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return texts[0] if len(texts) == 1 and len(numbers) == 1 else f"{{{','.join(texts)}}}"


def _row(layers: str, problem: Problem, find: Finder) -> ModelRow:
    try:
        return ModelRow(layers, problem, find(problem))
    except UnsupportedProblem as error:
        return ModelRow(layers, problem, None, str(error))
