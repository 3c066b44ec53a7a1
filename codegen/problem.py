"""Problem: the static facts of one call, and the key under which its winner is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gdn_ops.codegen.dtype import IO_DTYPES
from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.codegen.rule import Rule

OPS = ("forward", "decode", "backward", "pool")
MAX_HEAD_DIM = 256
FLAGS = {
    "varlen": "varlen",
    "initial_state": "h0",
    "final_state": "ht",
    "gate_in_kernel": "rawgate",
    "dt_bias": "dtbias",
    "qk_l2norm": "l2",
    "beta_sigmoid": "rawbeta",
    "state_v_first": "vfirst",
    "verify": "verify",
}
POOL_FACTS: dict[str, Any] = {
    "state_dtype": "fp32",
    "state_v_first": False,
    "verify": False,
    "qk_l2norm": False,
    "beta_sigmoid": False,
}
"""Facts of op ``pool`` alone, with what they are where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The static facts of one call of a rule.

    Args:
        op: ``forward`` (a prefill or training sequence), ``decode`` (one token a sequence),
            ``backward`` (the gradients of either, from the inputs alone) or ``pool`` (a few tokens
            a sequence, from and to slots of a pool of states).
        H, HV: query/key heads and value heads; HV is a multiple of H.
        K, V: head dims of q/k and of v, at most 256.
        dtype: element type of q, k, v and o: bf16, fp16 or fp32.
        tokens: tokens of the whole call, B * T.
        sequences: independent sequences, N; B when there is no ``cu_seqlens``.
        varlen: sequences are packed in one row, delimited by ``cu_seqlens``.
        initial_state, final_state: a state [N, HV, K, V] fp32 comes in, goes out. Backward: its
            gradient goes out, comes in. Pool: the first is always so, the second says that states
            are written in place, not to a tensor of one state a token.
        gate_in_kernel: g is raw, the log decay is -exp(A_log) softplus(g + dt_bias).
        dt_bias: a ``dt_bias`` is given with ``gate_in_kernel``.
        state_dtype: element type of a pool.
        state_v_first: a pool is [slots, HV, V, K], not [slots, HV, K, V].
        verify: a sequence has a slot for the state after each token, not one slot.
        qk_l2norm: q and k come raw and get length one.
        beta_sigmoid: beta comes raw and the writing strength is its sigmoid.
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
    state_dtype: str = "fp32"
    state_v_first: bool = False
    verify: bool = False
    qk_l2norm: bool = False
    beta_sigmoid: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise UnknownName.of("op", self.op, OPS)
        for name in (self.dtype, self.state_dtype):
            if name not in IO_DTYPES:
                raise UnknownName.of("dtype", name, IO_DTYPES)
        for name, usual in POOL_FACTS.items():
            if self.op != "pool" and getattr(self, name) != usual:
                raise InvalidInput(
                    f"{name}={getattr(self, name)} in op {self.op!r}; it is a fact of op 'pool' "
                    "alone, leave it out."
                )
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

    @property
    def writes_state(self) -> bool:
        """Whether the final state is a result."""
        return self.final_state and self.op != "backward"

    def backward(self, *, final_state: bool) -> Problem:
        """The problem of this one's gradients; ``final_state``: the state's gradient is given."""
        return replace(self, op="backward", final_state=final_state)

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
        if self.state_dtype != "fp32":
            sizes += f"-state.{self.state_dtype}"
        flags = [short for flag, short in FLAGS.items() if getattr(self, flag)]
        return "-".join([self.op, self.rule.name, sizes, *flags])

    def facts(self) -> dict[str, Any]:
        """The problem as a flat JSON object, as the database stores it.

        Facts of op ``pool`` stand there where they differ from ``POOL_FACTS``.
        """
        facts = asdict(self)
        rule = facts.pop("rule")
        for name, usual in POOL_FACTS.items():
            if facts[name] == usual:
                del facts[name]
        return {**facts, "gate": rule["gate"], "delta": rule["delta"]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Problem:
        """Read what ``facts()`` wrote, today or before gradients were an op (``grad``)."""
        rest = {k: v for k, v in facts.items() if k not in ("gate", "delta", "grad")}
        return cls(rule=Rule(facts["gate"], facts["delta"]), **rest)


def _pow2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
