"""``gdn explain``: says which variant a problem runs on, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from gdn_ops.tuner.cli.problem_options import ProblemOptions, with_problem_options


@with_problem_options
def explain(
    target: Annotated[
        str | None, typer.Option(help="Explain for this target instead of this machine.")
    ] = None,
    *,
    given: ProblemOptions,
) -> int:
    """Say which variant a problem runs on, and why.

    Prints the chosen variant, the stored result that decided, and why other plans are not used.
    With --backward it also prints, for each setting of gdn_ops.saving_for_backward, how much memory
    it keeps from the forward and how many bytes the backward then reads and writes.

    Options that are left out are those of Qwen3-Next: 16 query/key heads, 32 value heads,
    K = V = 128, bf16, 2048 tokens (with --decode: 8 sequences).

    Examples:

        gdn explain

        gdn explain --decode --sequences 8 --dtype fp32

        gdn explain --target h200 --tokens 32768

        gdn explain --backward

        gdn explain --gate vector --raw-gate
    """
    from gdn_ops.dispatch.explanation import explain as explain_problem
    from gdn_ops.tuner.report import console

    console.say(str(explain_problem(given.problem(), target=target)))
    return 0
