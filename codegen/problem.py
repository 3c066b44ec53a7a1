"""Problem: the static facts of one call, and the key under which its winner is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gdn_ops.codegen.dtype import IO_DTYPES
from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.codegen.rule import Rule

OPS = ("forward", "decode")
MAX_HEAD_DIM = 256
FLAGS = {
    "varlen": "varlen",
    "initial_state": "h0",
    "final_state": "ht",
    "gate_in_kernel": "rawgate",
    "dt_bias": "dtbias",
    "grad": "grad",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The static facts of one call of a rule.

    Args:
        op: ``forward`` (a prefill or training sequence) or ``decode`` (one token a sequence).
        H, HV: query/key heads and value heads; HV is a multiple of H.
        K, V: head dims of q/k and of v, at most 256.
        dtype: element type of q, k, v and o: bf16, fp16 or fp32.
        tokens: tokens of the whole call, B * T.
        sequences: independent sequences, N; B when there is no ``cu_seqlens``.
        varlen: sequences are packed in one row, delimited by ``cu_seqlens``.
        initial_state, final_state: a state [N, HV, K, V] fp32 comes in, goes out.
        gate_in_kernel: g is raw, the log decay is -exp(A_log) softplus(g + dt_bias).
        dt_bias: a ``dt_bias`` is given with ``gate_in_kernel``.
        grad: a gradient will be asked of the result.
    """

    op: str
    H: int
    HV: int
    K: int
    V: int
    dtype: str
    tokens: int
    sequences: int
    rule: Rule = field(default_factory=Rule)
    varlen: bool = False
    initial_state: bool = False
    final_state: bool = False
    gate_in_kernel: bool = False
    dt_bias: bool = False
    grad: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise UnknownName.of("op", self.op, OPS)
        if self.dtype not in IO_DTYPES:
            raise UnknownName.of("dtype", self.dtype, IO_DTYPES)
        if self.H < 1 or self.HV % self.H:
            raise InvalidInput(
                f"HV={self.HV} value heads are no multiple of H={self.H} query/key heads; "
                "give v a head count that H divides."
            )
        for name, size in (("K", self.K), ("V", self.V)):
            if not 1 <= size <= MAX_HEAD_DIM:
                raise InvalidInput(
                    f"head dim {name}={size} is outside 1..{MAX_HEAD_DIM}; "
                    "split the head or use a smaller head dim."
                )

    @property
    def group(self) -> int:
        """Value heads per query/key head, HV / H."""
        return self.HV // self.H

    def bucket(self) -> Problem:
        """Round the sizes up to powers of two, so that nearby calls share one winner."""
        return replace(self, tokens=_pow2(self.tokens), sequences=_pow2(self.sequences))

    def id(self) -> str:
        """Name the problem, e.g. ``forward-scalar-delta-N1-L2048-H16-HV32-K128-V128-bf16-ht``.

        L counts the tokens of the whole call.
        """
        sizes = (
            f"N{self.sequences}-L{self.tokens}-H{self.H}-HV{self.HV}-K{self.K}-V{self.V}-"
            f"{self.dtype}"
        )
        flags = [short for flag, short in FLAGS.items() if getattr(self, flag)]
        return "-".join([self.op, self.rule.name, sizes, *flags])

    def facts(self) -> dict[str, Any]:
        """The problem as a flat JSON object, as the database stores it."""
        facts = asdict(self)
        rule = facts.pop("rule")
        return {**facts, "gate": rule["gate"], "delta": rule["delta"]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Problem:
        """Read what ``facts()`` wrote."""
        rest = {k: v for k, v in facts.items() if k not in ("gate", "delta")}
        return cls(rule=Rule(facts["gate"], facts["delta"]), **rest)


def _pow2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
