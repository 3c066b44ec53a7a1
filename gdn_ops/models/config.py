"""HybridConfig: the sizes of a stack of token mixers."""

from __future__ import annotations

from dataclasses import dataclass

from gdn_ops.codegen.errors import shown
from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers.checks import check_counts, check_eps

MIXERS = ("gdn", "deltanet", "mamba2", "gla", "swa", "attention")
"""Gated DeltaNet, DeltaNet, Mamba2 and gated linear attention (no delta rule), attention over a
sliding window and over all earlier tokens."""

HYBRIDS = {
    "H1": ("gdn", "swa"),
    "H2": ("mamba2", "gdn", "swa"),
    "deltanet-swa": ("deltanet", "swa"),
}
"""The mixers of one period of a hybrid stack: H1 and H2 of arXiv 2412.06464, section 3.4, and the
DeltaNet hybrid of arXiv 2406.06484 with sliding-window attention."""

GLOBAL_HYBRID = "deltanet-attention"
"""The other hybrid of arXiv 2406.06484: DeltaNet with global attention in two layers, the second
and the one after half of the stack."""

PATTERNS = (*HYBRIDS, GLOBAL_HYBRID, *MIXERS)
"""The names of patterns."""


@dataclass(frozen=True)
class HybridConfig:
    """A stack whose layer i has the mixer pattern[i % len(pattern)].

    Every recurrent mixer has num_heads states of [head_dim, head_dim], so that models with
    different mixers have memories of the same size.

    Args:
        pattern: the name of a hybrid (``H1``, ``H2``, ``deltanet-swa``, ``deltanet-attention``),
            one of ``MIXERS`` for a stack of one kind, or a tuple of them.
        vocab_size: number of different tokens.
        hidden_size: width of the residual stream.
        num_layers: blocks, each a mixer and an MLP.
        num_heads: heads of every mixer.
        head_dim: K and V of the recurrent mixers; attention's is hidden_size / num_heads.
        intermediate_size: hidden width of the MLPs; default: 3 * hidden_size.
        window_size: tokens that each token attends to, itself included.
        conv_size: taps (kernel size) of the short convolutions.
        norm_eps: eps of the norms.
        tie_embeddings: whether the head and the embedding share one weight.

    Raises:
        UnknownName: a mixer is unknown.
        InvalidInput: the pattern is empty or not a name or tuple, or a size is out of range.
    """

    pattern: str | tuple[str, ...] = "H1"
    vocab_size: int = 256
    hidden_size: int = 128
    num_layers: int = 2
    num_heads: int = 2
    head_dim: int = 32
    intermediate_size: int | None = None
    window_size: int = 64
    conv_size: int = 4
    norm_eps: float = 1e-6
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str | tuple):
            raise InvalidInput(
                f"pattern={shown(self.pattern)} is a {type(self.pattern).__name__}; "
                "give a name or a tuple of names."
            )
        check_counts(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            window_size=self.window_size,
            conv_size=self.conv_size,
        )
        for mixer in self.period:
            if mixer not in MIXERS:
                raise UnknownName.of("mixer", mixer, PATTERNS)
        if not self.period:
            raise InvalidInput(f"pattern=() has no mixers; name one of {', '.join(MIXERS)}.")
        if self.intermediate_size is not None:
            check_counts(intermediate_size=self.intermediate_size)
        check_eps(norm_eps=self.norm_eps)

    @property
    def period(self) -> tuple[str, ...]:
        """The mixers that repeat; of the hybrid with global attention, those of the whole stack."""
        if isinstance(self.pattern, tuple):
            return self.pattern
        if self.pattern == GLOBAL_HYBRID:
            attention = {1, self.num_layers // 2}
            layers = range(self.num_layers)
            return tuple("attention" if i in attention else "deltanet" for i in layers)
        return HYBRIDS.get(self.pattern, (self.pattern,))

    @property
    def mixers(self) -> tuple[str, ...]:
        """The mixer of each layer."""
        return tuple(self.period[i % len(self.period)] for i in range(self.num_layers))
