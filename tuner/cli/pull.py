"""``gdn pull``: brings the winners of a server into a file, which calls read."""

from __future__ import annotations

from typing import Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.json_fields import of_merged
from gdn_ops.tuner.cli.locations import database_given


def pull(
    url: Annotated[
        str | None,
        typer.Argument(
            help="The server, e.g. postgresql://user@host/database. Default: $GDN_RESULTS_DB."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Results database to write; made if it does not exist. Default: $GDN_RESULTS_DB "
            "if it is a file, else a file in your data folder.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this target, e.g. h200; may be repeated. Default: all that have winners."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done; write nothing.")
    ] = False,
) -> Answer:
    """Bring the winners of a PostgreSQL server into a local file.

    Calls never wait for a server: they read a local results database. This brings it up to date,
    with the winners, the trials and environments that measured them, what superseded them, and the
    failed trials of their problems, which an export lists. Other trials stay on the server; `gdn
    merge URL` brings them too.

    Winners are taken, kept and refused as by `gdn merge`. A winner that was pulled before and that
    the server has superseded since is replaced. Exit code: 0 if nothing was refused, 1 if something
    was, 2 if there is nothing to pull.

    Examples:

        gdn pull postgresql://tuner@db.example/gdn

        gdn pull postgresql://tuner@db.example/gdn --target h200 -o h200.db
    """
    from gdn_ops.results_path import RESULTS_VARIABLE, local_database, local_path, user_database
    from gdn_ops.results_url import EXAMPLE, ResultsUrl
    from gdn_ops.tuner.report.merged import print_merged
    from gdn_ops.tuner.store.excerpt import Excerpt
    from gdn_ops.tuner.store.merge_files import merge_files

    mine = user_database()
    source = database_given(url, "URL") or mine
    if not isinstance(source, ResultsUrl):
        given = f"{source} is a file" if url else f"no URL is given, and {RESULTS_VARIABLE} is none"
        raise InvalidInput(f"{given}; give a URL such as {EXAMPLE}, or `gdn merge FILE`.")
    usual = local_database() if isinstance(mine, ResultsUrl) else mine
    destination = usual if out is None else local_path(out, "-o").absolute()
    excerpt = Excerpt(source, tuple(dict.fromkeys(target or ())))
    merged = merge_files([excerpt], destination, dry_run=dry_run)
    code = print_merged(merged, destination, name_sources=False, dry_run=dry_run)
    return Answer(code, of_merged(merged, destination, dry_run=dry_run))
