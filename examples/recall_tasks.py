"""The tasks of recall.py: MQAR and the needle, as batches of tokens and targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

VOCAB = 64
IGNORED = -100
SENTENCE = 16
ASK = SENTENCE
"""Needle: the token before the hidden value, and the question at the end."""

Batch = tuple[Tensor, Tensor]


def mqar(rng: torch.Generator, batch: int, pairs: int) -> Batch:
    """Tokens [batch, 3 * pairs] and the values to answer with, IGNORED before the questions."""
    half = VOCAB // 2
    keys = torch.rand(batch, half, generator=rng).argsort(1)[:, :pairs]
    values = torch.randint(half, VOCAB, (batch, pairs), generator=rng)
    order = torch.rand(batch, pairs, generator=rng).argsort(1)
    told = torch.stack([keys, values], dim=-1).flatten(1)
    targets = torch.full((batch, 3 * pairs), IGNORED)
    targets[:, 2 * pairs :] = values.gather(1, order)
    return torch.cat([told, keys.gather(1, order)], dim=1), targets


def needle(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Tokens [batch, length] with one ASK, value in a repeated sentence; the last token is ASK."""
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
    """What is learnt and asked.

    Args:
        sample: a batch of a size from a generator.
        unit: what a size counts.
        first, last: the sizes that training goes through.
        tested: the sizes of the table.
        sequences: of a batch at the last size; smaller sizes get up to 8 times as many.
        steps: of training.
    """

    sample: Callable[[torch.Generator, int, int], Batch]
    unit: str
    first: int
    last: int
    tested: tuple[int, ...]
    sequences: int
    steps: int

    def batches(self, seed: int, steps: int) -> Iterator[Batch]:
        """Training batches, whose size grows during the first half of the steps."""
        rng = torch.Generator().manual_seed(seed)
        for step in range(steps):
            grown = int(self.last * 2 * (step + 1) / steps)
            size = min(self.last, max(self.first, grown))
            yield self.sample(rng, min(8, self.last // size) * self.sequences, size)


TASKS = {
    "MQAR": Task(mqar, "pairs", 2, 16, (4, 8, 16, 24), 16, 800),
    "needle": Task(needle, "tokens", 8, 64, (64, 128, 256, 512), 16, 300),
}
