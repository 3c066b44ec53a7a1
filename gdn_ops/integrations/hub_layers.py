"""The layers of an exported library that Hugging Face's ``kernels`` puts into models.

``kernelize`` replaces a function of transformers by the ``forward`` of a layer. The layer must be a
class without a constructor and without members of its own other than the two flags, and ``forward``
must have as many parameters as the function, of the same kinds. They have the names by which
transformers asks for them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gdn_ops.integrations.convolution import check_served, convolve, update
from gdn_ops.integrations.transformers import chunk, recurrent


class chunk_gated_delta_rule(nn.Module):
    """Runs ``chunk_gated_delta_rule`` of transformers: prefill and training."""

    can_torch_compile = True
    has_backward = True

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        g: Tensor,
        beta: Tensor,
        chunk_size: int = 64,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        use_qk_l2norm_in_kernel: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the outputs [B, T, HV, V] in the dtype of value and the final state, if wanted.

        Args:
            query, key: [B, T, H, K].
            value: [B, T, HV, V], HV a multiple of H.
            g: log decays [B, T, HV].
            beta: [B, T, HV].
            chunk_size: is not read; the chunks are those of the tuned kernel.
            initial_state: [N, HV, K, V] in fp32.
            kwargs: ``cu_seqlens``; others are not read.

        Raises:
            UnsupportedProblem: the library was not exported for these heads, head dims and dtype.
        """
        return chunk(
            query, key, value, g, beta, initial_state=initial_state,
            output_final_state=output_final_state,
            use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel, **kwargs,
        )  # fmt: skip


class recurrent_gated_delta_rule(nn.Module):
    """Runs ``fused_recurrent_gated_delta_rule`` of transformers: decode."""

    can_torch_compile = True
    has_backward = True

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        g: Tensor,
        beta: Tensor,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        use_qk_l2norm_in_kernel: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what ``chunk_gated_delta_rule`` returns, for the same arguments."""
        return recurrent(
            query, key, value, g, beta, initial_state=initial_state,
            output_final_state=output_final_state,
            use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel, **kwargs,
        )  # fmt: skip


class causal_conv1d_fn(nn.Module):
    """Runs ``causal_conv1d_fn`` of transformers on the CPU: prefill and training."""

    can_torch_compile = True
    has_backward = True

    def forward(
        self,
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the convolved tokens, [B, D, T].

        Args:
            hidden_states: [B, D, T].
            weight: [D, W].
            bias: [D].
            activation: None, ``silu`` or ``swish``.
            kwargs: are not read, but for ``cu_seqlens`` and ``seq_idx``, which must be None.

        Raises:
            UnsupportedProblem: packed sequences, another activation or device.
        """
        check_served(hidden_states, activation, kwargs)
        return convolve(hidden_states, weight, bias, activation)


class causal_conv1d_update(nn.Module):
    """Runs ``causal_conv1d_update`` of transformers on the CPU: decode."""

    can_torch_compile = True
    has_backward = True

    def forward(
        self,
        hidden_states: Tensor,
        conv_state: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
    ) -> Tensor:
        """Return the convolved tokens, and put them into ``conv_state`` [B, D, S].

        The other arguments and errors are those of ``causal_conv1d_fn``.
        """
        check_served(hidden_states, activation, {})
        return update(hidden_states, conv_state, weight, bias, activation)
