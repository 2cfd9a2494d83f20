"""Where a run came from: git, CI, versions, the driver."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from pynb_dag_runner.execute import provenance
from pynb_dag_runner.execute.provenance import (
    ci_variables,
    driver_record,
    git_record,
    library_versions,
    parse_git,
    without_credentials,
)
from pynb_dag_runner.run_folder.records import GitRecord

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A work tree with one commit on the branch ``work``."""
    git(tmp_path, "init", "--initial-branch=work")
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "--message=first")
    return tmp_path


def test_git_record_of_a_clean_work_tree(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://me:secret@example.org/team/project.git")
    (repository / "below").mkdir()
    assert git_record(repository / "below") == GitRecord(
        commit=git(repository, "rev-parse", "HEAD"), branch="work", remote_url="https://example.org/team/project.git"
    )


@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        ("a.txt", True),  # a tracked file was changed
        ("new.txt", False),  # run folders and the like are not tracked
    ],
)
def test_only_tracked_files_make_a_work_tree_dirty(repository: Path, file: str, dirty: bool) -> None:
    (repository / file).write_text("2")
    record = git_record(repository)
    assert record is not None
    assert record.dirty is dirty


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--detach")
    record = git_record(repository)
    assert record is not None
    assert (record.branch, record.remote_url) == (None, None)


def test_git_variables_of_a_hook_do_not_lead_to_another_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository / "nowhere"))
    assert git_record(repository) is not None


def test_no_record_outside_of_a_work_tree_or_before_the_first_commit(tmp_path: Path) -> None:
    assert git_record(tmp_path) is None
    git(tmp_path, "init")
    assert git_record(tmp_path) is None


def test_no_record_where_git_is_not_installed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_record(repository) is None


def test_no_record_when_git_is_too_slow(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository / "git"
    slow.write_text(f"#!/bin/sh\nsleep 5\necho '# branch.oid {COMMIT}'\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "GIT_TIMEOUT_S", 0.2)
    assert git_record(repository) is None


def test_the_remote_called_origin_comes_first() -> None:
    remotes = "remote.fork.url https://example.org/fork\nremote.origin.url https://example.org/main\n"
    record = parse_git(f"# branch.oid {COMMIT}\n# branch.head main\n", remotes)
    assert record == GitRecord(commit=COMMIT, branch="main", remote_url="https://example.org/main")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://me:token@example.org:8443/a.git?key=1#x", "https://example.org:8443/a.git"),
        ("ssh://git@example.org/a.git", "ssh://example.org/a.git"),
        ("git@example.org:team/a.git", "example.org:team/a.git"),  # git's short form of ssh
        ("/srv/a@b:c", "/srv/a@b:c"),  # a path: the colon comes after a slash
        ("https://[broken", "https://"),  # nothing of what can't be understood
    ],
)
def test_urls_lose_their_credentials(url: str, kept: str) -> None:
    assert without_credentials(url) == kept


def test_ci_variables_are_those_of_the_system_we_run_on() -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "abc", "GITHUB_TOKEN": "t", "BUILD_ID": "7", "GITHUB_REF": ""}
    assert ci_variables(environ) == {"GITHUB_SHA": "abc"}


def test_ci_variables_lose_their_credentials_too() -> None:
    environ = {"GITLAB_CI": "true", "CI_PROJECT_URL": "https://me:token@example.org/p", "CI_JOB_TOKEN": "t"}
    assert ci_variables(environ) == {"CI_PROJECT_URL": "https://example.org/p"}


def test_no_name_in_the_list_sounds_like_a_secret() -> None:
    names = {name for names in provenance.CI_VARIABLES.values() for name in names}
    assert not [name for name in names if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "KEY", "AUTH"))]


def test_library_versions_are_those_installed() -> None:
    assert {"python", "pynb-dag-runner", "ray", "papermill"} <= library_versions().keys()


def test_driver_record_finds_this_process() -> None:
    record = driver_record("inline")
    assert psutil.Process(record.pid).create_time() == record.process_start_s
    assert (record.executor, record.working_directory) == ("inline", str(Path.cwd()))
