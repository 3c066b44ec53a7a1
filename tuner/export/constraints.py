"""The constraints of a search space in words: why configs of it cannot run."""

from __future__ import annotations

import re
from math import prod
from typing import Any

from gdn_ops.codegen.axis import Value
from gdn_ops.tuner.export.searched import SearchedSpace

EXAMINED = 8191
"""Configs that are examined in a larger space. It is prime, so that evenly spaced configs do not
keep one value of an axis."""


def constraints(space: SearchedSpace) -> dict[str, Any]:
    """Why configs of a space are refused, as sentences.

    Sentences that differ in their numbers only are one constraint; the first one stands for all.
    In a space of more than ``EXAMINED`` configs, as many evenly spaced ones are examined.

    Returns:
        ``configs`` of the space, valid or not, how many were ``examined`` and were ``valid``, and
        for each of the ``reasons`` an example and how many of the examined configs it refuses.
    """
    total = prod(len(values) for _, values in space.parameters)
    if space.space is None:
        reason = "the config of every stage must be valid for that stage and these interface values"
        return {"configs": total, "examined": 0, "valid": None, "reasons": [{"example": reason}]}
    count, valid = min(total, EXAMINED), 0
    examples: dict[str, str] = {}
    refused: dict[str, int] = {}
    for number in range(count):
        sentences = space.space.reasons(_config(space, number * total // count))
        valid += not sentences
        kinds = {re.sub(r"\d+", "#", sentence): sentence for sentence in reversed(sentences)}
        for kind, sentence in kinds.items():
            examples.setdefault(kind, sentence)
            refused[kind] = refused.get(kind, 0) + 1
    reasons = [{"example": examples[kind], "refused": refused[kind]} for kind in sorted(examples)]
    return {"configs": total, "examined": count, "valid": valid, "reasons": reasons}


def _config(space: SearchedSpace, number: int) -> dict[str, Value]:
    """The config of a number in the product of all values; the last parameter changes fastest."""
    config: dict[str, Value] = {}
    for name, values in reversed(space.parameters):
        number, index = divmod(number, len(values))
        config[name] = values[index]
    return config
