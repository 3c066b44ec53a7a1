"""A stand-in GPU: an H200 as far as gdn-ops and PyTorch ask, its kernels interpreted on the CPU.

For a process that is for nothing else: ``python -m tests.stand_in pytest tests/gpu`` makes one.
"""

from __future__ import annotations


def install() -> None:
    """Make this process and its tensors believe in the GPU; nothing is ever put back."""
    from tests.stand_in import cuda, engine, factories, kernels

    for part in (cuda, factories, engine, kernels):
        part.install()
