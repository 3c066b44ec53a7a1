"""C++ in a process that was forked after threads had computed."""

from __future__ import annotations

import ctypes
import os
import signal

import pytest
import torch

from gdn_ops.launch import cpp

SECONDS = 120
"""After which the child is taken to hang."""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(bool(cpp.why_no_cpp()), reason=cpp.why_no_cpp() or "C++ compiles here"),
]


def test_a_forked_child_computes_with_as_many_threads() -> None:
    tensor, threads, used = torch.zeros(1 << 17), torch.get_num_threads(), (ctypes.c_int * 2)()

    def compute() -> list[int]:
        """With PyTorch's threads, and which ran the two steps of a loop in C++."""
        tensor.add_(1)
        cpp.library(cpp.PROBE).probe(used)
        return sorted(used)

    torch.set_num_threads(2)
    try:
        assert compute() == [0, 1]
        child = os.fork()
        if child == 0:
            right = False
            try:
                signal.alarm(SECONDS)
                used[:] = [-1, -1]
                right = compute() == [0, 1]
            finally:
                os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, "it hung" if os.WIFSIGNALED(status) else "it computed something else"
        assert compute() == [0, 1]
    finally:
        torch.set_num_threads(threads)
