"""Templates: sources rendered from the templates of gdn-ops."""

from __future__ import annotations

from types import ModuleType

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.variant import Variant
from gdn_ops.results_path import cache_folder


class Templates:
    """Renders the source of any stage, and imports it from the cache folder; see ``Origin``."""

    def missing(self, problem: Problem, variant: Variant) -> list[str]:
        return []

    def serves(self) -> str:
        return ""

    def load(
        self, spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool
    ) -> tuple[str, ModuleType]:
        source = render(spec, problem, config, interpret=interpret)
        return source, load_module(spec.name, source, cache_folder())

    def hashes(self, problem: Problem, variant: Variant) -> dict[str, str]:
        return source_hashes(problem, variant)
