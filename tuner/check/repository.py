"""The git repository that a check reads revisions from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput

MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
"""Names of the main branch, in the order in which they are looked for."""


@dataclass(frozen=True)
class Repository:
    """A git repository, by the folder at its top."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """The repository that a folder is in; None if it is in none, or if git is missing."""
        try:
            found = _git(folder, "rev-parse", "--show-toplevel")
        except (OSError, InvalidInput):
            return None
        return cls(Path(found))

    def commit(self, revision: str) -> str | None:
        """The full hash of a revision's commit; None if there is no such revision."""
        try:
            # the end of options, so that a name like --all is not taken for one
            arguments = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
            return _git(self.root, "rev-parse", *arguments)
        except InvalidInput:
            return None

    def last_commit(self, file: Path) -> str | None:
        """The full hash of the last commit that changed a file; None if none did."""
        try:
            return _git(self.root, "log", "-1", "--format=%H", "--", str(file.absolute())) or None
        except InvalidInput:
            return None

    def label(self, commit: str) -> str:
        """A commit in words: its short hash and the subject of its message."""
        return _git(self.root, "log", "-1", "--format=%h (%s)", commit)

    @property
    def changed(self) -> bool:
        """Whether files of the working tree differ from the commit that is checked out."""
        return bool(_git(self.root, "status", "--porcelain"))

    def merge_base(self) -> str:
        """The commit at which the current one left the main branch.

        Raises:
            InvalidInput: there is no main branch, or no common commit.
        """
        names = [name for name in MAIN_BRANCHES if self.commit(name)]
        if not names:
            raise InvalidInput(
                f"{self.root} has none of the branches {', '.join(MAIN_BRANCHES)} to take the base "
                "from; name one with --base REVISION."
            )
        try:
            return _git(self.root, "merge-base", "HEAD", names[0])
        except InvalidInput:
            raise InvalidInput(
                f"HEAD and {names[0]} have no common commit in {self.root}; in CI fetch the whole "
                "history (fetch-depth: 0), or name a base with --base REVISION."
            ) from None

    @contextmanager
    def worktree(self, commit: str, folder: Path) -> Iterator[Path]:
        """Check a commit out into a folder that does not exist yet; remove it at the end."""
        _git(self.root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            _git(self.root, "worktree", "remove", "--force", str(folder))


def _git(folder: Path, *arguments: str) -> str:
    """What a git command prints.

    Raises:
        InvalidInput: it failed; with its own last words.
        OSError: git is not installed.
    """
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidInput(f"git {arguments[0]} in {folder} failed: {words[-1]}")
    return done.stdout.strip()
