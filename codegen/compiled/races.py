"""Races: writes into a tile of shared memory that a product in flight still reads.

Products of a warp group (sm_90, ``warp_group_dot``) and of the tensor core's own memory (sm_100,
``tc_gen5_mma``) run on after their instruction. Until they are waited for nothing may overwrite
their operands; where the compiler gave a loop too few buffers or waits too late, the next tile's
copy does. Results are then wrong now and then, and only on a GPU.

The compiled program (Triton's TTGIR) is walked as a warp runs it. Numbers that choose a buffer, a
barrier or its phase are computed, as they are constants, counters and sums of them; all others are
unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gdn_ops.codegen.compiled.ttgir import NAME, VALUE, Op, arithmetic, parse
from gdn_ops.codegen.errors import UnreadableCode

ROUNDS = 8
"""Iterations of a loop that are followed: twice round the deepest pipeline of 4 buffers."""
PRODUCTS = ("ttng.tc_gen5_mma", "ttng.tc_gen5_mma_scaled")
WRITES = ("ttg.async_copy_global_to_local", "ttg.local_store", "ttng.tmem_store")
COPIES = ("ttng.async_tma_copy_global_to_local", "ttng.async_tma_gather")

_GUARDED = re.compile(rf"({VALUE})(?:\[({VALUE})?\])?")
_LOOP = re.compile(rf"^(?: unsigned)? ({VALUE}) = ({VALUE}) to ({VALUE}) step ({VALUE})")
_CARRIED = re.compile(rf"({VALUE}) = ({VALUE})")
_PENDING = re.compile(r"pendings = (\d+)")


class Race(NamedTuple):
    """A tile and the product that may read it half overwritten, by their names in the kernel."""

    tile: str
    product: str

    def __str__(self) -> str:
        return (
            f"a copy into {self.tile} starts while the product {self.product} may still read it; "
            "take num_stages=1 or other tiles"
        )


def races(ttgir: str) -> tuple[Race, ...]:
    """The races of a compiled kernel; empty where each tile is read before it is overwritten.

    A loop whose length is unknown is followed for ``ROUNDS`` iterations, and a branch on an unknown
    condition once as always taken and once as never.

    Args:
        ttgir: the last text of it that still names tiles: ``Compiled.asm["ttgir"]``.

    Raises:
        UnreadableCode: the text cannot be followed, so that nothing is known.
    """
    if not any(product in ttgir for product in ("isAsync = true", *PRODUCTS)):
        return ()
    program = parse(ttgir)
    found: set[Race] = set()
    for taken in (True, False) if "scf.if" in ttgir else (True,):
        walk = _Walk(taken)
        walk.run(program)
        found |= walk.found
    return tuple(sorted(found))


class _Tile(NamedTuple):
    """A buffer of an allocation; ``slot`` is None for all of it, -1 for one nobody knows."""

    memory: str
    slot: int | None = None

    def overlaps(self, other: _Tile) -> bool:
        one = self.slot == other.slot or bool({self.slot, other.slot} & {None, -1})
        return self.memory == other.memory and one


class _Product(NamedTuple):
    name: str
    reads: tuple[_Tile, ...]
    number: int


@dataclass
class _Barrier:
    """An mbarrier: how many products had been issued at each arrival, and the phases completed."""

    arrivals: list[int] = field(default_factory=list)
    done: int = 0


_Value = int | _Tile


class _Walk:
    """One way through a program, as far as tiles, products and waits go."""

    def __init__(self, taken: bool) -> None:
        self.found: set[Race] = set()
        self._taken = taken
        self._values: dict[str, _Value | None] = {}
        self._flight: list[_Product] = []
        self._issued = 0
        self._barriers: dict[_Tile, _Barrier] = {}

    def run(self, ops: Sequence[Op]) -> list[_Value | None]:
        """Run a block; what it yields."""
        for op in ops:
            if op.name == "scf.yield":
                return [self._values.get(name) for name in op.operands]
            if op.regions:
                self._region(op)
            else:
                self._step(op)
        return []

    def _region(self, op: Op) -> None:
        results: list[_Value | None] = []
        if op.name in ("module", "tt.func"):
            self.run(op.regions[0])
        elif op.name == "scf.for":
            results = self._loop(op)
        elif op.name == "scf.if":
            known = self._values.get(op.operands[0])
            taken = self._taken if known is None else bool(known)
            for region in op.regions[:1] if taken else op.regions[1:]:
                results = self.run(region)
        elif op.name == "scf.while":
            for _ in range(ROUNDS):
                for region in op.regions:
                    self.run(region)
        self._bind(op, results)

    def _loop(self, op: Op) -> list[_Value | None]:
        if not (found := _LOOP.match(op.text)):
            raise UnreadableCode(
                f"a loop is not understood: scf.for{op.text[:80]}; update gdn-ops."
            )
        first, last, step = (self._number(name) for name in found.groups()[1:])
        rounds = ROUNDS
        if first is not None and last is not None and step:
            rounds = min(ROUNDS, len(range(first, last, step)))
        head = op.text.split("iter_args(")[1].split(") -> ")[0] if "iter_args(" in op.text else ""
        names = _CARRIED.findall(head)
        carried = [self._values.get(start) for _, start in names]
        for i in range(rounds):
            self._values[found[1]] = None if first is None or step is None else first + i * step
            for (name, _), value in zip(names, carried, strict=True):
                self._values[name] = value
            carried = self.run(op.regions[0])
        return carried

    def _step(self, op: Op) -> None:
        names, results = op.operands, list[_Value | None]()
        if op.name == "ttg.warp_specialize":
            raise UnreadableCode(
                "the kernel is split into partitions that run side by side, whose races are not "
                "looked for; check it on a GPU with compute-sanitizer or Triton's ConSan."
            )
        if op.name.startswith("arith."):
            results = [arithmetic(op, [self._values.get(name) for name in names])]
        elif op.name in ("ttg.local_alloc", "ttng.tmem_alloc"):
            tile = _Tile(op.result)
            results = [tile]
            if names:
                self._write(tile)
        elif op.name == "ttg.memdesc_index":
            tile, slot = self._tile(names[0]), self._number(names[1])
            results = [tile if isinstance(tile.slot, int) else tile._replace(slot=_slot(slot))]
        elif op.name.startswith(("ttg.memdesc_", "ttng.tmem_subslice")):
            results = [self._tile(names[0])]
        elif op.name == "ttng.warp_group_dot":
            self._group_product(op, names)
        elif op.name == "ttng.warp_group_dot_wait":
            pending = _PENDING.search(op.text)
            self._flight = self._flight[-int(pending[1]) :] if pending and int(pending[1]) else []
            results = [self._values.get(name) for name in names]
        elif op.name in PRODUCTS:
            self._tensor_product(op)
        elif op.name == "ttng.tc_gen5_commit":
            self._arrive(names[0])
        elif op.name == "ttng.init_barrier":
            self._barriers[self._barrier(names[0])] = _Barrier()
        elif op.name == "ttng.wait_barrier":
            self._wait(op, names)
        elif op.name in WRITES:
            self._write(self._tile(names[1]))
        elif op.name in COPIES:
            tile, _, predicate = NAME.findall(op.head.split("]", 1)[1])
            if self._number(predicate) != 0:
                self._write(self._tile(tile))
        self._bind(op, results)

    def _group_product(self, op: Op, names: list[str]) -> None:
        if "isAsync = true" not in op.text:
            self._flight = []
            return
        # the left operand may be in registers, the right one never is
        left = names[:1] if "} : !ttg.memdesc" in op.text else []
        self._issue(op.result, [self._tile(name) for name in (*left, names[1])])

    def _tensor_product(self, op: Op) -> None:
        operands = _GUARDED.findall(op.head)
        scales = 2 * op.name.endswith("_scaled")
        reads = [name for name, _ in (*operands[:2], *operands[3 : 3 + scales])]
        predicate, barriers = operands[4 + scales][0], operands[5 + scales :]
        if self._number(predicate) == 0:
            return
        self._issue(operands[2][0], [self._tile(name) for name in reads])
        for barrier, guard in barriers:
            if not guard or self._number(guard) != 0:
                self._arrive(barrier)

    def _issue(self, name: str, reads: Sequence[_Tile]) -> None:
        self._issued += 1
        self._flight.append(_Product(name, tuple(reads), self._issued))

    def _arrive(self, name: str) -> None:
        """A barrier's next phase completes when every product issued so far has."""
        self._barriers.setdefault(self._barrier(name), _Barrier()).arrivals.append(self._issued)

    def _wait(self, op: Op, names: list[str]) -> None:
        """Wait for the barrier's phase of this parity; no product arrives at a copy's barrier."""
        barrier = self._barriers.get(self._barrier(names[0]))
        guards = NAME.findall(op.head.split(" deps ")[0])[2:]
        waits = all(self._number(guard) != 0 for guard in guards)
        if barrier is None or not barrier.arrivals or not waits:
            return
        parity = self._number(names[1])
        if parity is None:
            raise UnreadableCode(
                f"the phase of a wait is not known: {op.name}{op.text[:80]}; update gdn-ops."
            )
        if barrier.done % 2 == parity and barrier.done < len(barrier.arrivals):
            last = barrier.arrivals[barrier.done]
            self._flight = [product for product in self._flight if product.number > last]
            barrier.done += 1

    def _write(self, tile: _Tile) -> None:
        for product in self._flight:
            if any(tile.overlaps(read) for read in product.reads):
                self.found.add(Race(_plain(tile.memory), _plain(product.name)))

    def _bind(self, op: Op, results: Sequence[_Value | None]) -> None:
        names = [op.result] if op.results == 1 else [f"{op.result}#{i}" for i in range(op.results)]
        for i, name in enumerate(names):
            self._values[name] = results[i] if i < len(results) else None

    def _number(self, name: str) -> int | None:
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def _tile(self, name: str) -> _Tile:
        value = self._values.get(name)
        if not isinstance(value, _Tile):
            raise UnreadableCode(f"the memory of {name} is not known in the TTGIR; update gdn-ops.")
        return value

    def _barrier(self, name: str) -> _Tile:
        tile = self._tile(name)
        if tile.slot == -1:
            raise UnreadableCode(f"the barrier {name} is not known in the TTGIR; update gdn-ops.")
        return tile


def _slot(number: int | None) -> int:
    return -1 if number is None else number


def _plain(name: str) -> str:
    """The kernel's own name of a value: ``b_h`` of ``%b_h_295``."""
    return re.sub(r"_\d+$", "", name.lstrip("%"))
