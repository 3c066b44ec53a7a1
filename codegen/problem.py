"""Problem: what is fixed about a call before it runs; the key under which winners are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gdn_ops.codegen.dtype import IO_DTYPES
from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.codegen.rule import Rule

OPS = ("forward", "decode", "backward", "pool")
MAX_HEAD_DIM = 256
LARGEST = 2**30
"""Largest size of a problem that a user may give: the next power of two still fits in 32 bits."""

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
"""Fields that only op ``pool`` uses, with their defaults."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is fixed about one call of a rule before it runs.

    Args:
        op: ``forward`` (a prefill or training sequence), ``decode`` (one token per sequence),
            ``backward`` (the gradients of either, computed from the inputs only) or ``pool`` (a few
            tokens per sequence, reading and writing slots of a pool of states).
        H, HV: query/key heads and value heads; HV is a multiple of H.
        K, V: head dims of q/k and of v, at most 256.
        dtype: element type of q, k, v and o: bf16, fp16 or fp32.
        tokens: tokens of the whole call, B * T.
        sequences: independent sequences, N; B when there is no ``cu_seqlens``.
        varlen: sequences are packed in one row, delimited by ``cu_seqlens``.
        initial_state, final_state: whether a state [N, HV, K, V] fp32 is an input, an output. For
            ``backward``: whether its gradient is an output, an input. For ``pool``: the first is
            always true; the second says that states are written in place, not to a tensor with one
            state per token.
        gate_in_kernel: g is raw, and the log decay is -exp(A_log) softplus(g + dt_bias).
        dt_bias: a ``dt_bias`` is given with ``gate_in_kernel``.
        state_dtype: element type of the pool.
        state_v_first: the pool is [slots, HV, V, K], not [slots, HV, K, V].
        verify: each sequence has one slot per token, for the state after it, not one slot.
        qk_l2norm: q and k are normalized to length 1 first.
        beta_sigmoid: beta is raw, and the writing strength is its sigmoid.
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
                    f"{name}={getattr(self, name)} with op={self.op!r}; only op 'pool' has it, "
                    "leave it out."
                )
        if self.H < 1:
            raise InvalidInput(f"H={self.H} query/key heads; it must be >= 1.")
        if self.HV % self.H:
            raise InvalidInput(
                f"HV={self.HV} value heads are not a multiple of H={self.H} query/key heads; "
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
        """The problem of this one's gradients.

        Args:
            final_state: whether the gradient of the final state is given.
        """
        return replace(self, op="backward", final_state=final_state)

    def bucket(self) -> Problem:
        """Round sizes up to powers of two, so that similar calls share a winner."""
        return replace(self, tokens=_pow2(self.tokens), sequences=_pow2(self.sequences))

    def without_sizes(self) -> Problem:
        """The problem with one token of one sequence; the source of a stage depends on no more."""
        return replace(self, tokens=1, sequences=1)

    def sizeless_id(self) -> str:
        """The problem's name without its numbers of sequences and tokens."""
        return self.without_sizes().id().replace("-N1-L1-", "-", 1)

    def id(self) -> str:
        """The problem's name, e.g. ``forward-scalar-delta-N1-L2048-H16-HV32-K128-V128-bf16-ht``.

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

        Fields of op ``pool`` are left out if they have the value in ``POOL_FACTS``.
        """
        facts = asdict(self)
        rule = facts.pop("rule")
        for name, usual in POOL_FACTS.items():
            if facts[name] == usual:
                del facts[name]
        return {**facts, "gate": rule["gate"], "delta": rule["delta"]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Problem:
        """The problem that ``facts()`` wrote, also before gradients were an op (field ``grad``)."""
        rest = {k: v for k, v in facts.items() if k not in ("gate", "delta", "grad")}
        return cls(rule=Rule(facts["gate"], facts["delta"]), **rest)


def _pow2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
