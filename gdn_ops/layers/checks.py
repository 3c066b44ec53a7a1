"""Checks of what layers are built from and called with, before anything is computed."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real

from torch import Tensor

from gdn_ops.codegen.errors import shown
from gdn_ops.errors import InvalidInput
from gdn_ops.ops.checks import check_tensor


def check_counts(**counts: object) -> None:
    """Refuse sizes and numbers of things that are not integers >= 1.

    Raises:
        InvalidInput: names the argument and its value.
    """
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
            raise InvalidInput(f"{name}={shown(count)}; give an integer >= 1.")


def check_positive(**numbers: object) -> None:
    """Refuse factors that are not finite numbers > 0.

    Raises:
        InvalidInput: names the argument and its value.
    """
    for name, number in numbers.items():
        if not _is_finite(number) or number <= 0:  # type: ignore[operator]  # a real number here
            raise InvalidInput(f"{name}={shown(number)}; give a finite number > 0.")


def check_eps(**numbers: object) -> None:
    """Refuse eps of norms that are not finite numbers >= 0.

    Raises:
        InvalidInput: names the argument and its value.
    """
    for name, number in numbers.items():
        if not _is_finite(number) or number < 0:  # type: ignore[operator]  # a real number here
            raise InvalidInput(f"{name}={shown(number)}; give a finite number >= 0, e.g. 1e-5.")


def check_channels(name: str, x: Tensor, channels: int, rank: int | None = None) -> None:
    """Refuse what is not a dense floating-point tensor with so many channels in its last dim.

    Raises:
        InvalidInput: names the argument, its shape and the one it must have.
    """
    check_tensor(name, x)
    if (rank is not None and x.dim() != rank) or x.shape[-1:] != (channels,):
        shape = "[..., " if rank is None else "[B, T, "
        raise InvalidInput(
            f"{name} has shape {list(x.shape)}; it must be {shape}{channels}], channels last."
        )


def _is_finite(number: object) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and isfinite(number)
