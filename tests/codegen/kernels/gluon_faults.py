"""Faults that are put into the Gluon kernels, one at a time, and what the interpreter says of each.

On a GPU none of them is an error: results are wrong now and then, or the kernel hangs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SCAN, WALKS, GRADS = "scan_sm90", "bwd_walks_sm90", "bwd_grads_sm90"
MAP, BACK = "segment_map_sm90", "segment_bwd_map_sm90"
BLACKWELL = "scan_sm100"
BLACKWELL_WALKS, BLACKWELL_GRADS = "bwd_walks_sm100", "bwd_grads_sm100"

NO_COPY = "a copy in is not waited for"
NO_PARTITION = "the partition before is not waited for"
NOT_FREE = "a slot is filled before it is free"
PARITY = "a wait has the wrong parity"
NO_ARRIVAL = "a barrier that others wait for is not arrived at"
FEWER = "fewer bytes are expected than come"
MORE = "more bytes are expected than come"
NO_FENCE = "no fence between threads and a product"
NO_FENCE_OUT = "no fence between threads and a copy out"
LATE_FENCE = "a fence after the arrival"
IN_FLIGHT = "a wait leaves one product too many in flight"
EARLY = "a slot is given away while products read it"
RELEASED = "a tile is written after its slot was given away"
SHORT = "a ring has one slot too few"
LEAVING = "a tile is written while a copy out reads it"
LAST = "the last copies out are not waited for"
READ = "a tile is written while a product reads it"
OTHER_WARPS = "a tile is written while other warps multiply it"
NO_PRODUCT = "a product into tensor memory is not waited for"
UNREAD = "a product writes what other warps still read"
SHARED = {NOT_FREE, FEWER, MORE, NO_FENCE, LAST}
"""Kinds that are put into text that scan_sm90 and scan_sm100 share."""
OF_WALKS, OF_GRADS = {LEAVING, UNREAD, RELEASED}, {LEAVING, UNREAD, READ}
"""Kinds of which the backward on Blackwell has its own; the others are left to the longer run."""


class Fault(NamedTuple):
    """One change of a rendered kernel.

    Args:
        kind: what is wrong, a row of the table in docs/kernels.md.
        stage: the kernel.
        old, new: what is replaced, and by what.
        message: what the interpreter says.
        place: which occurrence is replaced: 0 the first, -1 the last, None all of them.
    """

    kind: str
    stage: str
    old: str
    new: str
    message: str
    place: int | None = 0

    def planted(self, source: str) -> str:
        """The kernel with the fault."""
        parts = source.split(self.old)
        assert len(parts) > 1, f"{self.old!r} is not in {self.stage}"
        if self.place is None:
            return self.new.join(parts)
        first = len(parts) - 1 if self.place < 0 else 1
        return self.old.join(parts[:first]) + self.new + self.old.join(parts[first:])


_FENCE = "    fence_async_shared()\n"
_SCORED = "    mbarrier.arrive(scored.index(slot), count=1)\n"
_WALKED = "        mbarrier.arrive(walked.index(slot), count=1)\n"
_FREE = "        mbarrier.wait(walked.index(slot), phase ^ 1)\n"
_BEFORE_V = "        tma.store_wait(0)\n        async_load"
_COPIED = r"while a copy by copy_\w+ writes"
"""What is said of a tile that a copy may still be writing."""


def _of_walks(stage: str, i: str, out: str, indentation: str = "        ") -> Iterator[Fault]:
    """The faults of partitions and slots that the kernels that walk have in common.

    Args:
        i: the chunk's place in the walk.
        out: the name of the tile that is copied out.
        indentation: of the arrival at ``walked``.
    """
    arrival = indentation + _WALKED.lstrip()
    fence = indentation + _FENCE.lstrip()
    ends = fence + arrival
    copied = f"    mbarrier.wait(copied.index(slot), {i} // SLOTS & 1)\n"
    scored = f"        mbarrier.wait(scored.index(slot), {i} // SLOTS & 1)\n"
    yield Fault(NO_COPY, stage, copied, "", rf"{_COPIED}|\[\d\] while|second phase")
    yield Fault(NO_PARTITION, stage, scored, "", rf"{_COPIED}|may read|second phase")
    yield Fault(NOT_FREE, stage, _FREE, "", rf"expects 0|copy_\w+ (writes|reads)|{_COPIED}")
    yield Fault(PARITY, stage, "slot), phase ^ 1)", "slot), phase)", "no partition can go on")
    wrong = scored.replace("& 1", "& 1 ^ 1")
    yield Fault(PARITY, stage, scored, wrong, rf"no partition can go on|{_COPIED}|may read")
    # without the arrival the warps of scan_sm100 also do not wait for one another
    alone = "a product of {}_chunks writes t_. while other warps"
    never = "walk_chunks waits for phase 0 of scored|" + alone.format("score")
    yield Fault(NO_ARRIVAL, stage, _SCORED, "", never)
    never = "waits for phase 0 of walked|" + alone.format("walk")
    yield Fault(NO_ARRIVAL, stage, arrival, "", never, None)
    fewer = rf"lacks 0 arrivals and -8192 bytes|{_COPIED}"
    yield Fault(FEWER, stage, "arrival, BYTES", "arrival, BYTES - 8192", fewer, None)
    more = r"no partition can go on: .*lacks 0 arrivals and 8192 bytes"
    yield Fault(MORE, stage, "arrival, BYTES", "arrival, BYTES + 8192", more, None)
    yield Fault(NO_FENCE, stage, _FENCE + _SCORED, _SCORED, "a product of walk_chunks .* no fence")
    unseen = rf"a copy by copy_\w+ reads s_{out}\[\d\] but no fence"
    yield Fault(NO_FENCE_OUT, stage, ends, arrival, unseen, None)
    yield Fault(LATE_FENCE, stage, ends, arrival + fence, unseen, None)
    yield Fault(
        SHORT, stage, "s_k.index(slot)", "s_k.index(slot % (SLOTS - 1))",
        r"s_k\[0\] while|may read s_k\[0\]", None,
    )  # fmt: skip
    leaving = (
        r"w\w+ writes s_\w+\[\d\] while a copy by copy_\w+ may read|copy by copy_\w+ writes s_v"
    )
    yield Fault(LEAVING, stage, _BEFORE_V, "        async_load", leaving)
    last = "ends before it waited for its last copy out"
    yield Fault(LAST, stage, "    tma.store_wait(0)\n\n\n", "\n\n", last)


_ENDS = f"    {_FENCE}{_WALKED}"
_CARRIED = "        mbarrier.wait(carried, phase)\n"
_WAIT_SCAN = "        b_h, b_o = warpgroup_mma_wait(0, deps=[b_h, b_o])\n"
_STORE_O = "        s_o.index(slot).permute((1, 0)).store(b_o.to(gl.bfloat16))\n"
_WAIT_BACK = "        b_dx = warpgroup_mma_wait(1, deps=[b_dx])\n"
_WAIT_WALK = "        b_h = warpgroup_mma_wait(0, deps=[b_h])\n"
_STORE_H = "        s_dh.index(slot).permute((1, 0)).store(b_h16)\n"
_EARLY = r"may read|s_\w+\[\d\] (while|but no fence)|second phase"
_WAIT_N = "        b_n = warpgroup_mma_wait(0, deps=[b_n])\n"
_FILLED = "        mbarrier.wait(copied.index(slot), i // SLOTS & 1)\n"
_MADE = _FILLED.replace("copied", "scored")
_UNUSED = "        mbarrier.wait(walked.index(slot), i // SLOTS & 1 ^ 1)\n"
_ARRIVAL = "        mbarrier.arrive(arrival, count=1)\n"
_WEIGHTS = "        s_beta.index(slot).store(b_beta.to(gl.float32))\n"
_P_SM100, _M = "    s_P.store(b_P.to(gl.bfloat16))\n", "    s_M.store(b_M.to(gl.bfloat16))\n"
_P, _DP = "    s_P.store((b_P * b_G).to(gl.bfloat16))\n", "    s_dP.store(b_dP.to(gl.bfloat16))\n"
_DK = "    s_dk.store(b_dk.to(gl.bfloat16))\n"


def _of_blackwell_walks(stage: str) -> Iterator[Fault]:
    """The faults of both walks of the backward in tensor memory."""
    scored = "        mbarrier.wait(scored.index(slot), i // SLOTS & 1)\n"
    out = "        fence_async_shared()\n        async_store"
    unseen = r"a copy by walk_chunks reads s_h but no fence"
    read = "        mbarrier.wait(read, phase)\n"
    yield Fault(NO_COPY, stage, _FILLED[4:], "", rf"{_COPIED}|may read|second phase")
    yield Fault(NO_PARTITION, stage, scored, "", rf"{_COPIED}|may read|second phase")
    yield Fault(NO_PARTITION, stage, scored, "", rf"{_COPIED}|may read|second phase", -1)
    yield Fault(NOT_FREE, stage, _FREE, "", rf"expects 0|copy_\w+ writes|{_COPIED}")
    yield Fault(PARITY, stage, "slot), phase ^ 1)", "slot), phase)", "no partition can go on")
    yield Fault(PARITY, stage, "solved, phase)", "solved, phase ^ 1)", "t_n while|can go on")
    yield Fault(NO_ARRIVAL, stage, _SCORED, "", "for phase 0 of scored|while other warps")
    yield Fault(NO_ARRIVAL, stage, _WALKED, "", "waits for phase 0 of walked", None)
    yield Fault(NO_ARRIVAL, stage, ", mbarriers=[carried]", "", r"for phase 0 of barriers\[2\]")
    yield Fault(FEWER, stage, "arrival, BYTES", "arrival, BYTES - 8192", rf"-8192|{_COPIED}", None)
    yield Fault(MORE, stage, "arrival, BYTES", "arrival, BYTES + 8192", "arrivals and 8192", None)
    yield Fault(NO_FENCE, stage, _FENCE + _SCORED, _SCORED, "a product of walk_chunks .* no fence")
    yield Fault(NO_FENCE_OUT, stage, out, "        async_store", unseen, None)
    yield Fault(
        SHORT, stage, "s_k.index(slot)", "s_k.index(slot % (SLOTS - 1))",
        r"s_k\[0\] while|may read s_k\[0\]", None,
    )  # fmt: skip
    leaving = "writes s_h while a copy by walk_chunks may read"
    yield Fault(LEAVING, stage, "        tma.store_wait(0)\n", "", leaving, None)
    last = "ends before it waited for its last copy out"
    yield Fault(LAST, stage, "\n    tma.store_wait(0)", "", last, None)
    yield Fault(NO_PRODUCT, stage, read, "", "reads t_x while a")
    yield Fault(NO_PRODUCT, stage, read, "", "reads t_n while a", -1)
    yield Fault(
        NO_PRODUCT, stage, "        mbarrier.wait(solved, phase)\n", "", "reads t_n while a"
    )
    yield Fault(NO_PRODUCT, stage, _CARRIED, "", "reads t_h while a|reads s_|may read", None)
    multiplied = "        mbarrier.wait(multiplied, i & 1)\n"
    yield Fault(NO_PRODUCT, stage, multiplied, "", "reads t_P while")
    yield Fault(EARLY, stage, _CARRIED, _WALKED + _CARRIED, _EARLY)
    store = "        s_v.index(slot).permute((1, 0)).store(b_x.to(gl.bfloat16))\n"
    yield Fault(RELEASED, stage, _WALKED, _WALKED + store, r"s_v\[\d\]")
    again = "        t_b.store(b_x.to(gl.bfloat16))\n"
    yield Fault(
        READ, stage, _CARRIED, again + _CARRIED, "writes t_b while a product of walk_chunks"
    )
    yield Fault(
        UNREAD, stage, "        t_b.store(b_dn", "        tcgen05_mma(t_s, s_A.index(slot), t_n)\n"
        "        t_b.store(b_dn", "walk_chunks writes t_n while other warps",
    )  # fmt: skip


def _of_blackwell_grads(stage: str) -> Iterator[Fault]:
    """The faults of the gradients of a chunk in tensor memory."""
    for i in range(3):
        yield Fault(NO_COPY, stage, f"    mbarrier.wait(ready.index({i}), 0)\n", "", "while a copy")
    wrong = ("ready.index(1), 0)", "ready.index(1), 1)", "waits forever|while a copy")
    yield Fault(PARITY, stage, *wrong)
    yield Fault(FEWER, stage, "(0), 2 * ROWS)", "(0), ROWS)", "arrivals and -8192|while a copy")
    yield Fault(
        MORE, stage, "ROWS + STATE)", "2 * ROWS + STATE)", "waits forever .* and 8192 bytes"
    )
    yield Fault(NO_FENCE, stage, _P_SM100 + _FENCE, _P_SM100, "reads s_P but no fence")
    yield Fault(NO_FENCE, stage, _M + _FENCE, _M, "reads s_(dP|M) but no fence")
    dk = "    s_dk.permute((1, 0)).store(t_dk.load(CHANNELS).to(gl.bfloat16))\n"
    yield Fault(NO_FENCE_OUT, stage, dk + _FENCE, dk, "reads s_(v|dk) but no fence")
    leaving = "writes s_v while a copy by the kernel may read s_v"
    yield Fault(LEAVING, stage, "    tma.store_wait(0)\n    values", "    values", leaving)
    last = "ends before it waited for its last"
    yield Fault(LAST, stage, "    tma.store_wait(0)\n", "", last, -1)
    for i in range(10):
        over = f"    mbarrier.wait(over.index({i}), 0)\n"
        yield Fault(NO_PRODUCT, stage, over, "", r"the kernel reads t_\w+ while a product")
    yield Fault(
        READ, stage, _M, _M.replace("s_M", "s_n"), "writes s_n while a product of the kernel"
    )
    yield Fault(
        UNREAD, stage, "    s_dP.store(", "    tcgen05_mma(s_k, keys, t_P)\n    s_dP.store(",
        "the kernel writes t_P while other warps",
    )  # fmt: skip


FAULTS: tuple[Fault, ...] = (
    *_of_walks(SCAN, "i_t", "o"),
    Fault(
        IN_FLIGHT, SCAN, "b_o, b_n = warpgroup_mma_wait(0", "b_o, b_n = warpgroup_mma_wait(1",
        "walk_chunks takes the value of a product that may still be in flight",
    ),
    Fault(EARLY, SCAN, _WAIT_SCAN, _WALKED + _WAIT_SCAN, _EARLY),
    Fault(
        READ, SCAN, _WAIT_SCAN,
        f"        s_P.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n{_WAIT_SCAN}",
        r"walk_chunks writes s_P\[0\] while a product of walk_chunks may read",
    ),
    Fault(RELEASED, SCAN, _STORE_O + _ENDS, f"{_WALKED}{_STORE_O}    {_FENCE}", r"s_o\[\d\]"),
    Fault(
        OTHER_WARPS, SCAN, "s_o.index(slot).permute", "s_P.index(slot).permute",
        r"walk_chunks writes s_P\[0\] right after it waited for a product that reads it",
    ),
    *_of_walks(BLACKWELL, "i_t", "v", "    "),
    Fault(NO_PRODUCT, BLACKWELL, "        mbarrier.wait(read, phase)\n", "", "reads t_x while a"),
    Fault(NO_PRODUCT, BLACKWELL, "        mbarrier.wait(solved, phase)\n", "", "reads t_n while a"),
    Fault(NO_PRODUCT, BLACKWELL, _CARRIED, "", "reads t_h while a"),
    Fault(NO_PRODUCT, BLACKWELL, "    mbarrier.wait(wrote, i_t & 1)\n", "", "reads t_n while a"),
    Fault(NO_PRODUCT, BLACKWELL, "    mbarrier.wait(multiplied, i_t & 1)\n", "", "reads t_P while"),
    Fault(PARITY, BLACKWELL, "solved, phase)", "solved, phase ^ 1)", "t_n while|can go on"),
    Fault(NO_ARRIVAL, BLACKWELL, ", mbarriers=[carried]", "", r"for phase 0 of barriers\[2\]"),
    Fault(
        EARLY, BLACKWELL, "    mbarrier.wait(wrote, i_t & 1)\n",
        f"{_WALKED[4:]}    mbarrier.wait(wrote, i_t & 1)\n", _EARLY,
    ),
    Fault(
        RELEASED, BLACKWELL, _STORE_O[4:].replace("s_o", "s_v") + _FENCE + _WALKED[4:],
        _WALKED[4:] + _STORE_O[4:].replace("s_o", "s_v") + _FENCE, r"s_v\[\d\]",
    ),
    Fault(
        READ, BLACKWELL, _CARRIED, f"        t_b.store(b_n.to(gl.bfloat16))\n{_CARRIED}",
        "walk_chunks writes t_b while a product of walk_chunks may read t_b",
    ),
    Fault(
        READ, BLACKWELL, _CARRIED,
        f"        s_P.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n{_CARRIED}",
        r"walk_chunks writes s_P\[0\] while a product of walk_chunks may read",
    ),
    Fault(
        UNREAD, BLACKWELL, "        t_e.store(",
        "        tcgen05_mma(t_b, writes, t_n)\n        t_e.store(",
        "walk_chunks writes t_n while other warps of walk_chunks may still read it",
    ),
    *_of_blackwell_walks(BLACKWELL_WALKS),
    *_of_blackwell_grads(BLACKWELL_GRADS),
    *_of_walks(WALKS, "i", "h"),
    Fault(
        NO_PARTITION, WALKS, "        mbarrier.wait(scored.index(slot), i // SLOTS & 1)\n", "",
        rf"{_COPIED}|may read|second phase", -1,
    ),
    Fault(
        IN_FLIGHT, WALKS, "b_n = warpgroup_mma_wait(0", "b_n = warpgroup_mma_wait(1",
        "walk_chunks takes the value of a product that may still be in flight",
    ),
    Fault(
        IN_FLIGHT, WALKS, "b_dn = warpgroup_mma_wait(0", "b_dn = warpgroup_mma_wait(1",
        "walk_chunks takes the value of a product that may still be in flight",
    ),
    Fault(EARLY, WALKS, _WAIT_WALK, _WALKED + _WAIT_WALK, _EARLY),
    Fault(EARLY, WALKS, _WAIT_BACK, _WAIT_BACK + _WALKED, _EARLY),
    Fault(
        READ, WALKS, _WAIT_BACK,
        f"        s_A.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n{_WAIT_BACK}",
        r"walk_chunks writes s_A\[0\] while a product of walk_chunks may read",
    ),
    Fault(
        RELEASED, WALKS, _WAIT_WALK + _ENDS,
        _WAIT_WALK + f"    {_FENCE}" + _WALKED + _STORE_H.replace("s_dh", "s_h"), r"s_h\[\d\]",
    ),
    Fault(
        OTHER_WARPS, WALKS, _WAIT_WALK,
        f"{_WAIT_WALK}        s_A.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n",
        r"walk_chunks writes s_A\[0\] right after it waited for a product that reads it",
    ),
    Fault(NO_COPY, MAP, _FILLED, "", rf"{_COPIED}|may|second phase"),
    Fault(NOT_FREE, MAP, _UNUSED, "", rf"expects 0|copy_\w+ (writes|reads)|{_COPIED}"),
    Fault(PARITY, MAP, "& 1 ^ 1)", "& 1)", "no partition can go on"),
    Fault(PARITY, MAP, _FILLED, _FILLED.replace("& 1", "& 1 ^ 1"), rf"can go on|{_COPIED}|may"),
    Fault(NO_ARRIVAL, MAP, _ARRIVAL, "", "walk_chunks waits for phase 0 of copied"),
    Fault(NO_ARRIVAL, MAP, _WALKED, "", "waits for phase 0 of walked"),
    Fault(FEWER, MAP, "arrival, BYTES", "arrival, BYTES - 8192", rf"and -8192 bytes|{_COPIED}"),
    Fault(MORE, MAP, "arrival, BYTES", "arrival, BYTES + 8192", "lacks 0 arrivals and 8192 bytes"),
    Fault(
        SHORT, MAP, "s_k.index(slot)", "s_k.index(slot % (SLOTS - 1))",
        r"s_k\[0\] while|may read s_k\[0\]", None,
    ),
    Fault(
        IN_FLIGHT, MAP, "b_n = warpgroup_mma_wait(0", "b_n = warpgroup_mma_wait(1",
        "walk_chunks takes the value of a product that may still be in flight",
    ),
    Fault(EARLY, MAP, _WAIT_WALK, _WALKED + _WAIT_WALK, _EARLY),
    Fault(
        READ, MAP, _WAIT_N,
        f"        s_A.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n{_WAIT_N}",
        r"walk_chunks writes s_A\[0\] while a product of walk_chunks may read",
    ),
    Fault(RELEASED, MAP, _WEIGHTS + _ARRIVAL, _ARRIVAL + _WEIGHTS, r"s_beta\[\d\]"),
    Fault(
        OTHER_WARPS, MAP, _WAIT_WALK,
        f"{_WAIT_WALK}        s_A.index(slot).store(gl.zeros([BT, BT], gl.bfloat16, TILE))\n",
        r"walk_chunks writes s_A\[0\] right after it waited for a product that reads it",
    ),
    Fault(NO_COPY, BACK, _FILLED[4:], "", rf"{_COPIED}|may|second phase"),
    Fault(NO_PARTITION, BACK, _MADE, "", rf"{_COPIED}|may read|second phase"),
    Fault(NOT_FREE, BACK, _UNUSED, "", rf"expects 0|copy_\w+ (writes|reads)|{_COPIED}"),
    Fault(PARITY, BACK, "& 1 ^ 1)", "& 1)", "no partition can go on"),
    Fault(NO_ARRIVAL, BACK, _SCORED, "", "walk_chunks waits for phase 0 of scored"),
    Fault(NO_ARRIVAL, BACK, _WALKED, "", "waits for phase 0 of walked"),
    Fault(FEWER, BACK, "arrival, BYTES", "arrival, BYTES - 8192", rf"and -8192 bytes|{_COPIED}"),
    Fault(MORE, BACK, "arrival, BYTES", "arrival, BYTES + 8192", "lacks 0 arrivals and 8192 bytes"),
    Fault(
        SHORT, BACK, "s_k.index(slot)", "s_k.index(slot % (SLOTS - 1))",
        r"s_k\[0\] while|may read s_k\[0\]", None,
    ),
    Fault(EARLY, BACK, _WAIT_WALK, _WALKED + _WAIT_WALK, _EARLY),
    Fault(NO_COPY, GRADS, "    mbarrier.wait(ready.index(0), 0)\n", "", "while a copy"),
    Fault(NO_COPY, GRADS, "    mbarrier.wait(ready.index(1), 0)\n", "", "while a copy"),
    Fault(NO_COPY, GRADS, "    mbarrier.wait(ready.index(2), 0)\n", "", "while a copy"),
    Fault(
        PARITY, GRADS, "ready.index(1), 0)", "ready.index(1), 1)", "waits forever|while a copy", -1,
    ),
    Fault(FEWER, GRADS, "(0), 2 * ROWS)", "(0), ROWS)", "lacks 0 arrivals and -8192|while a copy"),
    Fault(MORE, GRADS, "ROWS + STATE)", "2 * ROWS + STATE)", "waits forever .* and 8192 bytes"),
    Fault(NO_FENCE, GRADS, _P + _FENCE, _P, "reads s_P but no fence"),
    Fault(NO_FENCE, GRADS, _DP + _FENCE, _DP, "reads s_(dP|M) but no fence"),
    Fault(NO_FENCE_OUT, GRADS, _DK + _FENCE, _DK, "reads s_(v|dk) but no fence"),
    Fault(
        IN_FLIGHT, GRADS, "b_n = warpgroup_mma_wait(0", "b_n = warpgroup_mma_wait(1",
        "takes the value of a product that may still be in flight",
    ),
    Fault(
        IN_FLIGHT, GRADS, "b_dk = warpgroup_mma_wait(0", "b_dk = warpgroup_mma_wait(1",
        "takes the value of a product that may still be in flight",
    ),
    Fault(
        LEAVING, GRADS, "    tma.store_wait(0)\n    s_v", "    s_v",
        "writes s_v while a copy by the kernel may read s_v",
    ),
    Fault(LAST, GRADS, "    tma.store_wait(0)\n", "", "ends before it waited for its last", -1),
    Fault(
        READ, GRADS, _DP, _DP.replace("s_dP", "s_n"),
        "writes s_n (while a product of the kernel may read s_n|right after)",
    ),
    Fault(
        OTHER_WARPS, GRADS, "s_dk.store(b_dn", "s_dx.store(b_dn",
        "writes s_dx right after it waited for a product that reads it",
    ),
)  # fmt: skip
