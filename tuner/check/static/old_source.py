"""Old sources: what the revision of a baseline rendered, as another process renders it again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gdn_ops.codegen.compiled.compile import Source
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.repository import Repository
from gdn_ops.tuner.check.static.baseline import KernelRecord
from gdn_ops.tuner.check.static.kernel import Kernel, arguments_hash, code_hash

SCRIPT = Path(__file__).with_name("rendering_script.py")
SECONDS = 120.0
"""Time limit for rendering the sources of another revision."""


def old_sources(folder: Path, pairs: Sequence[tuple[KernelRecord, Kernel]]) -> list[Source | None]:
    """The sources of a baseline's kernels, rendered by the gdn_ops in a folder.

    Args:
        folder: a checkout or another folder that holds a package ``gdn_ops``.
        pairs: each kernel of the baseline with today's kernel in its place.

    Returns:
        For each pair the source; None if the folder does not render what the baseline was made of.
    """
    requests = [
        {
            "plan": head.plan,
            "stage": head.stage,
            "problem": head.problem.facts(),
            "config": f"{base.config} {base.options}",
        }
        for base, head in pairs
    ]
    answers = _answers(folder, requests)
    return [
        _source(answer, base, head) for answer, (base, head) in zip(answers, pairs, strict=True)
    ]


@contextmanager
def base_folder(file: Path) -> Iterator[Path | None]:
    """A folder with the revision in which a file was last committed; None if git has none."""
    repository = Repository.around(file.absolute().parent)
    commit = None if repository is None else repository.last_commit(file)
    if repository is None or commit is None:
        yield None
        return
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="gdn-check-base-")))
        try:
            folder = stack.enter_context(repository.worktree(commit, scratch / "tree"))
        except InvalidInput:
            yield None
            return
        yield folder


def _answers(folder: Path, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    nothing: list[dict[str, Any]] = [{} for _ in requests]
    # not by its path, whose folder would then come first on Python's path
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); exec(open({str(SCRIPT)!r}).read())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", start], input=json.dumps(requests), cwd=folder,
            capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return nothing
    own = Path(found["codegen"]).resolve().is_relative_to(folder.resolve())
    answers: list[dict[str, Any]] = found["answers"] if own else nothing
    return answers


def _source(answer: dict[str, Any], base: KernelRecord, head: Kernel) -> Source | None:
    if not answer or "error" in answer:
        return None
    source = Source(stage=head.stage, **answer)
    found = (code_hash(source), arguments_hash(source.types, head.target))
    return source if found == (base.hash, base.arguments) else None
