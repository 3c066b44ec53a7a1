"""Compare an output with its reference by the accuracy gate's measure."""

from __future__ import annotations

import torch


def rms_error(reference: torch.Tensor, out: torch.Tensor) -> float:
    """RMS(reference - out) / (RMS(reference) + 1e-8), in fp64."""
    reference, out = reference.double(), out.double()
    rms = reference.square().mean().sqrt() if reference.numel() else reference.new_zeros(())
    difference = (reference - out).square().mean().sqrt() if out.numel() else rms
    return float(difference / (rms + 1e-8))


def assert_close(name: str, reference: torch.Tensor, out: torch.Tensor, bar: float) -> None:
    """Fail with the error, the bar and the worst coordinate; NaN always fails."""
    assert out.shape == reference.shape, f"{name}: {list(out.shape)} != {list(reference.shape)}"
    error = rms_error(reference, out)
    if error <= bar:
        return
    gap = (reference.double() - out.double()).abs().nan_to_num(nan=float("inf"))
    worst = [int(i) for i in torch.unravel_index(gap.argmax(), gap.shape)]
    raise AssertionError(f"{name}: error {error:.3g} > {bar:g}; worst at {worst}: {gap.max():.3g}")
