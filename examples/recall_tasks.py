"""The tasks of recall.py, MQAR and needle, as batches of tokens and targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

VOCAB = 64
IGNORED = -100
SENTENCE = 16
ASK = SENTENCE
"""Needle: this token precedes the hidden value, and asks for it at the end."""

Batch = tuple[Tensor, Tensor]


def mqar(rng: torch.Generator, batch: int, pairs: int) -> Batch:
    """Return tokens [batch, 3 * pairs] and the target values; IGNORED before the questions."""
    half = VOCAB // 2
    keys = torch.rand(batch, half, generator=rng).argsort(1)[:, :pairs]
    values = torch.randint(half, VOCAB, (batch, pairs), generator=rng)
    order = torch.rand(batch, pairs, generator=rng).argsort(1)
    shown = torch.stack([keys, values], dim=-1).flatten(1)
    targets = torch.full((batch, 3 * pairs), IGNORED)
    targets[:, 2 * pairs :] = values.gather(1, order)
    return torch.cat([shown, keys.gather(1, order)], dim=1), targets


def needle(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Return tokens [batch, length], a repeated sentence with ASK and a value hidden in it.

    The last token is ASK, and its target is the value; the other targets are IGNORED.
    """
    phase = torch.randint(SENTENCE, (batch, 1), generator=rng)
    tokens = (torch.arange(length) + phase) % SENTENCE
    value = torch.randint(ASK + 1, VOCAB, (batch,), generator=rng)
    place = torch.randint(length - 2, (batch,), generator=rng)
    rows = torch.arange(batch)
    tokens[rows, place], tokens[rows, place + 1], tokens[:, -1] = ASK, value, ASK
    targets = torch.full((batch, length), IGNORED)
    targets[:, -1] = value
    return tokens, targets


@dataclass(frozen=True)
class Task:
    """A recall task.

    Args:
        sample: returns a batch, from a generator, a batch size and a task size.
        unit: the unit of the task size.
        first, last: the task sizes at the beginning and at the end of training.
        tested: the task sizes to test.
        sequences: the batch size at the last task size; smaller sizes have up to 8 times as many.
        steps: the number of training steps.
    """

    sample: Callable[[torch.Generator, int, int], Batch]
    unit: str
    first: int
    last: int
    tested: tuple[int, ...]
    sequences: int
    steps: int

    def batches(self, seed: int, steps: int) -> Iterator[Batch]:
        """Yield training batches; the task size grows during the first half of the steps."""
        rng = torch.Generator().manual_seed(seed)
        for step in range(steps):
            grown = int(self.last * 2 * (step + 1) / steps)
            size = min(self.last, max(self.first, grown))
            yield self.sample(rng, min(8, self.last // size) * self.sequences, size)


TASKS = {
    "MQAR": Task(mqar, "pairs", 2, 16, (4, 8, 16, 24), 16, 800),
    "needle": Task(needle, "tokens", 8, 64, (64, 128, 256, 512), 16, 300),
}
