"""Launcher: a variant bound to a problem, ready to call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import RESULTS, running
from gdn_ops.codegen.tensor import Sizes, segment_tokens
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.call import DIFFERENTIABLE, TOKEN_INPUTS, Call, check_decay
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.launch.precision import exact
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace

GIVEN = (*DIFFERENTIABLE, "do", "dht")

ALL = frozenset(RESULTS)


Steps = list[tuple[StageLauncher, list[str]]]


class Launcher:
    """A variant bound to a problem.

    Calling it with a ``Call`` of that problem returns o [B, T, HV, V] and the final state
    [N, HV, K, V] in fp32, or None if the problem has none. The sizes of the call (tokens and
    sequences) are free; the problem fixes everything else.

    Args:
        problem: the problem.
        variant: the variant to run.
        interpret: whether to render for Triton's interpreter.
    """

    def __init__(self, problem: Problem, variant: Variant, *, interpret: bool) -> None:
        self.problem, self.variant = problem, variant
        self.scale = problem.K**-0.5
        self.BT = int(dict(variant.interface).get("BT", 0))
        self.segment = segment_tokens(dict(variant.interface))
        self.stages = tuple(
            StageLauncher(KERNELS[name], problem, variant.config(name), interpret)
            for name, _ in variant.stages
        )
        self._compiled = any(stage.spec.compiled for stage in self.stages)
        self._torch = not all(stage.spec.compiled for stage in self.stages)
        # Plain PyTorch reads offsets and slots on the host, so the call waits for the GPU.
        self._waits = not self._compiled and (problem.varlen or problem.op == "pool")
        self._steps: dict[tuple[frozenset[str], frozenset[str]], Steps] = {}

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        o, ht, _ = self.run_and_save(call, ())
        return o, ht

    def run_and_save(
        self, call: Call, names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """Return the results of a call, and the tensors of these names from its stages."""
        check_decay(call)
        values = self._run(call, wanted=ALL.union(names) if names else ALL)
        _clear_tail(call, values["o"])
        ht = values["ht"] if self.problem.final_state else None
        return values["o"], ht, [values[name] for name in names]

    def gradients(
        self,
        call: Call,
        wanted: Collection[str] = DIFFERENTIABLE,
        given: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the gradients of a call; the problem must be a backward.

        dq, dk and dv have q's dtype, the others are fp32. Tokens that belong to no sequence have
        zero gradients.

        Args:
            call: the call, with ``do`` and perhaps ``dht``.
            wanted: names of inputs; only the stages that their gradients depend on run.
            given: tensors by name that the forward saved; stages that would only compute these
                do not run.

        Returns:
            The gradient of each wanted input that the call has, by name (``dq``, ``dk``, ...).
        """
        names = [n for n in DIFFERENTIABLE if n in wanted and getattr(call, n) is not None]
        if call.q.shape[0] == 0:  # an empty batch: only A_log and dt_bias have elements
            return {f"d{name}": torch.zeros_like(getattr(call, name)) for name in names}
        values = self._run(call, given or {}, frozenset(f"d{name}" for name in names))
        for name in names:
            if name in TOKEN_INPUTS:
                _clear_tail(call, values[f"d{name}"])
        return {f"d{name}": values[f"d{name}"] for name in names}

    def _run(
        self,
        call: Call,
        given: Mapping[str, torch.Tensor] | None = None,
        wanted: frozenset[str] = ALL,
    ) -> dict[str, Any]:
        if self._waits:
            refuse_capture(call.q.device, f"plan {self.variant.plan}, which waits for the GPU,")
        with device_of(call.q), exact(call.q.device.type) if self._torch else nullcontext():
            workspace = self.workspace(call)
            if given:
                workspace.values.update({n: self._laid_out(x) for n, x in given.items()})
            for stage, dead in self.steps(frozenset(given or ()), wanted):
                stage.launch(workspace)
                for name in dead:
                    del workspace.values[name]
        return workspace.values

    def steps(self, given: frozenset[str] = frozenset(), wanted: frozenset[str] = ALL) -> Steps:
        """Return the stages that run, each with the tensors that no later stage reads.

        Args:
            given: names of tensors that exist before the first stage runs.
            wanted: names of the requested tensors.
        """
        steps = self._steps.get((given, wanted))
        if steps is None:
            names = running(self.variant, self.problem, given, wanted)
            stages = [stage for stage in self.stages if stage.name in names]
            steps = list(zip(stages, _dead(stages, wanted), strict=True))
            self._steps[given, wanted] = steps
        return steps

    def workspace(self, call: Call) -> Workspace:
        """The inputs of a call; every stage makes room for what it writes."""
        B, T = call.q.shape[:2]
        sizes = Sizes.dense(B, T, self.BT, self.segment)
        workspace = Workspace(sizes, {"T": T, "scale": call.scale, "offsets": None})
        values = workspace.values
        for name in GIVEN:
            tensor = getattr(call, name)
            values[name] = self._laid_out(tensor) if self._compiled else tensor
        if call.packing is not None:
            self._pack(call, workspace)
        return workspace

    def _pack(self, call: Call, workspace: Workspace) -> None:
        packing = call.packing
        assert packing is not None
        values, sizes, chunks, segments = workspace.values, workspace.sizes, 0, 0
        values["cu_seqlens"], values["offsets"] = packing.cu_seqlens, packing.offsets
        if self.BT and self._compiled:
            values["chunk_indices"], values["chunk_offsets"], chunks = packing.chunks(self.BT)
        if self.segment:
            cu, sequence_of, offsets, segments = packing.segments(self.segment)
            values["cu_segments"], values["sequence_of"] = cu, sequence_of
            values["segment_offsets"] = offsets
        N = len(packing.offsets) - 1
        workspace.sizes = Sizes(B=sizes.B, T=sizes.T, N=N, NT=chunks, NS=segments)

    @staticmethod
    def _laid_out(tensor: torch.Tensor | None) -> torch.Tensor | None:
        """Return the tensor contiguous and aligned to 16 bytes, as rendered kernels assume."""
        if tensor is None:
            return None
        tensor = tensor.contiguous()
        return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _dead(stages: Sequence[StageLauncher], wanted: Collection[str]) -> list[list[str]]:
    """Return for each stage the existing tensors that no later stage reads and nobody wants."""
    last: dict[str, int] = {}
    for i, stage in enumerate(stages):
        read = (name for name in stage.arguments if name in last)
        last.update(dict.fromkeys((*read, *stage.outputs), i))
    return [
        [n for n, at in last.items() if at == i and n not in wanted] for i in range(len(stages))
    ]


def _clear_tail(call: Call, x: torch.Tensor) -> None:
    """Set a result [1, T, ...] to zero at the tokens after the last packed sequence."""
    if call.packing is not None and call.packing.offsets[-1] < call.q.shape[1]:
        x[:, call.packing.offsets[-1] :] = 0


def device_of(tensor: torch.Tensor) -> AbstractContextManager[Any]:
    """Context manager: the tensor's GPU is the current one; nothing for a tensor on the CPU."""
    if tensor.is_cuda and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return nullcontext()
