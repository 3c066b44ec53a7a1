"""How a job that raised has ended, where only the text of the error says it."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.errors import CompileError
from gdn_ops.workers.worker import status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("Triton Error [CUDA]: out of memory"), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "oom"),
        (CompileError("`ptxas` failed with error code -9"), "fault"),
        (CompileError("`ptxas` failed with error code: -15\nKilled"), "fault"),
        (CompileError("`ptxas` failed with error code 255"), "compile-error"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "error"),
    ],
)
def test_a_passing_fault_is_not_the_variants(error: Exception, status: str) -> None:
    assert status_of(error) == status
