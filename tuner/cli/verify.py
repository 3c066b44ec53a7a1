"""``gdn verify``: checks ahead what calls would check at their first use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.chosen_workload import chosen_workload, workload_argument
from gdn_ops.tuner.cli.json_fields import of_choice
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options

DEFAULT_WORKLOAD = "quickstart"


@with_options(model=ModelOptions, given=ProblemOptions)
def verify(
    workload: Annotated[str | None, workload_argument(DEFAULT_WORKLOAD)] = None,
    device: Annotated[
        str, typer.Option(help="auto (the first GPU, else the CPU), cpu or cuda:0.")
    ] = "auto",
    again: Annotated[
        bool, typer.Option("--again", help="Also check what was checked here before.")
    ] = False,
    *,
    model: ModelOptions,
    given: ProblemOptions,
) -> Answer:
    """Check the kernels of a workload or model on this machine before the first call does.

    A kernel that was never verified on a GPU with its driver, Triton and ptxas is checked there
    before its first result: its outputs are compared with the recurrence in fp64, and two runs with
    each other. This takes a second per kernel and the time to compile it, in a child process. The
    result is kept for all processes of this machine. The environment variable GDN_VERIFY says when
    calls check: first (the default), always (in each process) or never.

    A kernel that fails is passed over from then on, and the next choice is checked and taken. Exits
    with 1 if a kernel failed.

    Examples:

        gdn verify

        gdn verify serving --device cuda:1

        gdn verify --model Qwen3.5-9B/config.json --serving

        gdn verify prefill --again

        gdn verify --decode --sequences 32
    """
    import torch

    from gdn_ops.dispatch.bindings import sound_choices_for
    from gdn_ops.dispatch.first_use import standing
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.session import device_named

    chosen = chosen_workload(workload, model, given, DEFAULT_WORKLOAD)
    problems = chosen.problems
    where = torch.device(device_named(device))
    with warnings.catch_warnings(record=True) as caught, _policy("always" if again else None):
        warnings.simplefilter("always")
        choices = sound_choices_for(problems, where)
    checks = [standing(choice) for choice in choices]
    rows = [
        (c.problem.id(), str(c.variant), c.how, check.text)
        for c, check in zip(choices, checks, strict=True)
    ]
    console.table(("problem", "variant", "how", "check"), rows)
    console.say(_summary([text for *_, text in rows], device=str(where)))
    for warning in caught:
        console.fail(str(warning.message))
    results = {
        "device": str(where),
        "choices": [
            {**of_choice(c), "sound": check.sound, "check": check.text}
            for c, check in zip(choices, checks, strict=True)
        ],
        "warnings": [str(warning.message) for warning in caught],
    }
    return Answer(1 if caught else 0, results)


def _summary(found: Sequence[str], device: str) -> str:
    """One line from what is known of each problem's variant, as ``standing`` says it."""
    from gdn_ops.tuner.report.counted import counted

    verified = sum(text.startswith("verified") for text in found)
    plain = sum(text.startswith("PyTorch or C++") for text in found)
    parts = {
        "on verified kernels": verified,
        "on PyTorch or C++, which is not verified": plain,
        "on kernels that are not verified": len(found) - verified - plain,
    }
    text = "; ".join(f"{count} {where}" for where, count in parts.items() if count)
    return f"{counted(len(found), 'problem')} on {device}: {text}."


@contextmanager
def _policy(name: str | None) -> Iterator[None]:
    """Within the block calls verify by another policy, if a name is given."""
    from gdn_ops.dispatch.bindings import refresh
    from gdn_ops.results_path import VERIFY_VARIABLE

    before = os.environ.get(VERIFY_VARIABLE)
    if name is not None:
        os.environ[VERIFY_VARIABLE] = name
        refresh()
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop(VERIFY_VARIABLE)
            if before is not None:
                os.environ[VERIFY_VARIABLE] = before
            refresh()
