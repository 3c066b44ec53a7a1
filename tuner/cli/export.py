"""``gdn export``: writes stored winners and trials as libraries and files to hand on."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.locations import METAVAR, SERVER, database_given
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from collections.abc import Sequence

VERIFY = "verify"
LISTED = 12
"""Most files that are named one by one."""


@with_options(model=ModelOptions)
def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT|verify",
            help="The format: wheel (a Python package for pip), hf (a kernel for Hugging Face's "
            "kernels), winners (a results database to hand on), table (JSON by batch size, in the "
            "shape of vLLM's tables), t4 (search spaces and trials) or cubin (compiled kernels "
            "and a loader in C). Or verify, to check an export.",
        ),
    ],
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD|PATH...]",
            help="Only the winners of exactly the problems of a workload as for `gdn tune`, or of "
            "a JSON or TOML file of problems; all winners by default. With verify: the exported "
            "files or folders.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write to; it must be new or empty."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this target, e.g. h200; may be repeated. Default: all that have winners."
        ),
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help=f"Only this database; by default your own and the shipped one. {SERVER}",
        ),
    ] = None,
    *,
    model: ModelOptions,
) -> Answer:
    """Export winners or search spaces for use without gdn-ops, or check an export.

    A wheel is a Python package for one target. It has the rendered kernels of the winners, their
    own small database, and the functions of gdn-ops on top of them, with the same signatures; it
    needs torch and triton only. Its library.json has the proof: device, versions, samples, errors,
    and the configs that failed. Format winners is that database alone, which `gdn merge` takes.
    Format hf is the same library in the layout of Hugging Face's kernels, one folder per target,
    with layers that `kernelize` puts into models of transformers.

    Table and t4 are folders of JSON files, with a manifest that has the same proof and the digest
    of each file. Table has one file per op, heads, head dims, flags, device and dtype, which maps
    sizes to the plan and the constants of its stages. T4 has one file per search space and
    environment, with the parameters, the constraints in words, and every trial. It is valid against
    version 1.0.0 of the schema T4 of the autotuning community.

    Cubin is a folder of compiled kernels for one NVIDIA GPU, which this machine need not have, with
    a loader in C99 that needs the driver only.

    Two exports of the same rows have the same bytes.

    Examples:

        gdn export wheel -o dist

        gdn export wheel prefill --target h200 --db tuned.db -o dist

        gdn export wheel --model Qwen3.5-9B/config.json --target h200 -o dist

        gdn export hf --target h200 -o hub

        gdn export table decode --target h200 -o tables

        gdn export cubin decode --target h200 -o kernels

        gdn export verify dist
    """
    if what == VERIFY:
        given = {"-o": out, "--target": target, "--db": db}
        unread = [*(name for name, value in given.items() if value), *model.given()]
        return _verify(which or [], unread)
    return _export(what, which or [], model, out, target or [], db)


def _export(
    format_name: str,
    which: list[str],
    model: ModelOptions,
    out: Path | None,
    targets: list[str],
    db: str | None,
) -> Answer:
    from gdn_ops.results_path import expanded
    from gdn_ops.tuner.cli.show import raise_missing
    from gdn_ops.tuner.export.description import LeftOut
    from gdn_ops.tuner.export.folder import require_empty, write_all
    from gdn_ops.tuner.export.formats import FORMATS
    from gdn_ops.tuner.export.selection import described
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.spaces.workloads import buckets
    from gdn_ops.tuner.store.winner_tables import exists

    if format_name not in FORMATS:
        raise UnknownName.of("format", format_name, {*FORMATS, VERIFY})
    if len(which) > 1:
        raise InvalidInput(
            f"{', '.join(which)}: one workload or file of problems is exported at a time; name one."
        )
    if out is None:
        raise InvalidInput(f"gdn export {format_name} needs a folder to write to; give -o FOLDER.")
    out = expanded(out, "-o")
    require_empty(out)
    given = database_given(db)
    if given is not None and not exists(given):
        raise_missing(given)
    workload = which[0] if which else None
    chosen = model.workload(workload)
    descriptions = described(
        None if given is None else [given],
        targets=targets,
        problems=None if chosen is None else buckets(chosen.problems),
        asked=shlex.quote(workload) if workload is not None else model.typed(),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = FORMATS[format_name].exported(descriptions)
    written = write_all(out, files)
    _say_written(out, written)
    for line in FORMATS[format_name].summary(descriptions, files):
        console.say(line)
    targets_written = []
    for description in descriptions:
        winners = description.winners
        targets_written.append(
            {
                "target": description.target.name, "winners": len(winners),
                "predicted": sum(w.winner.provenance == "predicted" for w in winners),
                "stale": sum(w.stale for w in winners), "left_out": description.left_out,
                "instead": description.instead,
            }
        )  # fmt: skip
        for sentence in description.instead:
            console.remark(sentence)
        for sentence in description.left_out:
            console.remark(sentence)
    for warning in caught:
        if issubclass(warning.category, LeftOut):
            console.remark(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    results = {
        "format": format_name, "folder": out,
        "files": [{"path": path, "bytes": path.stat().st_size} for path in written],
        "targets": targets_written,
    }  # fmt: skip
    return Answer(0, results)


def _say_written(out: Path, paths: Sequence[Path]) -> None:
    from gdn_ops.tuner.report import console

    sizes = [path.stat().st_size for path in paths]
    if len(paths) <= LISTED:
        for path, size in zip(paths, sizes, strict=True):
            console.say(f"{path}  {_size(size)}")
    else:
        console.say(f"{out}  {len(paths)} files, {_size(sum(sizes))}")


def _size(count: int) -> str:
    """A number of bytes in a readable unit."""
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _verify(given: list[str], unread: list[str]) -> Answer:
    from gdn_ops.results_path import expanded
    from gdn_ops.tuner.export.verification import exports_in
    from gdn_ops.tuner.report import console

    if unread:
        raise InvalidInput(f"{', '.join(unread)} is not read by verify; leave it out.")
    if not given:
        raise InvalidInput("gdn export verify needs the exported file or folder; give its path.")
    checked = []
    exports = [found for path in given for found in exports_in(expanded(Path(path), "PATH"))]
    for path, found in dict.fromkeys(exports):
        faults = list(found.faults(path))
        checked.append({"path": path, "faults": faults})
        for fault in faults:
            console.fail(f"{path}: {fault}")
        if not faults:
            console.say(f"{path} {found.SOUND}")
    wrong = any(export["faults"] for export in checked)
    return Answer(1 if wrong else 0, {"exports": checked})
