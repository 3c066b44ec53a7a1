"""Sides: what a text names, and what is left behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check import repository as repository_module
from gdn_ops.tuner.check.sides import Side, opened
from tests.tuner.check.packages import git, package, repository, wheel


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A repository of two commits on main and one on a branch, which is checked out."""
    folder = repository(tmp_path / "repo")
    git(folder, "switch", "--quiet", "--create", "topic")
    package(folder, "NUMBER = 'topic'\n")
    git(folder, "commit", "--quiet", "--all", "-m", "on the topic")
    monkeypatch.chdir(folder)
    return folder


def text_of(side: Side) -> str:
    assert side.folder is not None
    return (side.folder / "gdn_ops" / "__init__.py").read_text().strip()


def refuse(given: str | None, role: str, match: str) -> None:
    with pytest.raises(InvalidInput, match=match), opened(given, role):
        pass


def test_the_base_is_the_merge_base_and_the_head_the_working_tree(repo):
    package(repo, "NUMBER = 'not committed'\n")
    with opened(None, "base") as base, opened(None, "head") as head:
        assert text_of(base) == "NUMBER = 1"
        assert "commit 1" in base.label and base.commit is not None
        assert text_of(head) == "NUMBER = 'not committed'"
        assert head.label == "the working tree"


@pytest.mark.parametrize("revision, text", [("main~1", "NUMBER = 0"), ("topic", "'topic'")])
def test_a_revision_is_checked_out_and_removed(repo, revision, text):
    with opened(revision, "base") as side:
        assert text in text_of(side)
        assert side.commit == git(repo, "rev-parse", revision)
    assert side.folder is not None and not side.folder.exists()
    assert len(git(repo, "worktree", "list").splitlines()) == 1


def test_a_worktree_is_removed_after_an_interruption(repo):
    with pytest.raises(KeyboardInterrupt), opened("main", "base"):
        raise KeyboardInterrupt
    assert len(git(repo, "worktree", "list").splitlines()) == 1


def test_the_remote_main_branch_comes_before_the_local_one(repo):
    git(repo, "update-ref", "refs/remotes/origin/main", "main~1")
    with opened(None, "base") as base:
        assert text_of(base) == "NUMBER = 0"


def test_a_folder(tmp_path):
    folder = package(tmp_path / "other", "NUMBER = 'folder'\n")
    with opened(str(folder), "head") as side:
        assert (side.folder, side.label) == (folder, str(folder))
    assert folder.exists()


def test_a_wheel_is_unpacked(tmp_path):
    path = wheel(tmp_path / "gdn_ops-1-py3-none-any.whl", "NUMBER = 'wheel'\n")
    with opened(str(path), "base") as side:
        assert text_of(side) == "NUMBER = 'wheel'"
        assert side.label == path.name
    assert side.folder is not None and not side.folder.exists()


def test_a_results_file_is_not_opened_here(tmp_path):
    path = tmp_path / "saved.json"
    path.write_text("{}")
    with opened(str(path), "base") as side:
        assert (side.stored, side.folder) == (path, None)


def test_outside_of_a_repository_the_head_is_the_installed_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened(None, "head") as side:
        assert (side.folder, side.label) == (None, "the installed package")


def test_a_relative_database_is_of_the_side(repo):
    tuned = Path("tuned") / "results.db"
    (repo / "tuned").mkdir()
    (repo / tuned).write_text("head")
    with opened("main", "base", database=tuned) as base, opened(None, "head", database=tuned) as h:
        assert base.database is None
        assert h.database == repo / tuned


def test_a_project_without_the_package_is_compared_by_its_database(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    (project / "tuned.db").write_text("old")
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "tuned")
    (project / "tuned.db").write_text("new")
    monkeypatch.chdir(project)
    database = Path("tuned.db")
    with opened("main", "base", database=database) as base:
        assert base.folder is None and base.database is not None
        assert base.database.read_text() == "old"
    with opened(None, "head", database=database) as head:
        assert head.folder is None and head.database is not None
        assert head.database.read_text() == "new"


@pytest.mark.parametrize("given", ["no-such-branch", "--all", "main:", "HEAD~99", ""])
def test_a_revision_that_does_not_exist_is_refused(repo, given):
    refuse(given, "base", "no such revision; name the base as a git revision")


def test_a_revision_outside_of_a_repository_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(None, "base", "the current folder is in no working tree of git")


def test_a_folder_without_the_package_is_refused(tmp_path):
    refuse(str(tmp_path), "head", "has no package gdn_ops in it")


def test_a_file_that_is_no_wheel_is_refused(tmp_path):
    path = tmp_path / "gdn_ops.whl"
    path.write_text("not a zip file")
    refuse(str(path), "base", "neither a wheel nor a results file")


def test_a_wheel_of_another_package_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "other.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/__init__.py", "")
    refuse(str(path), "base", "has no package gdn_ops")


def test_a_repository_without_a_main_branch_says_so(repo):
    git(repo, "branch", "--quiet", "--delete", "--force", "main")
    refuse(None, "base", r"has none of the branches .*--base REVISION")


def test_histories_without_a_common_commit_say_so(repo):
    git(repo, "switch", "--quiet", "--orphan", "lone")
    git(repo, "commit", "--quiet", "--allow-empty", "-m", "alone")
    refuse(None, "base", "fetch-depth: 0")


@pytest.mark.parametrize("given", ["^main", "HEAD:gdn_ops", "HEAD^{tree}"])
def test_what_is_no_single_commit_is_refused(repo, given):
    refuse(given, "base", "no such revision")


def test_a_revision_by_its_message(repo):
    with opened(":/commit 0", "base") as side:
        assert text_of(side) == "NUMBER = 0"


def test_a_name_too_long_for_a_file_is_refused(repo):
    refuse("x" * 300, "base", "no such revision")


def test_a_revision_called_like_a_folder(repo):
    (repo / "docs").mkdir()
    git(repo, "branch", "docs", "main")
    refuse("docs", "base", r"for the revision of this name write docs\^0")
    with opened("docs^0", "base") as side:
        assert text_of(side) == "NUMBER = 1"


def test_a_shallow_history_is_named(repo, tmp_path, monkeypatch):
    git(repo, "clone", "--quiet", "--depth=1", f"file://{repo}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    refuse("HEAD~1", "base", "git fetch --unshallow")


def test_a_repository_without_commits_says_so(tmp_path, monkeypatch):
    folder = repository(tmp_path / "new", commits=0)
    monkeypatch.chdir(folder)
    refuse(None, "base", "has no commit yet")


def test_a_repository_that_git_refuses_to_read_says_why(repo):
    (repo / ".git" / "config").write_text("[core\n")
    refuse("main", "base", "git rev-parse in .* failed: fatal: bad config")


def test_without_git_only_revisions_are_refused(repo, monkeypatch):
    monkeypatch.setenv("PATH", str(repo))
    refuse(None, "base", "git cannot be started .* install it")
    with opened(None, "head") as side:
        assert (side.folder, side.commit) == (repo, None)


def test_hooks_do_not_run(repo):
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    with opened("main", "base") as side:
        assert text_of(side) == "NUMBER = 1"


def test_a_check_inside_of_a_hook_leaves_the_index_alone(repo, monkeypatch):
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    monkeypatch.setenv("GIT_DIR", ".git")
    with opened("main", "base") as side:
        assert text_of(side) == "NUMBER = 1"
    monkeypatch.undo()
    assert git(repo, "status", "--porcelain") == ""


def test_a_worktree_that_cannot_be_made_is_forgotten(repo):
    git(repo, "config", "filter.broken.smudge", "false")
    git(repo, "config", "filter.broken.required", "true")
    (repo / ".git" / "info" / "attributes").write_text("* filter=broken\n")
    refuse("main", "base", "git worktree in .* failed")
    assert len(git(repo, "worktree", "list").splitlines()) == 1


def test_a_subject_that_is_no_utf8_is_shown(repo, tmp_path):
    message = tmp_path / "message"
    message.write_bytes(b"caf\xe9 " + b"x" * 200)
    git(
        repo, "-c", "i18n.commitEncoding=bogus", "commit", "-q", "--allow-empty", "-F", str(message)
    )
    with opened("HEAD", "base") as side:
        assert "caf" in side.label and len(side.label) < 100


@pytest.mark.parametrize("offset, value", [(6, 1), (8, 77)], ids=["encrypted", "compression"])
def test_a_wheel_that_cannot_be_unpacked_is_refused(tmp_path, offset, value):
    path = wheel(tmp_path / "gdn_ops.whl", "NUMBER = 1\n")
    content = bytearray(path.read_bytes())
    content[offset] = content[content.find(b"PK\x01\x02") + offset + 2] = value
    path.write_bytes(content)
    refuse(str(path), "base", "neither a wheel nor a results file")


def test_a_wheel_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gdn_ops.tuner.check.sides.MAX_WHEEL_BYTES", 10)
    refuse(str(wheel(tmp_path / "gdn_ops.whl", "x" * 11)), "base", "11 bytes, more than 10")


def test_a_second_interruption_leaves_no_worktree(repo, monkeypatch):
    remove = repository_module.subprocess.run

    def interrupted(command, **options):
        if "remove" in command:
            signal.raise_signal(signal.SIGINT)  # in this thread, so that it comes now
        return remove(command, **options)

    monkeypatch.setattr(repository_module.subprocess, "run", interrupted)
    # whatever handler an earlier test of this process has left
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), opened("main", "base") as side:
            pass
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    monkeypatch.undo()
    assert side.folder is not None and not side.folder.exists()
    assert len(git(repo, "worktree", "list").splitlines()) == 1
