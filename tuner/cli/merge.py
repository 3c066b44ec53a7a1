"""``gdn merge``: copies the results of other databases into one."""

from __future__ import annotations

from typing import Annotated

import typer

from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.json_fields import of_merged
from gdn_ops.tuner.cli.locations import DEFAULT, METAVAR, SERVER, database_given, database_to_write


def merge(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Results databases, on a server too, or wheels that `gdn export` wrote.",
        ),
    ],
    into: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help=f"Results database to write; made if it does not exist. Default: {DEFAULT}, as "
            f"for `gdn tune`. {SERVER}",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done; write nothing.")
    ] = False,
) -> Answer:
    """Copy the results of other databases into one.

    Everything is copied: winners, the trials that measured them, failed trials, and the
    environments (device, driver, versions) of both. The sources are only read, and nothing that is
    stored is lost: a winner that is replaced stays as history. Merging the same file again
    changes nothing. Of an exported wheel only the database in it is read.

    If there are several winners for a problem on a target, one becomes the current one. A measured
    winner is preferred to a predicted one, and one whose kernels' code is unchanged to a stale one.
    Times of two environments do not compare, so the environment measured last is preferred; within
    one environment the faster winner is.

    Rows that cannot be used are refused and named, e.g. a variant that can no longer be rendered.
    Exit code: 0 if nothing was refused, 1 if something was, 2 if a source cannot be merged at all;
    then nothing is written.

    Examples:

        gdn merge colleague.db

        gdn merge a100.db h100.db h200.db --into all.db

        gdn merge winners.db --dry-run

        gdn merge a100.db --into postgresql://user@host/database
    """
    from gdn_ops.tuner.report.merged import print_merged
    from gdn_ops.tuner.store.merge_files import merge_files

    found = [location for text in sources if (location := database_given(text, "SOURCE"))]
    destination = database_to_write(into, "--into")
    merged = merge_files(found, destination, dry_run=dry_run)
    code = print_merged(merged, destination, name_sources=len(found) > 1, dry_run=dry_run)
    return Answer(code, of_merged(merged, destination, dry_run=dry_run))
