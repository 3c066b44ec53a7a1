"""HybridLanguageModel: embedding, a stack of blocks and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers import DeltaNetCache
from gdn_ops.layers.checks import check_counts
from gdn_ops.models.block import Block
from gdn_ops.models.config import HybridConfig


class HybridLanguageModel(nn.Module):
    """A language model with a pattern of mixers, such as the hybrids H1 and H2 of arXiv 2412.06464.

    There is no position embedding: the short convolutions, the gates and the rotary attention
    depend on position.

    Args:
        config: the sizes.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        if not isinstance(config, HybridConfig):
            raise InvalidInput(
                f"config is a {type(config).__name__}; give a gdn_ops.models.HybridConfig."
            )
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=config.hidden_size**-0.5)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: DeltaNetCache | None = None,
        use_cache: bool = False,
        *,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, DeltaNetCache | None]:
        """Logits of the next token at every token; continues from a cache if one is given.

        Args:
            input_ids: [B, T] int32 or int64.
            attention_mask: [B, at least T], 0 at padding and 1 elsewhere.
            cache: the cache of earlier calls; read and updated.
            use_cache: return a cache; a new one if none is given.
            cu_seqlens: [N + 1] int32 or int64, offsets of packed sequences in one row (B = 1).

        Returns:
            Logits [B, T, vocab_size] and the cache or None.

        Raises:
            InvalidInput: ``input_ids`` is not an integer tensor [B, T], mask and ``cu_seqlens`` are
                both given, or the cache holds other sequences.
        """
        if (
            not isinstance(input_ids, Tensor)
            or input_ids.dtype not in (torch.int32, torch.int64)
            or input_ids.dim() != 2
        ):
            raise InvalidInput(
                f"input_ids is {_described(input_ids)}; give token ids [B, T], int32 or int64."
            )
        cache = DeltaNetCache() if use_cache and cache is None else cache
        x = self.embedding(input_ids)
        for block in self.blocks:
            x = block(x, attention_mask, cache, cu_seqlens)
        return self.lm_head(self.norm(x)), cache

    @torch.no_grad()
    def generate(self, input_ids: Tensor, steps: int) -> Tensor:
        """The most likely next tokens, one call per token: [B, T] to [B, steps].

        Raises:
            InvalidInput: the prompt has no tokens, or ``steps`` is not an integer >= 1.
        """
        check_counts(steps=steps)
        if isinstance(input_ids, Tensor) and input_ids.dim() == 2 and input_ids.shape[1] == 0:
            raise InvalidInput(
                f"input_ids has shape {list(input_ids.shape)}; give each prompt at least one token."
            )
        cache, answer = DeltaNetCache(), []
        for _ in range(steps):
            logits, _ = self(input_ids, cache=cache)
            input_ids = logits[:, -1:].argmax(-1)
            answer.append(input_ids)
        return torch.cat(answer, dim=1)


def _described(x: object) -> str:
    return f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
