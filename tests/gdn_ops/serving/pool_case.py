"""A call on a pool of states, and its result by the recurrence in fp64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.mode import using
from gdn_ops.reference import gated_delta_rule_reference
from gdn_ops.serving import fused_sigmoid_gating_delta_rule_update
from gdn_ops.verify.poison import poisoned_memory
from tests.close import assert_close

SCALE = 0.37
BARS = {torch.float32: 1e-5, torch.float16: 0.005, torch.bfloat16: 0.005}


@dataclass(frozen=True, kw_only=True)
class PoolCase:
    """Sizes and values of a call of ``fused_sigmoid_gating_delta_rule_update``.

    Args:
        T: tokens of each sequence, or of the row that ``offsets`` cuts.
        slots: of each sequence, one or one a token.
        gap: elements between two slots of the pool.
    """

    T: int = 1
    H: int = 1
    HV: int = 2
    K: int = 16
    V: int = 24
    dtype: torch.dtype = torch.float32
    state: torch.dtype = torch.float32
    v_first: bool = True
    slots: tuple[int, ...] | tuple[tuple[int, ...], ...] = (3, -1, 0, 5)
    accepted: tuple[int, ...] | None = None
    offsets: tuple[int, ...] | None = None
    pool_size: int = 7
    gap: int = 0
    l2: bool = True
    index: torch.dtype = torch.int32

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The arguments of the call; tokens that belong to no sequence are NaN."""
        torch.manual_seed(0)
        B = len(self.slots) if self.offsets is None else 1
        x = {
            "a": torch.randn(B, self.T, self.HV),
            "b": torch.randn(B, self.T, self.HV),
            "q": torch.randn(B, self.T, self.H, self.K),
            "k": torch.randn(B, self.T, self.H, self.K) / self.K**0.5,
            "v": torch.randn(B, self.T, self.HV, self.V),
        }
        if self.offsets is not None:
            for value in x.values():
                value[:, self.offsets[-1] :] = float("nan")
        accepted, offsets = self.accepted, self.offsets
        return {
            **{name: value.to(self.dtype) for name, value in x.items()},
            "A_log": torch.randn(self.HV),
            "dt_bias": torch.randn(self.HV),
            "scale": SCALE,
            "ssm_state_indices": torch.tensor(self.slots, dtype=self.index),
            "num_accepted_tokens": None
            if accepted is None
            else torch.tensor(accepted, dtype=self.index),
            "cu_seqlens": None if offsets is None else torch.tensor(offsets, dtype=self.index),
            "use_qk_l2norm_in_kernel": self.l2,
            "state_v_first": self.v_first,
        }

    def room(self) -> Tensor:
        """The memory of a pool [slots, gap + HV K V]."""
        torch.manual_seed(1)
        return torch.randn(self.pool_size, self.gap + self.HV * self.K * self.V).to(self.state)

    def pool(self, room: Tensor) -> Tensor:
        """The pool as a view of its memory, with gaps between the slots."""
        rows = (self.V, self.K) if self.v_first else (self.K, self.V)
        return room[:, self.gap :].unflatten(1, (self.HV, *rows))

    def check(self, plan: str | Variant, **changes: Any) -> None:
        """Run the call on a plan, and compare o and the pool with the recurrence."""
        room, before = self.room(), self.room()
        pool = self.pool(room)
        with using(plan), poisoned_memory():
            o, returned = fused_sigmoid_gating_delta_rule_update(
                **{**self.inputs, **changes}, initial_state=pool
            )
        assert returned is pool
        right, states = self.expected(self.pool(before))
        assert o.dtype == self.dtype
        assert_close("o", right, o, BARS[self.dtype])
        assert not o[right == 0].any()
        bar = max(BARS[self.dtype], BARS[self.state])
        for slot, state in states.items():
            assert_close(f"slot {slot}", state, pool[slot], bar)
            pool[slot] = self.pool(before)[slot]
        assert torch.equal(room, before), "memory outside the used slots was written"

    def expected(self, pool: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Return o, and the state in each used slot after the call, in fp64."""
        o = torch.zeros(self.inputs["v"].shape, dtype=torch.float64)
        states: dict[int, Tensor] = {}
        for n in range(len(self.slots)):
            row, tokens = (n, range(self.T)) if self.offsets is None else (0, self._tokens(n))
            names = self._slots(n)
            first = names[0 if self.accepted is None else self.accepted[n] - 1]
            if first < 0:
                continue
            S = pool[first : first + 1].double()
            S = S.mT if self.v_first else S
            for i, t in enumerate(tokens):
                o[row, t], S = self._token(row, t, S)
                last = len(names) == 1 and t == tokens[-1]
                slot = names[0] if last else names[i] if len(names) > 1 else -1
                if slot >= 0:
                    states[slot] = (S.mT if self.v_first else S)[0]
        return o, states

    def _token(self, row: int, t: int, S: Tensor) -> tuple[Tensor, Tensor]:
        x = {
            name: self.inputs[name][row : row + 1, t : t + 1] for name in ("q", "k", "v", "a", "b")
        }
        o, S_new = gated_delta_rule_reference(
            x["q"], x["k"], x["v"], x["a"], x["b"],
            scale=SCALE, initial_state=S, output_final_state=True,
            use_qk_l2norm_in_kernel=self.l2, use_gate_in_kernel=True,
            A_log=self.inputs["A_log"], dt_bias=self.inputs["dt_bias"],
            use_beta_sigmoid_in_kernel=True, dtype=torch.float64,
        )  # fmt: skip
        assert S_new is not None
        return o[0, 0], S_new

    def _slots(self, n: int) -> tuple[int, ...]:
        slots = self.slots[n]
        return slots if isinstance(slots, tuple) else (slots,)

    def _tokens(self, n: int) -> range:
        assert self.offsets is not None
        return range(*list(pairwise(self.offsets))[n])

    def with_(self, **changes: object) -> PoolCase:
        return replace(self, **changes)  # type: ignore[arg-type]
