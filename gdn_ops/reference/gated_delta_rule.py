"""The token-by-token reference with the arguments of ``chunk_gated_delta_rule``."""

from __future__ import annotations

import torch
from torch import Tensor

from gdn_ops.errors import InvalidInput
from gdn_ops.reference.activations import l2norm, log_decay, write_strength
from gdn_ops.reference.recurrent import recurrent_reference


def gated_delta_rule_reference(  # noqa: PLR0913  (the arguments of the op)
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    cu_seqlens: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Compute a call of ``chunk_gated_delta_rule`` token by token, for checks.

    The flags apply ``l2norm`` to q and k, ``log_decay`` to g and ``write_strength`` to beta before
    the rule. Nothing is rounded to q's dtype.

    Args:
        q, k, v, g, beta, scale, initial_state, cu_seqlens: as for ``recurrent_reference``.
        output_final_state: whether to return the final state.
        use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias, use_beta_sigmoid_in_kernel,
            allow_neg_eigval: as for ``chunk_gated_delta_rule``.
        dtype: the dtype of the computation and of the results; default: that of q, but at least
            float32.

    Returns:
        o [B, T, HV, V] and the final state [N, HV, K, V] or None.

    Raises:
        InvalidInput: a shape violates the contract, or a flag is set without its argument.
    """
    if use_gate_in_kernel and (g is None or A_log is None):
        raise InvalidInput(
            "use_gate_in_kernel=True, but g or A_log is None; give the raw g and A_log."
        )
    if use_beta_sigmoid_in_kernel and beta is None:
        raise InvalidInput("use_beta_sigmoid_in_kernel=True, but beta is None; give the raw beta.")
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise InvalidInput(
            "allow_neg_eigval=True needs use_beta_sigmoid_in_kernel=True; set both, or double beta."
        )
    dtype = dtype or torch.promote_types(q.dtype, torch.float32)
    q, k = q.to(dtype), k.to(dtype)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    if use_gate_in_kernel and g is not None and A_log is not None:
        g = log_decay(g.to(dtype), A_log.to(dtype), None if dt_bias is None else dt_bias.to(dtype))
    if use_beta_sigmoid_in_kernel and beta is not None:
        beta = write_strength(beta.to(dtype), allow_neg_eigval=allow_neg_eigval)
    o, final_state = recurrent_reference(
        q, k, v, g, beta,
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, dtype=dtype,
    )  # fmt: skip
    return o, final_state if output_final_state else None
