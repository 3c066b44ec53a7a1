"""The part of ``gdn check --static`` that reads its options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gdn_ops.codegen.errors import InvalidInput, shown

if TYPE_CHECKING:
    from gdn_ops.tuner.check.outcome import Outcome
    from gdn_ops.tuner.check.settings import Settings


def check_static(
    settings: Settings,
    *,
    base: str | None,
    targets: Sequence[str],
    tritons: Sequence[Path],
    update: bool,
    everything: bool,
    any_compiler: bool,
) -> Outcome:
    """Compare compiled code with its baselines, or write them.

    Raises:
        InvalidInput: the options exclude each other, or the base is a results file.
    """
    from contextlib import ExitStack

    from gdn_ops.codegen.targets import TARGETS
    from gdn_ops.tuner.check.exempting import accepted
    from gdn_ops.tuner.check.repository import Repository
    from gdn_ops.tuner.check.sides import opened
    from gdn_ops.tuner.check.static import check
    from gdn_ops.tuner.check.static.baseline import FOLDER
    from gdn_ops.tuner.check.static.rules import Limits
    from gdn_ops.tuner.check.static.shipping import GPUS
    from gdn_ops.tuner.interruption import Interruption

    if update and tritons:
        raise InvalidInput("--update writes baselines of the installed Triton; leave out --triton.")
    limits = Limits(instructions=settings.static.instructions)
    repository, interruption = Repository.around(Path.cwd()), Interruption()
    baselines = Path("." if repository is None else os.path.relpath(repository.root)) / FOLDER
    archs = [TARGETS[name].arch if name in TARGETS else name for name in targets] or list(GPUS)
    with ExitStack() as stack:
        stack.enter_context(interruption.listen())
        side = None if base is None else stack.enter_context(opened(base, "base"))
        if side is not None and side.stored is not None:
            raise InvalidInput(
                f"--base {shown(base)} is a results file, which has no code to compile; name a git "
                "revision, a folder or a wheel."
            )
        old = None if side is None else side.folder
        stack.enter_context(interruption.waiting())
        if update:
            return accepted(check.update(archs, folder=baselines, base=old, limits=limits))
        return check.check_static(
            archs, folder=baselines, base=old, limits=limits, tritons=tritons,
            everything=everything, any_compiler=any_compiler,
        )  # fmt: skip
