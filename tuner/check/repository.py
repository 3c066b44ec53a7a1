"""The git repository that a check reads revisions from."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.interruption import held_back

MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
"""Names of the main branch, in the order in which they are looked for."""
LONGEST_SUBJECT = 72
"""Characters of a commit's subject that a label shows."""
LONGEST_WORDS = 300
"""Characters of what git prints that a message repeats."""
_HASH = re.compile(r"[0-9a-f]{40,64}")
_OPTIONS = ("--no-optional-locks", "-c", f"core.hooksPath={os.devnull}")
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
"""Variables that git sets for its hooks. With them, a worktree would be made with another one's
index."""


@dataclass(frozen=True)
class Repository:
    """A git repository, by the folder at the top of its working tree."""

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """The repository whose working tree a folder is in; None if it is in none.

        Git is not asked, so that what needs no revision does without it.
        """
        place = folder.resolve()
        tops = (top for top in (place, *place.parents) if (top / ".git").exists())
        return next(map(cls, tops), None)

    def commit(self, revision: str) -> str | None:
        """The full hash of a revision's commit; None if there is no such revision.

        Raises:
            InvalidInput: git cannot read the repository, or is missing.
        """
        try:
            # the end of options, so that a name like --all is not taken for one
            verify = ("rev-parse", "--verify", "--quiet", "--end-of-options")
            found = _git(self.root, *verify, revision)
            # not "^name", which stands for all others
            if _HASH.fullmatch(found):
                return _git(self.root, *verify, f"{found}^{{commit}}")
        except InvalidInput:
            _git(self.root, "rev-parse", "--git-dir")
        return None

    @property
    def shallow(self) -> bool:
        """Whether older commits are left out of its history."""
        return _git(self.root, "rev-parse", "--is-shallow-repository") == "true"

    def last_commit(self, file: Path) -> str | None:
        """The full hash of the last commit that changed a file; None if none did."""
        try:
            return _git(self.root, "log", "-1", "--format=%H", "--", str(file.absolute())) or None
        except InvalidInput:
            return None

    def label(self, commit: str) -> str:
        """A commit in words: its short hash and the subject of its message."""
        short, _, subject = _git(self.root, "log", "-1", "--format=%h %s", commit).partition(" ")
        if len(subject) > LONGEST_SUBJECT:
            subject = f"{subject[: LONGEST_SUBJECT - 1]}…"
        return f"{short} ({subject})"

    @property
    def changed(self) -> bool:
        """Whether files of the working tree differ from the commit that is checked out."""
        return bool(_git(self.root, "status", "--porcelain"))

    def merge_base(self) -> str:
        """The commit at which the current one left the main branch.

        Raises:
            InvalidInput: there is no commit, no main branch, or no common commit; or git cannot
                read the repository, or is missing.
        """
        if self.commit("HEAD") is None:
            raise InvalidInput(
                f"{self.root} has no commit yet to take the base from; commit first, or name a "
                "folder, a wheel or a results file with --base."
            )
        names = [name for name in MAIN_BRANCHES if self.commit(name)]
        if not names:
            raise InvalidInput(
                f"{self.root} has none of the branches {', '.join(MAIN_BRANCHES)} to take the base "
                "from; name one with --base REVISION, or in CI fetch all branches (fetch-depth: 0)."
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
        """Check a commit out into a folder that does not exist yet; remove it at the end.

        Raises:
            InvalidInput: git cannot check it out; nothing is left behind.
        """
        try:
            _git(self.root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
            yield folder
        finally:
            # git forgets by itself a worktree whose folder is gone
            with held_back(), suppress(InvalidInput):
                _git(self.root, "worktree", "remove", "--force", str(folder))


def _git(folder: Path, command: str, *arguments: str) -> str:
    """What a git command prints. The repository's hooks do not run: they are for its users.

    Raises:
        InvalidInput: it failed, with its own last words; or git is missing.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_OPTIONS, command, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in _OF_A_HOOK},
            start_new_session=True,  # Ctrl-C must not end it half-way
        )
    except OSError as error:
        raise InvalidInput(
            f"git cannot be started ({error.strerror}); install it to compare revisions, or name "
            "folders, wheels or results files with --base and --head."
        ) from error
    if done.returncode:
        words = _last_words(os.fsdecode(done.stderr)) or f"exit code {done.returncode}"
        raise InvalidInput(f"git {command} in {folder} failed: {words}")
    return os.fsdecode(done.stdout).strip()


def _last_words(text: str) -> str:
    """What git says of its failure, in one line: from ``fatal:`` on, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [number for number, line in enumerate(lines) if line.startswith("fatal")]
    return " ".join(lines[fatal[0] :] if fatal else lines[-1:])[:LONGEST_WORDS]
