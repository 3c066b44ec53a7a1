"""StageLauncher: one stage of a variant, ready to launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.errors import CompileError, LaunchError
from gdn_ops.launch.descriptors import Descriptors
from gdn_ops.launch.kernel_launch import KernelLaunch
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.sources import origin

MOST_PROGRAMS = 65535
"""The limit of the second and third dimension of a CUDA grid."""
MOST_LAYOUTS = 64
"""Sizes whose layout a stage remembers; a served model sees ever new ones."""


@dataclass(slots=True)
class Workspace:
    """The tensors and run-time numbers of one call by name, which its stages read and write."""

    sizes: Sizes
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The outputs and the grid of a stage for some sizes.

    Args:
        outputs: name, shape and dtype of each output.
        grid: the number of programs in each dimension.
        programs: whether the grid has any program.
    """

    outputs: tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
    grid: tuple[int, ...]
    programs: bool


class StageLauncher:
    """One stage of a variant, its source imported. Triton compiles it at the first launch."""

    def __init__(self, spec: KernelSpec, problem: Problem, config: Config, interpret: bool) -> None:
        self.name = spec.name
        self.spec, self.problem, self.config = spec, problem, dict(config)
        self.source, module = origin().load(spec, problem, config, interpret=interpret)
        self.arguments = spec.arguments(problem, config)
        self.outputs = spec.outputs(problem, config)
        self.function: Callable[..., Any] = getattr(module, spec.name)
        if spec.cpp:
            from gdn_ops.launch.cpp import library

            self.function = partial(self.function, library(module.SOURCE))
        launch = {axis.name for axis in spec.axes if axis.launch}
        options = {name: value for name, value in config.items() if name in launch}
        self._launch = KernelLaunch(self.function, options)
        self._descriptors = Descriptors(spec, problem, config, interpret=interpret)
        described = {f"d_{name}": name for name in spec.blocks(problem, config)}
        self._parameters = [
            (described.get(name, name), name in described)
            for name in spec.parameters(problem, config)
        ]
        self._layouts: dict[Sizes, _Layout] = {}

    def launch(self, workspace: Workspace) -> None:
        """Run the stage: it reads its inputs from the workspace and stores its outputs there."""
        values = workspace.values
        if self.spec.language == "torch":
            arguments = [values[name] for name in self.arguments]
            values.update(zip(self.outputs, self.function(*arguments), strict=True))
            return
        device = values["q"].device
        layout = self.allocate(workspace, device)
        if not layout.programs:
            return
        if self.config.get("loads") == "descriptor":
            _give_triton_an_allocator()
        try:
            self._launch(layout.grid, self._given(values), device.index)
        except Exception as error:
            if not type(error).__module__.startswith("triton"):
                raise
            raise self._as_gdn_error(error, device) from error

    def _given(self, values: Mapping[str, Any]) -> list[Any]:
        """What the function is called with: tensors, their descriptors and numbers."""
        return [
            self._descriptors.of(name, values[name]) if described else values[name]
            for name, described in self._parameters
        ]

    def _as_gdn_error(self, error: Exception, device: torch.device) -> Exception:
        """Convert an exception of Triton to one of gdn-ops."""
        kind = CompileError if "Compil" in type(error).__name__ else LaunchError
        return kind(
            f"stage {self.name} with {self.config} failed on {device}: {error} "
            "Run `gdn tune` for this device, or use gdn_ops.using('torch')."
        )

    def allocate(self, workspace: Workspace, device: torch.device) -> _Layout:
        """Allocate the outputs that the workspace does not hold yet. Not for torch stages."""
        values, sizes = workspace.values, workspace.sizes
        layout = self._layouts.get(sizes)
        if layout is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[sizes] = self._layout(sizes)
        for name, shape, dtype in layout.outputs:
            if name not in values:
                values[name] = torch.empty(shape, dtype=dtype, device=device)
        return layout

    def _layout(self, sizes: Sizes) -> _Layout:
        outputs = []
        for name in self.outputs:
            tensor = TENSORS[name]
            dtype = torch_dtype(tensor.element(self.problem, self.config))
            outputs.append((name, tensor.dims(self.problem, self.config, sizes), dtype))
        grid = tuple(self.spec.grid(self.problem, self.config, sizes))
        if max(grid[1:], default=0) > MOST_PROGRAMS:
            raise LaunchError(
                f"stage {self.name} with {self.config} needs {max(grid[1:])} programs in a grid "
                f"dimension that is limited to {MOST_PROGRAMS}; give fewer tokens per call, or "
                "choose a variant with longer chunks with gdn_ops.using."
            )
        return _Layout(tuple(outputs), grid, 0 not in grid)


def _give_triton_an_allocator() -> None:
    """Set Triton's allocator: kernels that make tensor descriptors need memory for them."""
    import triton

    device = "cuda" if torch.cuda.is_available() else "cpu"
    triton.set_allocator(
        lambda size, alignment, stream: torch.empty(size, device=device, dtype=torch.int8)
    )
