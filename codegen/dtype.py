"""Element types by the short names that problems, configs and the database use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DType:
    """One element type: its size in bytes and its names in Triton and PyTorch."""

    name: str
    bytes: int
    triton: str
    torch: str
    signature: str


DTYPES = {
    d.name: d
    for d in (
        DType("bf16", 2, "tl.bfloat16", "torch.bfloat16", "bf16"),
        DType("fp16", 2, "tl.float16", "torch.float16", "fp16"),
        DType("fp32", 4, "tl.float32", "torch.float32", "fp32"),
        DType("int32", 4, "tl.int32", "torch.int32", "i32"),
        DType("int64", 8, "tl.int64", "torch.int64", "i64"),
    )
}
IO_DTYPES = ("bf16", "fp16", "fp32")
