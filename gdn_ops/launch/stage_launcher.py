"""StageLauncher: one stage of a variant as something to launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.errors import CompileError, LaunchError
from gdn_ops.launch.kernel_launch import KernelLaunch
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.results_path import cache_folder

MOST_PROGRAMS = 65535
"""Of a CUDA grid's second and third dimension."""
MOST_LAYOUTS = 64
"""Sizes that a stage remembers; a model that serves sees ever new ones."""


@dataclass(slots=True)
class Workspace:
    """What the stages of one call exchange: tensors and run-time numbers by name."""

    sizes: Sizes
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a stage's launch takes at some sizes: its outputs, its grid, and whether it has any."""

    outputs: tuple[tuple[str, tuple[int, ...], torch.dtype], ...]
    grid: tuple[int, ...]
    programs: bool


class StageLauncher:
    """One stage of a variant, rendered and imported; compiled when first launched."""

    def __init__(self, spec: KernelSpec, problem: Problem, config: Config, interpret: bool) -> None:
        self.name = spec.name
        self.spec, self.problem, self.config = spec, problem, dict(config)
        self.source = render(spec, problem, config, interpret=interpret)
        self.arguments = spec.arguments(problem, config)
        self.outputs = spec.outputs(problem, config)
        module = load_module(spec.name, self.source, cache_folder())
        self.function: Callable[..., Any] = getattr(module, spec.name)
        launch = {axis.name for axis in spec.axes if axis.launch}
        options = {name: value for name, value in config.items() if name in launch}
        self._launch = KernelLaunch(self.function, options)
        self._layouts: dict[Sizes, _Layout] = {}

    def launch(self, workspace: Workspace) -> None:
        """Run the stage on a workspace that holds its inputs; its outputs stand there then."""
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
            self._launch(layout.grid, [values[name] for name in self.arguments], device.index)
        except Exception as error:
            if not type(error).__module__.startswith("triton"):
                raise
            raise self._told(error, device) from error

    def _told(self, error: Exception, device: torch.device) -> Exception:
        """One of Triton's own errors in our words."""
        kind = CompileError if "Compil" in type(error).__name__ else LaunchError
        return kind(
            f"stage {self.name} with {self.config} did not run on {device}: {error} "
            "Run `gdn tune` for this device, or gdn_ops.using('torch')."
        )

    def allocate(self, workspace: Workspace, device: torch.device) -> _Layout:
        """Make the stage's outputs where they are not there yet; a torch stage makes its own."""
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
                f"stage {self.name} of {self.config} takes {max(grid[1:])} programs in a dimension "
                f"that holds {MOST_PROGRAMS}; give fewer tokens a call, or a variant of longer "
                "chunks by gdn_ops.using."
            )
        return _Layout(tuple(outputs), grid, 0 not in grid)


def _give_triton_an_allocator() -> None:
    """Descriptors made in a kernel live in memory of the current device that we must supply."""
    import triton

    device = "cuda" if torch.cuda.is_available() else "cpu"
    triton.set_allocator(
        lambda size, alignment, stream: torch.empty(size, device=device, dtype=torch.int8)
    )
