"""Templates: sources rendered from the templates of gdn-ops."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import LaunchError
from gdn_ops.results_path import cache_folder, cache_is_chosen


@cache
def _temporary_folder() -> Path:
    """A folder of this process for its rendered modules, with mode 0700; it ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="gdn-ops-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _folder_instead(fault: LaunchError) -> Path:
    """The folder to use where the cache folder cannot be written; warns the first time."""
    if not _temporary_folder.cache_info().currsize:
        warnings.warn(
            f"{fault} Until then each process renders its kernels in a temporary folder.",
            RuntimeWarning,
            stacklevel=2,
        )
    return _temporary_folder()


class Templates:
    """Renders the source of any stage, and imports it from the cache folder; see ``Origin``."""

    def missing(self, problem: Problem, variant: Variant) -> list[str]:
        return []

    def serves(self) -> str:
        return ""

    def differences(self, problem: Problem, target: Target) -> str:
        return ""

    def load(
        self, spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool
    ) -> tuple[str, ModuleType]:
        source = render(spec, problem, config, interpret=interpret)
        try:
            return source, load_module(spec.name, source, cache_folder())
        except LaunchError as error:
            if cache_is_chosen():
                raise
            # A home that cannot be written, e.g. of a container, is no reason to run nothing.
            return source, load_module(spec.name, source, _folder_instead(error))

    def hashes(self, problem: Problem, variant: Variant) -> dict[str, str]:
        return source_hashes(problem, variant)
