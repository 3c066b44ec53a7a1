"""Tensor memory in the interpreter of Gluon: a right kernel runs, and each fault is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.module_cache import load_module
from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter import scheduled
from gdn_ops.gluon_interpreter.copies import TensorDescriptor

N, CHUNKS, SEEDS = 16, 4, 2
KERNEL = '''"""y_i = y_(i-1) + z_i x_i,  z_i = (x_i + 1) x_i + x_i x_i, of each chunk x_i."""

from gdn_ops.gluon_interpreter import gluon
from gdn_ops.gluon_interpreter import language as gl
from gdn_ops.gluon_interpreter.blackwell import (
    TensorMemoryLayout, allocate_tensor_memory, fence_async_shared, get_tmem_reg_layout, mbarrier,
    tcgen05_commit, tcgen05_mma, tma,
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
def multiply(s_x, t_a, t_z, stored, done, chunks):
    for i in range(chunks):
        x = s_x.index(i % SLOTS)
        mbarrier.wait(stored, i & 1)
        tcgen05_mma(t_a, x, t_z, use_acc=False)
        tcgen05_mma(x, x, t_z)
        tcgen05_commit(done)


@gluon.jit
def make(s_x, s_y, t_a, t_z, t_b, t_y, copied, stored, done, summed, made, chunks):
    for i in range(chunks):
        slot = i % SLOTS
        mbarrier.wait(copied.index(slot), i // SLOTS & 1)
        t_a.store(s_x.index(slot).load() + 1)
        mbarrier.arrive(stored, count=1)
        mbarrier.wait(done, i & 1)
        z = t_z.load()
        t_b.store(z.to(gl.bfloat16))
        tcgen05_mma(t_b, s_x.index(slot), t_y, use_acc=i > 0, mbarriers=[summed])
        mbarrier.wait(summed, i & 1)
        s_y.index(slot).store(t_y.load().to(gl.bfloat16))
        fence_async_shared()
        mbarrier.arrive(made.index(slot), count=1)


@gluon.jit
def kernel(d_x, d_y, chunks):
    s_x = gl.allocate_shared_memory(gl.bfloat16, [SLOTS, N, N], None)
    s_y = gl.allocate_shared_memory(gl.bfloat16, [SLOTS, N, N], None)
    layout: gl.constexpr = TensorMemoryLayout([N, N], col_stride=1)
    zero = gl.zeros([N, N], gl.bfloat16, get_tmem_reg_layout(gl.bfloat16, [N, N], layout, 4))
    t_a = allocate_tensor_memory(gl.bfloat16, [N, N], layout, zero)
    t_b = allocate_tensor_memory(gl.bfloat16, [N, N], layout)
    t_z = allocate_tensor_memory(gl.float32, [N, N], layout)
    t_y = allocate_tensor_memory(gl.float32, [N, N], layout)
    copied = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    made = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(copied.index(slot), count=1)
        mbarrier.init(made.index(slot), count=1)
    one = gl.allocate_shared_memory(gl.int64, [3, 1], mbarrier.MBarrierLayout())
    stored, done, summed = one.index(0), one.index(1), one.index(2)
    for barrier in (stored, done, summed):
        mbarrier.init(barrier, count=1)
    gl.warp_specialize(
        [
            (make, (s_x, s_y, t_a, t_z, t_b, t_y, copied, stored, done, summed, made, chunks)),
            (multiply, (s_x, t_a, t_z, stored, done, chunks)),
            (copy, (d_x, d_y, s_x, s_y, copied, made, chunks)),
        ],
        [1, 1],
        [24, 24],
    )
'''
ARRIVE = "        mbarrier.arrive(stored, count=1)\n"
DONE = "        mbarrier.wait(done, i & 1)\n"
SUMMED = "        mbarrier.wait(summed, i & 1)\n"
MADE = "        mbarrier.arrive(made.index(slot), count=1)\n"
LAST = "        tcgen05_mma(x, x, t_z)\n"
COMMIT = "        tcgen05_commit(done)\n"
EARLY = "make reads t_z while a product of multiply writes|writes t_z while make may read t_z"
FAULTS: dict[str, tuple[str, str, str]] = {
    "a result is read before its product is over": (DONE, "", EARLY),
    "a barrier does not follow the last product": (LAST + COMMIT, COMMIT + LAST, EARLY),
    "a barrier that no product arrives at": (COMMIT, "", "no partition can go on: make waits .*1"),
    "a product arrives twice": (
        COMMIT, 2 * COMMIT, rf"one\[1\] completes a second phase|{EARLY}",
    ),
    "a product starts before its operand is stored": (
        "        mbarrier.wait(stored, i & 1)\n", "", r"s_x\[0\] while a|t_a while",
    ),
    "an operand in tensor memory is overwritten": (
        ARRIVE, f"{ARRIVE}        t_a.store(s_x.index(slot).load())\n",
        "make writes t_a while a product of multiply may|multiply reads t_a while make writes t_a",
    ),
    "an operand in shared memory is overwritten": (
        SUMMED, f"        s_x.index(slot).store(z.to(gl.bfloat16))\n{SUMMED}",
        r"make writes s_x\[0\] while a product of make may read s_x\[0\]",
    ),
    "a slot is given away while a product reads it": (
        "        tcgen05_mma(t_b", f"{MADE}        tcgen05_mma(t_b",
        r"s_x\[\d\] while a (copy|product)|reads s_y\[\d\] but",
    ),
    "a result is overwritten while other warps read it": (
        "        t_b.store(z", "        tcgen05_mma(t_a, s_x.index(slot), t_z, use_acc=False)\n"
        "        t_b.store(z", "make writes t_z while other warps of make may still read it",
    ),
    "an operand in shared memory is stored without a fence": (
        ARRIVE, f"        s_x.index(slot).store(s_x.index(slot).load())\n{ARRIVE}",
        r"a product of multiply reads s_x\[0\] but no fence follows where make writes s_x\[0\]",
    ),
    "the last product is not waited for": (
        "\n\n@gluon.jit\ndef kernel",
        "    tcgen05_mma(t_b, s_x.index(0), t_y)\n\n\n@gluon.jit\ndef kernel",
        "the kernel ends while a product of make writes t_y",
    ),
    "the right operand is in tensor memory": (
        "tcgen05_mma(t_a, x, t_z", "tcgen05_mma(x, t_a, t_z", "must be in shared memory",
    ),
    "operands of two dtypes": (
        "t_a = allocate_tensor_memory(gl.bfloat16, [N, N], layout, zero)",
        "t_a = allocate_tensor_memory(gl.float16, [N, N], layout)",
        "stores torch.bfloat16 .* in t_a, which is torch.float16|multiplies torch.float16",
    ),
    "an accumulator of another shape": (
        "t_y = allocate_tensor_memory(gl.float32, [N, N]",
        "t_y = allocate_tensor_memory(gl.float32, [N, 2 * N]", "does not have the shape",
    ),
}  # fmt: skip


def run(source: str, folder: Path, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(CHUNKS * N, N).bfloat16()
    y = torch.full_like(x, float("nan"))
    kernel = load_module("kernel", source, folder).kernel
    described = [TensorDescriptor(t, (len(x), N), (N, N)) for t in (x, y)]
    with scheduled(seed):
        kernel[(1,)](*described, CHUNKS)
    return x, y


def test_a_right_kernel_gives_the_same_bits_in_every_order(tmp_path: Path) -> None:
    x, y = run(KERNEL, tmp_path)
    total = torch.zeros(N, N)
    for rows, found in zip(x.view(CHUNKS, N, N), y.view(CHUNKS, N, N), strict=True):
        z = (rows + 1).float() @ rows.float() + rows.float() @ rows.float()
        total = total + z.bfloat16().float() @ rows.float()
        assert torch.equal(found, total.bfloat16())
    for seed in range(1, 6):
        assert torch.equal(run(KERNEL, tmp_path, seed)[1], y)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_in_every_order(fault: str, tmp_path: Path) -> None:
    old, new, message = FAULTS[fault]
    assert KERNEL.count(old) >= 1
    for seed in range(SEEDS):
        with pytest.raises(KernelFault, match=message):
            run(KERNEL.replace(old, new, 1), tmp_path, seed)
