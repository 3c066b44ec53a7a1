"""Origin: what dispatch and launch need to know of where sources come from."""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant


class Origin(Protocol):
    """Where the sources of stages come from."""

    def missing(self, problem: Problem, variant: Variant) -> list[str]:
        """Why the source of a stage of the variant is not available; empty if all are."""

    def serves(self) -> str:
        """A sentence that says for which problems there are sources; empty if for all."""

    def differences(self, problem: Problem, target: Target) -> str:
        """How a call differs from those that there are sources for; empty if it does not."""

    def load(
        self, spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool
    ) -> tuple[str, ModuleType]:
        """Return the source of a stage and the module imported from it.

        Args:
            spec: the stage.
            problem: the problem; its sizes do not matter.
            config: a value for every axis that the stage sees.
            interpret: whether the source is for Triton's interpreter.

        Raises:
            TemplateError: a template failed to render.
            LaunchError: the cache of rendered modules cannot be written.
            UnsupportedProblem: an exported library does not have the source.
        """

    def hashes(self, problem: Problem, variant: Variant) -> dict[str, str]:
        """The hash of each stage's code, by stage name; see ``source_hash``.

        Raises:
            TemplateError: a stage does not render.
        """
