"""Sides: what the base and the head of a check are, and the folder their code is imported from."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.check.repository import Repository

PACKAGE = "gdn_ops"
MAX_WHEEL_BYTES = 1 << 30
"""Unpacked size of a wheel, at most; this project's have a few megabytes."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a check.

    Args:
        role: ``base`` or ``head``.
        label: what it is, in words, e.g. ``3f2a91c (Decode reads states once)``.
        folder: folder that package ``gdn_ops`` is imported from; None for the installed package.
        stored: a results file with samples, instead of code.
        database: results database that is read before the one that ships with the package.
        commit: full hash, if it is a git revision, or a working tree without changes.
    """

    role: str
    label: str
    folder: Path | None = None
    stored: Path | None = None
    database: Path | None = None
    commit: str | None = None


@contextmanager
def opened(given: str | None, role: str, *, database: Path | None = None) -> Iterator[Side]:
    """Open a side: check a revision out, or unpack a wheel; remove what was made at the end.

    Args:
        given: a results file (.json), a wheel, a folder, or a git revision of the repository
            around the current folder, looked for in this order. None: for the base the commit at
            which the current one left the main branch; for the head the working tree, or the
            installed package outside of a repository of gdn-ops.
        role: ``base`` or ``head``.
        database: results database; if relative, of the side's own folder.

    Raises:
        InvalidInput: it is none of these, or cannot be read.
    """
    with TemporaryDirectory(prefix=f"gdn-check-{role}-") as scratch:
        room = Path(scratch)
        path = Path(given) if given else None
        if path is not None and os.path.isfile(path) and path.suffix == ".json":
            yield Side(role=role, label=str(path), stored=path)
        elif path is not None and os.path.isfile(path):
            unpacked = _unpacked(path, room / "wheel")
            yield _with_database(Side(role=role, label=path.name, folder=unpacked), database)
        elif path is not None and os.path.isdir(path):
            yield _of_folder(path.resolve(), role, str(path), database)
        elif given is None and role == "head":
            yield _working_tree(role, database)
        else:
            with _revision(given, role, room / "tree", database) as side:
                yield side


@contextmanager
def _revision(given: str | None, role: str, folder: Path, database: Path | None) -> Iterator[Side]:
    """Check a revision out into a folder; by default the one at which HEAD left the main branch."""
    repository = Repository.around(Path.cwd())
    if repository is None:
        raise _not_found(given, role, "the current folder is in no working tree of git")
    commit = repository.merge_base() if given is None else repository.commit(given)
    if commit is None:
        why = f"{repository.root} has no such revision"
        if repository.shallow:
            why += " in its shallow history (fetch the rest with `git fetch --unshallow`)"
        raise _not_found(given, role, why)
    with repository.worktree(commit, folder):
        yield _of_folder(folder, role, repository.label(commit), database, commit=commit)


def _working_tree(role: str, database: Path | None) -> Side:
    repository = Repository.around(Path.cwd())
    if repository is not None and (
        _has_package(repository.root) or _has_database(repository.root, database)
    ):
        commit = None
        with suppress(InvalidInput):  # without git, a working tree can still be checked
            commit = None if repository.changed else repository.commit("HEAD")
        return _of_folder(repository.root, role, "the working tree", database, commit=commit)
    return _with_database(Side(role=role, label="the installed package"), database)


def _of_folder(
    folder: Path, role: str, label: str, database: Path | None, *, commit: str | None = None
) -> Side:
    """The side of a folder, with its own package or, if it has a database only, the installed one.

    Raises:
        InvalidInput: it has neither.
    """
    if _has_package(folder):
        side = Side(role=role, label=label, folder=folder, commit=commit)
        return _with_database(side, database)
    if _has_database(folder, database):
        assert database is not None
        return Side(role=role, label=label, database=folder / database, commit=commit)
    what = f"no package {PACKAGE}" + ("" if database is None else f" and no database {database}")
    raise InvalidInput(
        f"the {role} {label} has {what} in it; name a revision, folder or wheel of gdn-ops, or one "
        f"with a results database that --db names{_if_revision(label)}."
    )


def _with_database(side: Side, database: Path | None) -> Side:
    """The side with the database of its folder; a side without that file keeps its own winners."""
    if database is None:
        return side
    place = database if side.folder is None else side.folder / database
    found = place.absolute() if os.path.isfile(place) else None
    return replace(side, database=found)


def _has_package(folder: Path) -> bool:
    return os.path.isfile(folder / PACKAGE / "__init__.py")


def _has_database(folder: Path, database: Path | None) -> bool:
    return database is not None and os.path.isfile(folder / database)


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack a wheel.

    Raises:
        InvalidInput: it is no wheel of gdn-ops.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_WHEEL_BYTES:
                raise ValueError(f"unpacked it has {size} bytes, more than {MAX_WHEEL_BYTES}")
            archive.extractall(folder)
    except _UNREADABLE as error:
        why = str(error)
        raise InvalidInput(
            f"{path} is neither a wheel nor a results file (.json): {why:.200}; build a "
            "wheel with `pip wheel --no-deps .`, or save a results file with `gdn check --save "
            f"FILE`{_if_revision(str(path))}."
        ) from error
    if not _has_package(folder):
        raise InvalidInput(f"the wheel {path} has no package {PACKAGE}; name one of gdn-ops.")
    return folder


_UNREADABLE = (
    OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What ``zipfile`` raises: RuntimeError for an encrypted file or an unknown compression."""


def _if_revision(given: str) -> str:
    """How to name the revision, if there is one of the same name as a file; else empty."""
    repository = Repository.around(Path.cwd())
    with suppress(InvalidInput):
        if repository is not None and repository.commit(given) is not None:
            return f"; for the revision of this name write {given}^0"
    return ""


def _not_found(given: str | None, role: str, why: str) -> InvalidInput:
    named = "" if given is None else f"--{role} {shown(given)} is no file or folder, and "
    return InvalidInput(
        f"{named}{why}; name the {role} as a git revision, a folder, a wheel or a results file "
        f"(--{role})."
    )
