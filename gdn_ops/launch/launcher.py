"""Launcher: a variant of a problem as something to call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from gdn_ops.codegen.interpreter import interpreting, patch_interpreter
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import RESULTS, running
from gdn_ops.codegen.tensor import Sizes
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

    Call it with a ``Call`` of that problem to get (o [B, T, HV, V], final state [N, HV, K, V] fp32
    or None). The sizes of the call are free; everything else is fixed by the problem.
    """

    def __init__(self, problem: Problem, variant: Variant, *, interpret: bool) -> None:
        self.problem, self.variant = problem, variant
        self.scale = problem.K**-0.5
        self.BT = int(dict(variant.interface).get("BT", 0))
        # tokens of a segment, of plans that cut sequences
        self.cut = int(dict(variant.interface).get("SEG", 0)) * self.BT
        self.stages = tuple(
            StageLauncher(KERNELS[name], problem, variant.config(name), interpret)
            for name, _ in variant.stages
        )
        languages = {stage.spec.language for stage in self.stages}
        self._triton, self._torch = "triton" in languages, "torch" in languages
        # plain PyTorch looks for tokens and slots on the host
        self._waits = not self._triton and (problem.varlen or problem.op == "pool")
        self._steps: dict[tuple[frozenset[str], frozenset[str]], Steps] = {}

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        o, ht, _ = self.leaving(call, ())
        return o, ht

    def leaving(
        self, call: Call, names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """The results of a call, and the tensors of these names that its stages made."""
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
        """Of a backward problem: the gradient of each wanted input that the call gives.

        dq, dk, dv have q's dtype, the others are fp32; tokens of no sequence have zeros.

        Args:
            wanted: inputs; stages that no gradient of theirs depends on do not run.
            given: tensors that the stages would make, by name; stages that make nothing else do
                not run either.
        """
        names = [n for n in DIFFERENTIABLE if n in wanted and getattr(call, n) is not None]
        if call.q.shape[0] == 0:  # no rows, so that only A_log and dt_bias have elements at all
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
        with _device_of(call.q), exact(call.q.device.type) if self._torch else nullcontext():
            workspace = self.workspace(call)
            if given:
                workspace.values.update({n: self._laid_out(x) for n, x in given.items()})
            for stage, dead in self.steps(frozenset(given or ()), wanted):
                stage.launch(workspace)
                for name in dead:
                    del workspace.values[name]
        return workspace.values

    def steps(self, given: frozenset[str] = frozenset(), wanted: frozenset[str] = ALL) -> Steps:
        """The stages that run, and by stage the tensors that no later one reads.

        Args:
            given: tensors that are there before any of them runs.
            wanted: tensors that are asked for.
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
        segments = B * max(-(-T // self.cut), 1) if self.cut else 0
        sizes = Sizes(B=B, T=T, N=B, NT=-(-T // self.BT) if self.BT else 0, NS=segments)
        workspace = Workspace(sizes, {"T": T, "scale": call.scale, "offsets": None})
        values = workspace.values
        for name in GIVEN:
            tensor = getattr(call, name)
            values[name] = self._laid_out(tensor) if self._triton else tensor
        if call.packing is not None:
            self._pack(call, workspace)
        return workspace

    def _pack(self, call: Call, workspace: Workspace) -> None:
        packing = call.packing
        assert packing is not None
        values, sizes, chunks, segments = workspace.values, workspace.sizes, 0, 0
        values["cu_seqlens"], values["offsets"] = packing.cu_seqlens, packing.offsets
        if self.BT and self._triton:
            values["chunk_indices"], values["chunk_offsets"], chunks = packing.chunks(self.BT)
        if self.cut:
            cu, sequence_of, offsets, segments = packing.segments(self.cut)
            values["cu_segments"], values["sequence_of"] = cu, sequence_of
            values["segment_offsets"] = offsets
        N = len(packing.offsets) - 1
        workspace.sizes = Sizes(B=sizes.B, T=sizes.T, N=N, NT=chunks, NS=segments)

    @staticmethod
    def _laid_out(tensor: torch.Tensor | None) -> torch.Tensor | None:
        """Contiguous and 16-byte aligned, as rendered kernels assume."""
        if tensor is None:
            return None
        tensor = tensor.contiguous()
        return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def bind(problem: Problem, variant: Variant, *, interpret: bool | None = None) -> Launcher:
    """Render and import a variant for a problem.

    Args:
        problem: supplies heads, head dims, dtype and flags; its sizes do not matter.
        variant: what to run; that it can run is the caller's question to ``Variant.reasons``.
        interpret: render for Triton's interpreter; None asks Triton whether it interprets.

    Raises:
        TemplateError: a template failed to render.
        LaunchError: the cache of rendered modules cannot be written.
    """
    if interpret is None:
        interpret = _triton_interprets(variant)
    if interpret:
        patch_interpreter()
    if problem.op == "pool":
        from gdn_ops.launch.pool_launcher import PoolLauncher

        return PoolLauncher(problem, variant, interpret=interpret)
    return Launcher(problem, variant, interpret=interpret)


def _dead(stages: Sequence[StageLauncher], wanted: Collection[str]) -> list[list[str]]:
    """By stage what earlier ones or itself made and no later one reads, the wanted apart."""
    last: dict[str, int] = {}
    for i, stage in enumerate(stages):
        read = (name for name in stage.arguments if name in last)
        last.update(dict.fromkeys((*read, *stage.outputs), i))
    return [
        [n for n, at in last.items() if at == i and n not in wanted] for i in range(len(stages))
    ]


def _clear_tail(call: Call, x: torch.Tensor) -> None:
    """Zero what a result [1, T, ...] says of tokens behind the last packed sequence."""
    if call.packing is not None and call.packing.offsets[-1] < call.q.shape[1]:
        x[:, call.packing.offsets[-1] :] = 0


def _triton_interprets(variant: Variant) -> bool:
    if all(KERNELS[name].language == "torch" for name, _ in variant.stages):
        return False
    return interpreting()


def _device_of(tensor: torch.Tensor) -> AbstractContextManager[Any]:
    if tensor.is_cuda and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return nullcontext()
