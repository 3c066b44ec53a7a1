"""Merging databases: which are read, which one is written, and what is left if it fails."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.dispatch.results_file import exists
from gdn_ops.results_path import shipped_database, user_database
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.tuner.store.database import NoResults
from gdn_ops.tuner.store.db import make_folder_of, open_database, results_errors
from gdn_ops.tuner.store.merge import merge
from gdn_ops.tuner.store.merge_source import Source, copy_of, named
from gdn_ops.tuner.store.merged import Merged


def merge_files(
    sources: Sequence[Source], destination: Location, *, dry_run: bool = False
) -> Merged:
    """Merge results databases into another one, which is made if it does not exist.

    Args:
        dry_run: leave the destination as it is: merge into a private copy of a file, or undo the
            transaction on a server.

    Raises:
        InvalidInput: a source cannot be merged, or is the destination.
        ResultsError: the destination cannot be written. In both cases it is as it was.
    """
    sources = _distinct(sources, destination)
    if isinstance(destination, ResultsUrl):
        return _merge_into_server(sources, destination, dry_run=dry_run)
    new = not exists(destination)
    if dry_run:
        with TemporaryDirectory(prefix="gdn-merge-") as folder:
            copy = Path(folder) / destination.name
            if not new:
                copy_of(destination, copy)
            return _merge(sources, copy)
    return _merge_new(sources, destination) if new else _merge(sources, destination)


def place(part: Path, path: Path) -> None:
    """Give a finished file its name; a file that has the name by now is never replaced.

    Raises:
        ResultsError: there is one, or the file system refuses.
    """
    with results_errors(path):
        try:
            os.link(part, path)
        except FileExistsError as error:
            raise ResultsError(
                f"{path} exists; it was left as it is. Delete it or give another name."
            ) from error
        except OSError:  # a file system without links
            if exists(path):
                raise
            part.rename(path)


def part_of(path: Path) -> Path:
    """The unfinished file next to ``path`` that is placed there once it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _merge_into_server(
    sources: Sequence[Source], destination: ResultsUrl, *, dry_run: bool
) -> Merged:
    if not dry_run:
        return _merge(sources, destination)
    try:
        database = open_database(destination, create=False, writable=False)
    except NoResults:
        with TemporaryDirectory(prefix="gdn-merge-") as folder:
            return _merge(sources, Path(folder) / "new.db")
    with database:
        return merge(database, sources, dry_run=True)


def _merge(sources: Sequence[Source], destination: Location) -> Merged:
    with open_database(destination, create=True) as database:
        return merge(database, sources)


def _merge_new(sources: Sequence[Source], destination: Path) -> Merged:
    make_folder_of(destination)
    part = part_of(destination)
    try:
        with named(destination, part):
            merged = _merge(sources, part)
        place(part, destination)
    finally:
        for suffix in ("", "-wal", "-shm"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)
    return merged


def _distinct(sources: Sequence[Source], destination: Location) -> list[Source]:
    """The sources without repetitions, none of them the destination."""
    found: dict[Source | str, Source] = {}
    if _same(destination, shipped_database()):
        raise InvalidInput(
            f"{destination} ships with gdn-ops and must not be written; merge into your own "
            f"database, {user_database()}, or name another file with --into."
        )
    for source in sources:
        if _same(source, destination):
            raise InvalidInput(
                f"{source} is both a source and the destination; leave it out, or name another "
                "destination with --into."
            )
        key = os.path.realpath(source) if isinstance(source, Path) else source
        found.setdefault(key, source)
    return list(found.values())


def _same(one: Source, other: Location) -> bool:
    """Whether two are one server's database, or one file, also through links."""
    if not (isinstance(one, Path) and isinstance(other, Path)):
        return one == other
    try:
        return os.path.realpath(one) == os.path.realpath(other) or one.samefile(other)
    except OSError:  # one of both does not exist
        return False
