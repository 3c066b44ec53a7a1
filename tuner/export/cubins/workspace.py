"""The workspace of a set: which intermediate tensors share memory, because they never coexist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def slots(
    stages: Sequence[tuple[Sequence[str], Sequence[str]]], sizes: Mapping[str, str]
) -> dict[str, int]:
    """The slot of each intermediate tensor; those of one slot share memory.

    A tensor lives from the stage that writes it to the last one that reads it. A slot is as large
    as its largest tensor, so sharing never costs memory; tensors of equal size share first.

    Args:
        stages: what each stage reads and writes, in the order in which they run.
        sizes: the formula of the bytes of each intermediate tensor.
    """
    born: dict[str, int] = {}
    dies: dict[str, int] = {}
    for at, (read, written) in enumerate(stages):
        for name in (*read, *written):
            if name in sizes:
                born.setdefault(name, at)
                dies[name] = at
    found: dict[str, int] = {}
    free_after: list[int] = []
    held: list[set[str]] = []
    for name in sorted(born, key=born.__getitem__):
        free = [slot for slot, last in enumerate(free_after) if last < born[name]]
        alike = [slot for slot in free if sizes[name] in held[slot]]
        slot = (alike or free or [len(held)])[0]
        if slot == len(held):
            free_after.append(0)
            held.append(set())
        found[name] = slot
        free_after[slot] = dies[name]
        held[slot].add(sizes[name])
    return found
