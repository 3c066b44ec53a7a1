"""Files: the sources of an exported library, rendered when it was exported."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.interpreting import interprets
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.sources.served import Served

INDEX = "index.json"
"""The file that lists the sources of a library; ``tuner/export/rendering.py`` writes it."""


class Files:
    """Finds each source in the index of a library; see ``Origin``.

    The index is a JSON object. ``stages`` has the name of a file by problem without sizes, stage
    and label of the config; ``code`` has the hash of the code in each file; ``served`` is what
    ``Served`` says, with the kinds of problems as ``kind_of`` makes them.

    Args:
        folder: the folder of the index and of the sources, a package of the library.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self._stages: dict[str, dict[str, dict[str, str]]] = index["stages"]
        self._code: dict[str, str] = index["code"]
        self._served = Served(**index["served"])

    def missing(self, problem: Problem, variant: Variant) -> list[str]:
        if interprets(variant):
            return ["an exported library has no sources for Triton's interpreter"]
        return [
            f"this library has no source of stage {name} with {KERNELS[name].label(config)} for "
            f"{problem.without_sizes().id()}"
            for name, _ in variant.stages
            for config in [variant.config(name)]
            if self._file(KERNELS[name], problem, config) is None
        ]

    def serves(self) -> str:
        return (
            f"{self._served} For anything else install gdn-ops, or tune it there and export again."
        )

    def differences(self, problem: Problem, target: Target) -> str:
        return self._served.differences(problem, target)

    def load(
        self, spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool
    ) -> tuple[str, ModuleType]:
        file = None if interpret else self._file(spec, problem, config)
        if file is None:
            raise UnsupportedProblem(
                f"this library has no source of stage {spec.name} with {spec.label(config)} for "
                f"{problem.without_sizes().id()}. {self.serves()}"
            )
        source = (self._folder / f"{file}.py").read_text(encoding="utf-8")
        return source, importlib.import_module(f"..rendered.{file}", __package__)

    def hashes(self, problem: Problem, variant: Variant) -> dict[str, str]:
        found = {
            name: self._file(KERNELS[name], problem, variant.config(name))
            for name, _ in variant.stages
        }
        return {name: self._code[file] for name, file in found.items() if file is not None}

    def _file(self, spec: KernelSpec, problem: Problem, config: Config) -> str | None:
        stages = self._stages.get(problem.without_sizes().id(), {})
        return stages.get(spec.name, {}).get(spec.label(config))
