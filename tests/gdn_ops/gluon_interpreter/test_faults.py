"""The interpreter of Gluon: a right kernel runs, and each fault put into it is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.module_cache import load_module
from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter import scheduled
from gdn_ops.gluon_interpreter.copies import TensorDescriptor
from gdn_ops.gluon_interpreter.products import rounded

N, CHUNKS, SEEDS = 16, 5, 3
KERNEL = '''"""y = (x + 1) x of each chunk x of N rows: one partition copies, one multiplies."""

from gdn_ops.gluon_interpreter import gluon
from gdn_ops.gluon_interpreter import language as gl
from gdn_ops.gluon_interpreter.hopper import (
    fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_wait,
)

N = gl.constexpr(16)
SLOTS = gl.constexpr(2)


@gluon.jit
def copy(d_x, d_y, s_x, s_y, copied, made, chunks):
    for i in range(chunks):
        slot, phase = i % SLOTS, i // SLOTS & 1
        mbarrier.wait(made.index(slot), phase ^ 1)
        if i >= SLOTS:
            tma.async_store(d_y, [(i - SLOTS) * N, 0], s_y.index(slot))
            tma.store_wait(0)
        mbarrier.expect(copied.index(slot), 2 * N * N)
        tma.async_load(d_x, [i * N, 0], copied.index(slot), s_x.index(slot))
    for i in range(gl.maximum(chunks - SLOTS, 0), chunks):
        mbarrier.wait(made.index(i % SLOTS), i // SLOTS & 1)
        tma.async_store(d_y, [i * N, 0], s_y.index(i % SLOTS))
    tma.store_wait(0)


@gluon.jit
def make(s_x, s_z, s_y, copied, made, chunks):
    for i in range(chunks):
        slot = i % SLOTS
        mbarrier.wait(copied.index(slot), i // SLOTS & 1)
        s_z.store(s_x.index(slot).load() + 1)
        fence_async_shared()
        acc = gl.zeros([N, N], gl.float32)
        acc = warpgroup_mma(s_z, s_x.index(slot), acc, use_acc=False, is_async=True)
        acc = warpgroup_mma_wait(0, deps=[acc])
        s_y.index(slot).store(acc.to(gl.bfloat16))
        fence_async_shared()
        mbarrier.arrive(made.index(slot), count=1)


@gluon.jit
def kernel(d_x, d_y, chunks):
    s_x = gl.allocate_shared_memory(gl.bfloat16, [SLOTS, N, N], None)
    s_y = gl.allocate_shared_memory(gl.bfloat16, [SLOTS, N, N], None)
    s_z = gl.allocate_shared_memory(gl.bfloat16, [N, N], None)
    copied = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    made = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(copied.index(slot), count=1)
        mbarrier.init(made.index(slot), count=1)
    gl.warp_specialize(
        [
            (make, (s_x, s_z, s_y, copied, made, chunks)),
            (copy, (d_x, d_y, s_x, s_y, copied, made, chunks)),
        ],
        [1],
        [24],
    )
'''
ARRIVE = "        mbarrier.arrive(made.index(slot), count=1)\n"
STORE = "        s_y.index(slot).store(acc.to(gl.bfloat16))\n"
FENCE = "        fence_async_shared()\n"
WAIT = "acc = warpgroup_mma_wait(0, deps=[acc])\n"
FAULTS: dict[str, tuple[str, str, str]] = {
    "a tile is read before its copy is waited for": (
        "        mbarrier.wait(copied.index(slot), i // SLOTS & 1)\n",
        "",
        r"make reads s_x\[\d\] while a copy|writes s_x\[\d\] while make may read|second phase",
    ),
    "no fence between threads and a product": (
        FENCE + "        acc = gl",
        "        acc = gl",
        r"a product of make reads s_z but no fence follows where make writes s_z",
    ),
    "no fence between threads and a copy": (
        FENCE + ARRIVE,
        ARRIVE,
        r"a copy by copy reads s_y\[0\] but no fence follows where make writes s_y\[0\]",
    ),
    "a fence after the barrier": (FENCE + ARRIVE, ARRIVE + FENCE, r"reads s_y\[0\] but no fence"),
    "a tile is given away while a product reads it": (
        f"        {WAIT}{STORE}{FENCE}{ARRIVE}",
        f"{ARRIVE}        {WAIT}{STORE}{FENCE}",
        r"while a product of make may read|(read|write)s s_y\[\d\] while|writes s_z right after",
    ),
    "a tile is written while other warps multiply it": (
        STORE,
        f"        s_x.index(slot).store(acc.to(gl.bfloat16))\n{STORE}",
        r"make writes s_x\[0\] right after it waited for a product that reads it",
    ),
    "a product is used before it is waited for": (
        WAIT.strip(),
        "pass",
        r"make uses a product before it waited for it, at `s_y.index\(slot\).store\(",
    ),
    "a wait leaves the product in flight": (
        WAIT,
        WAIT.replace("(0", "(1"),
        "takes the value of a product that may still be in flight",
    ),
    "a tile is written while a copy out reads it": (
        "            tma.store_wait(0)\n",
        "",
        r"make writes s_y\[0\] while a copy by copy may read s_y\[0\]",
    ),
    "the last copy out is not waited for": (
        "    tma.store_wait(0)\n\n",
        "\n",
        "copy ends before it waited for its last copy out",
    ),
    "fewer bytes are expected than come": (
        "2 * N * N)",
        "N * N)",
        r"no partition can go on: .*copied\[0\] \(it lacks 0 arrivals and -256 bytes",
    ),
    "the wrong phase": ("phase ^ 1", "phase", r"no partition can go on: .*phase 0 of made\[0\]"),
    "a barrier that nobody completes": (
        "mbarrier.init(made.index(slot), count=1)",
        "mbarrier.init(made.index(slot), count=2)",
        r"no partition can go on: .*copy waits for phase 0 of made\[0\]",
    ),
    "an arrival too many": (
        ARRIVE,
        2 * ARRIVE,
        r"made\[\d\] completes a second phase before anybody waited|writes s_y\[0\] while|"
        r"reads s_y\[0\] but|reads s_y\[0\] while|writes s_x\[0\] while",
    ),
    "an arrival that is left over": (
        "\n\n@gluon.jit\ndef kernel",
        "    mbarrier.expect(made.index(0), 8)\n\n\n@gluon.jit\ndef kernel",
        r"completes a second phase|ends within a phase of made\[0\]|lacks 8 bytes",
    ),
    "a barrier without init": (
        "        mbarrier.init(copied.index(slot), count=1)\n",
        "",
        r"copied\[0\] is used before mbarrier.init",
    ),
    "a slot that does not exist": ("slot = i % SLOTS\n", "slot = i\n", "has no element 2|number 2"),
    "a value of another dtype": (".to(gl.bfloat16)", "", "stores torch.float32"),
}


def run(source: str, folder: Path, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(CHUNKS * N - 3, N).bfloat16()
    y = torch.full_like(x, float("nan"))
    kernel = load_module("kernel", source, folder).kernel
    described = [TensorDescriptor(t, (len(x), N), (N, N)) for t in (x, y)]
    with scheduled(seed):
        kernel[(1,)](*described, CHUNKS)
    return x, y


def test_a_right_kernel_gives_the_same_bits_in_every_order(tmp_path: Path) -> None:
    x, y = run(KERNEL, tmp_path)
    rows = torch.cat([x, torch.zeros(3, N)]).view(CHUNKS, N, N)
    right = ((rows.bfloat16() + 1).float() @ rows.float()).view(-1, N)[: len(x)]
    assert torch.equal(y, right.bfloat16())
    for seed in range(1, 6):
        assert torch.equal(run(KERNEL, tmp_path, seed)[1], y)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_in_every_order(fault: str, tmp_path: Path) -> None:
    old, new, message = FAULTS[fault]
    assert KERNEL.count(old) >= 1
    for seed in range(SEEDS):
        with pytest.raises(KernelFault, match=message):
            run(KERNEL.replace(old, new, 1), tmp_path, seed)


def test_pointers_stay_inside_their_tensor(tmp_path: Path) -> None:
    source = re.sub(r"@gluon.jit\ndef copy.*", "", KERNEL, flags=re.DOTALL) + (
        "@gluon.jit\n"
        "def kernel(x, y, n):\n"
        "    o = gl.program_id(0) * N + gl.arange(0, N)\n"
        "    gl.store(y + o, gl.load(x + o, mask=o < n, other=7.0), mask=o < n)\n"
    )
    kernel = load_module("kernel", source, tmp_path).kernel
    x, y = torch.randn(20), torch.zeros(20)
    kernel[(2,)](x, y, 20)
    assert torch.equal(x, y)
    with pytest.raises(KernelFault, match="the kernel reads elements 16 to 20 of a tensor of 20"):
        kernel[(2,)](x, y, 21)


def test_a_product_reads_float32_as_tf32_and_16_bits_as_they_are() -> None:
    third = torch.tensor([1 / 3, -1 / 3, 1.0])
    kept = rounded(third)
    assert torch.equal(kept, torch.tensor([0.333251953125, -0.333251953125, 1.0]))
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(rounded(third.to(dtype)), third.to(dtype).float())
