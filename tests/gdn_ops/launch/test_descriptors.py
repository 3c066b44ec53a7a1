"""Tensor descriptors of a Gluon stage: made once per place, without keeping the memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.kernels.scan_sm90 import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.launch import descriptors
from gdn_ops.launch.descriptors import Descriptors

PROBLEM = Problem(op="forward", H=2, HV=4, K=64, V=64, dtype="bf16", tokens=64, sequences=1)
CONFIG = {**defaults(PLANS["fused_sm90"].axes), **defaults(SPEC.axes)}


def made() -> Descriptors:
    return Descriptors(SPEC, PROBLEM, CONFIG, interpret=False)


def test_a_tensor_is_a_matrix_with_a_row_per_token() -> None:
    k = torch.zeros(3, 10, 2, 64, dtype=torch.bfloat16)
    descriptor = made().of("k", k)
    assert isinstance(descriptor, TensorDescriptor)
    assert descriptor.base.data_ptr() == k.data_ptr()
    assert (descriptor.shape, descriptor.strides) == ([30, 128], [128, 1])
    assert descriptor.block_shape == [64, 64]


def test_one_is_made_per_place_and_keeps_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known, k = made(), torch.zeros(1, 20, 2, 64, dtype=torch.bfloat16)
    first = known.of("k", k)
    assert known.of("k", k.view(1, 20, 2, 64)) is first
    assert known.of("k", k[:, :10]) is not first
    assert known.of("q", k) is not first
    gone = weakref.ref(k)
    del k
    assert gone() is None
    monkeypatch.setattr(descriptors, "MOST_PLACES", 2)
    kept = [torch.zeros(1, 8, 2, 64, dtype=torch.bfloat16) for _ in range(9)]
    for x in kept:
        known.of("k", x)
    assert len(known._known) <= 2


def test_without_tokens_there_is_still_a_descriptor() -> None:
    for shape in ((1, 0, 2, 64), (0, 5, 2, 64)):
        descriptor = made().of("q", torch.zeros(shape, dtype=torch.bfloat16))
        assert descriptor.shape == [1, 128]
