"""Rows: a call with one row per (sequence, value head), the form that both references use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gdn_ops.errors import InvalidInput


@dataclass(frozen=True)
class PaddedSequences:
    """How packed sequences are padded to one length each, and packed again.

    Args:
        index: [N, T] long, the packed position of token t of sequence n; padding points anywhere.
        valid: [N, T] bool, false on padding.
        tokens: length of the packed axis.
    """

    index: Tensor
    valid: Tensor
    tokens: int

    @classmethod
    def of(cls, cu_seqlens: Tensor, *, batch: int, tokens: int) -> PaddedSequences:
        """Read ``cu_seqlens`` [N+1]; empty sequences and a tail nobody owns are allowed."""
        if batch != 1:
            raise InvalidInput(
                f"batch size {batch} with cu_seqlens; packed sequences share one row, "
                "so reshape q, k, v, g and beta to batch size 1."
            )
        cu = cu_seqlens.long()
        lengths = cu.diff()
        if lengths.numel() == 0 or bool((lengths < 0).any()) or cu[0] < 0 or cu[-1] > tokens:
            raise InvalidInput(
                f"cu_seqlens {cu.tolist()} must hold N+1 non-decreasing offsets within "
                f"0..{tokens}; build it as the cumulative sum of the sequence lengths."
            )
        position = torch.arange(int(lengths.max()), device=cu.device)
        index = (cu[:-1, None] + position).clamp(max=max(tokens - 1, 0))
        return cls(index, position < lengths[:, None], tokens)

    def pad(self, x: Tensor) -> Tensor:
        """[1, tokens, ...] -> [N, T, ...], padded with zeros.

        A zero token is a no-op of every rule: it decays by exp(0) and writes nothing.
        """
        valid = self.valid.reshape(*self.valid.shape, *[1] * (x.ndim - 2))
        # where, not a product: what lies outside the sequences may be NaN
        return torch.where(valid, x[0][self.index], torch.zeros((), dtype=x.dtype, device=x.device))

    def pack(self, x: Tensor) -> Tensor:
        """[N, T, ...] -> [1, tokens, ...], zero where no sequence has a token."""
        out = x.new_zeros(self.tokens, *x.shape[2:])
        return out.index_put((self.index[self.valid],), x[self.valid])[None]


@dataclass(frozen=True)
class Rows:
    """One call with a row per (sequence, value head), R = N * HV, in the dtype of the computation.

    Args:
        q: [R, T, K], already multiplied by ``scale``.
        k: [R, T, K].
        v: [R, T, V].
        g: [R, T, 1] (one log decay per head), [R, T, K] (one per key channel) or None.
        beta: [R, T, 1], or None without the delta term.
        state: [R, K, V], the initial state.
        heads: HV.
        padded: how to return to packed tokens; None for a batch.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor | None
    beta: Tensor | None
    state: Tensor
    heads: int
    padded: PaddedSequences | None

    @classmethod
    def of(  # noqa: PLR0913  (the arguments of the rule)
        cls,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor | None,
        beta: Tensor | None,
        *,
        delta: bool,
        scale: float | None,
        initial_state: Tensor | None,
        cu_seqlens: Tensor | None,
        dtype: torch.dtype | None,
    ) -> Rows:
        """Cast, pad packed sequences, repeat key heads for value heads, and fold the heads."""
        batch, tokens, key_heads, key_dim = k.shape
        heads, value_dim = v.shape[-2:]
        _check(q, k, v, g, beta, delta=delta)
        dtype = dtype or torch.promote_types(q.dtype, torch.float32)
        padded = None
        if cu_seqlens is not None:
            padded = PaddedSequences.of(cu_seqlens, batch=batch, tokens=tokens)

        def fold(x: Tensor) -> Tensor:  # [B, T, heads, D] -> [R, T, D]
            x = x.to(dtype) if padded is None else padded.pad(x.to(dtype))
            if x.shape[2] != heads:
                x = x.repeat_interleave(heads // key_heads, dim=2)
            return x.transpose(1, 2).flatten(0, 1).contiguous()

        if delta and beta is None:
            beta = torch.ones_like(v[..., 0])
        sequences = batch if padded is None else padded.index.shape[0]
        state_shape = (sequences, heads, key_dim, value_dim)
        if initial_state is None:
            initial_state = torch.zeros(state_shape, dtype=dtype, device=v.device)
        if initial_state.shape != state_shape:
            raise InvalidInput(
                f"initial_state {tuple(initial_state.shape)} is not [N, HV, K, V] = {state_shape}; "
                "give one [K, V] state per sequence and value head."
            )
        return cls(
            q=fold(q) * (key_dim**-0.5 if scale is None else scale),
            k=fold(k),
            v=fold(v),
            g=None if g is None else fold(g if g.ndim == 4 else g[..., None]),
            beta=None if beta is None else fold(beta[..., None]),
            state=initial_state.to(dtype).flatten(0, 1),
            heads=heads,
            padded=padded,
        )

    def outputs(self, o: Tensor) -> Tensor:
        """[R, T, V] -> [B, T, HV, V]."""
        o = o.reshape(len(o) // self.heads, self.heads, *o.shape[1:]).transpose(1, 2)
        return o if self.padded is None else self.padded.pack(o)

    def states(self, state: Tensor) -> Tensor:
        """[R, K, V] -> [N, HV, K, V]."""
        return state.reshape(len(state) // self.heads, self.heads, *state.shape[1:])


def _check(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor | None, *, delta: bool
) -> None:
    """Check the shapes; broadcasting a wrong shape would compute another recurrence."""
    per_head = v.shape[:-1]
    key_heads, heads = k.shape[2], v.shape[2]
    if q.shape != k.shape or k.shape[:2] != v.shape[:2] or heads % key_heads:
        raise InvalidInput(
            f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} are not [B, T, H, K], "
            "[B, T, H, K], [B, T, HV, V] with HV a multiple of H; the dimension of the heads must "
            "follow that of the tokens."
        )
    if g is not None and g.shape not in (per_head, (*per_head, k.shape[-1])):
        raise InvalidInput(
            f"g {tuple(g.shape)} is neither [B, T, HV] = {tuple(per_head)} nor [B, T, HV, K] with "
            f"K = {k.shape[-1]}; give one log decay per value head or key channel."
        )
    if beta is not None and beta.shape != per_head:
        raise InvalidInput(
            f"beta {tuple(beta.shape)} is not [B, T, HV] = {tuple(per_head)}; "
            "give one writing strength per value head."
        )
    if beta is not None and not delta:
        raise InvalidInput(
            "beta is given with delta=False, which does not use it; multiply v by it instead."
        )
