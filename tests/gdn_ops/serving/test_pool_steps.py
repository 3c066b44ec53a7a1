"""Thousands of random steps of a serving engine on one pool, against the recurrence in fp64."""

from __future__ import annotations

from itertools import accumulate
from random import Random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from gdn_ops.dispatch.mode import using
from gdn_ops.reference import l2norm
from gdn_ops.serving import (
    fused_recurrent_gated_delta_rule_packed_decode,
    fused_sigmoid_gating_delta_rule_update,
)
from tests.close import assert_close

SLOTS, DRAFTS = 64, 4
H, HV, K, V = 1, 2, 4, 6
SCALE = K**-0.5
BAR = 1e-5


class Engine:
    """Requests with DRAFTS slots each, one of which holds the state, and a copy in fp64."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.random = Random(0)
        self.pool = torch.randn(SLOTS, HV, V, K)
        self.mirror = self.pool.double()
        self.A_log, self.dt_bias = torch.randn(HV), torch.randn(HV)
        self.free = list(range(SLOTS))
        self.slots: dict[int, list[int]] = {}
        self.accepted: dict[int, int] = {}
        self.born = 0
        self.touched: set[int] = set()

    def step(self) -> None:
        """Do one random step, and check that no other slot changes."""
        before, self.touched = self.pool.clone(), set()
        things = [self.admit, self.evict, *[self.decode, self.verify, self.verify_packed] * 4]
        self.random.choice(things)()
        changed = sorted(self.touched)
        assert_close("states", self.mirror[changed], self.pool[changed], BAR)
        kept = torch.ones(SLOTS, dtype=torch.bool)
        kept[changed] = False
        assert torch.equal(self.pool[kept], before[kept])

    def admit(self) -> None:
        """Add a request, with the state of its prefill in its first slot."""
        if len(self.free) < DRAFTS:
            return
        self.random.shuffle(self.free)
        self.slots[self.born] = [self.free.pop() for _ in range(DRAFTS)]
        self.accepted[self.born] = 1
        first = self.slots[self.born][0]
        self.born += 1
        self.pool[first] = torch.randn(HV, V, K)
        self.mirror[first] = self.pool[first].double()
        self.touched.add(first)

    def evict(self) -> None:
        if self.slots:
            request = self.random.choice(list(self.slots))
            self.free += self.slots.pop(request)
            del self.accepted[request]

    def batch(self) -> list[int | None]:
        """Return some requests in random order, with None for rows of padding."""
        count = self.random.randint(0, min(8, len(self.slots)))
        rows = [*self.random.sample(list(self.slots), count), *[None] * self.random.randint(0, 2)]
        self.random.shuffle(rows)
        return rows or [None]

    def decode(self) -> None:
        """Decode one token of each request, in place."""
        rows = self.batch()
        slots = [-1 if r is None else self.slots[r][self.accepted[r] - 1] for r in rows]
        x = self.inputs(len(rows), 1)
        right = self.expected(x, slots, [[slot] for slot in slots], [1] * len(rows))
        index = torch.tensor(slots, dtype=torch.int32)
        if self.random.random() < 0.5:
            mixed = torch.cat([x[name].flatten(1) for name in ("q", "k", "v")], dim=1)
            o = torch.full((len(rows), 1, HV, V), float("nan"))
            fused_recurrent_gated_delta_rule_packed_decode(
                mixed, x["a"][:, 0], x["b"][:, 0], self.A_log, self.dt_bias, SCALE, self.pool, o,
                index, use_qk_l2norm_in_kernel=True,
            )  # fmt: skip
        else:
            o = self.call(x, index)
        assert_close("o", right, o, BAR)

    def verify(self) -> None:
        """Verify up to DRAFTS tokens of each request, one slot per token; some are rejected."""
        rows, T = self.batch(), self.random.randint(1, DRAFTS)
        x = self.inputs(len(rows), T)
        index, accepted, first = self.table(rows)
        right = self.expected(x, first, index, [T] * len(rows))
        o = self.call(x, torch.tensor(index), torch.tensor(accepted))
        assert_close("o", right, o, BAR)
        self.accept(rows, [T] * len(rows))

    def verify_packed(self) -> None:
        """Verify 0 to DRAFTS tokens of each request, packed, with padding at the end."""
        rows = self.batch()
        lengths = [self.random.randint(0, DRAFTS) for _ in rows]
        x = self.inputs(len(rows), DRAFTS)
        index, accepted, first = self.table(rows)
        right = self.expected(x, first, index, lengths)
        tail = self.random.randint(0, 2)
        packed = {
            name: torch.cat([value[n, :m] for n, m in enumerate(lengths)] + [value[0, :tail]])[None]
            for name, value in x.items()
        }
        cu_seqlens = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        o = self.call(packed, torch.tensor(index), torch.tensor(accepted), cu_seqlens)
        wanted = [right[n, :m] for n, m in enumerate(lengths)] + [torch.zeros_like(right[0, :tail])]
        assert_close("o", torch.cat(wanted)[None], o, BAR)
        self.accept(rows, lengths)

    def table(self, rows: list[int | None]) -> tuple[list[list[int]], list[int], list[int]]:
        """Return each row's slots, its accepted tokens, and the slot that it starts from."""
        index = [[-1] * DRAFTS if r is None else self.slots[r] for r in rows]
        accepted = [1 if r is None else self.accepted[r] for r in rows]
        return index, accepted, [own[n - 1] for own, n in zip(index, accepted, strict=True)]

    def accept(self, rows: list[int | None], lengths: list[int]) -> None:
        for r, count in zip(rows, lengths, strict=True):
            if r is not None and count:
                self.accepted[r] = self.random.randint(1, count)

    def inputs(self, N: int, T: int) -> dict[str, Tensor]:
        return {
            "q": torch.randn(N, T, H, K),
            "k": torch.randn(N, T, H, K),
            "v": torch.randn(N, T, HV, V),
            "a": torch.randn(N, T, HV),
            "b": torch.randn(N, T, HV),
        }

    def call(
        self,
        x: dict[str, Tensor],
        index: Tensor,
        accepted: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        o, pool = fused_sigmoid_gating_delta_rule_update(
            self.A_log, dt_bias=self.dt_bias, **x, initial_state=self.pool, cu_seqlens=cu_seqlens,
            ssm_state_indices=index, num_accepted_tokens=accepted, use_qk_l2norm_in_kernel=True,
        )  # fmt: skip
        assert pool is self.pool
        return o

    def expected(
        self, x: dict[str, Tensor], first: list[int], index: list[list[int]], lengths: list[int]
    ) -> Tensor:
        """Return o [N, T, HV, V] of the recurrence, and update the fp64 states."""
        q, k, v, a, b = (x[name].double() for name in ("q", "k", "v", "a", "b"))
        q, k = (l2norm(y).expand(-1, -1, HV, -1) for y in (q, k))
        decay = (-self.A_log.double().exp() * softplus(a + self.dt_bias.double())).exp()
        beta, o = b.sigmoid(), torch.zeros(v.shape, dtype=torch.float64)
        live = [n for n, slot in enumerate(first) if slot >= 0]
        S = self.mirror[[first[n] for n in live]]
        for t in range(v.shape[1]):
            S = decay[live, t, :, None, None] * S
            u = v[live, t] - torch.einsum("nhvk,nhk->nhv", S, k[live, t])
            S = S + torch.einsum("nhv,nhk->nhvk", beta[live, t, :, None] * u, k[live, t])
            o_t = SCALE * torch.einsum("nhvk,nhk->nhv", S, q[live, t])
            for i, n in enumerate(live):
                if t < lengths[n]:
                    o[n, t], self.mirror[index[n][t]] = o_t[i], S[i]
                    self.touched.add(index[n][t])
        return o


@pytest.mark.parametrize("steps", [2_000, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_thousands_of_steps(steps: int) -> None:
    engine = Engine()
    with using("torch"):
        for _ in range(steps):
            engine.step()
    assert engine.born > SLOTS // DRAFTS, "every slot was used again"
