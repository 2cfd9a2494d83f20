"""Record where a run came from: the state of the code, the CI job, the libraries, the driver process.

Each function looks at one thing outside and returns a record of it. What can't be found is absent; nothing here fails a
run. No name or value that could be a secret is taken: environment variables by an explicit list, URLs without their
user name and password.
"""

import getpass
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

import psutil

from pynb_dag_runner.run_folder.records import DriverRecord, GitRecord

GIT_TIMEOUT_S = 2.0
"""For all questions to git together: a slow network disk must not hold up a run for the sake of a note about it."""

CI_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # docs.github.com/actions/reference/workflows-and-actions/variables
        "GITHUB_ACTIONS": (
            "GITHUB_SERVER_URL",
            "GITHUB_REPOSITORY",
            "GITHUB_RUN_ID",
            "GITHUB_RUN_NUMBER",
            "GITHUB_RUN_ATTEMPT",
            "GITHUB_WORKFLOW",
            "GITHUB_JOB",
            "GITHUB_EVENT_NAME",
            "GITHUB_REF",
            "GITHUB_REF_NAME",
            "GITHUB_HEAD_REF",
            "GITHUB_BASE_REF",
            "GITHUB_SHA",
            "GITHUB_ACTOR",
        ),
        # docs.gitlab.com/ci/variables/predefined_variables; CI_REPOSITORY_URL holds a token and is left out
        "GITLAB_CI": (
            "CI_SERVER_URL",
            "CI_PROJECT_PATH",
            "CI_PROJECT_URL",
            "CI_PIPELINE_ID",
            "CI_PIPELINE_IID",
            "CI_PIPELINE_URL",
            "CI_PIPELINE_SOURCE",
            "CI_JOB_ID",
            "CI_JOB_NAME",
            "CI_JOB_STAGE",
            "CI_JOB_URL",
            "CI_COMMIT_SHA",
            "CI_COMMIT_REF_NAME",
            "CI_COMMIT_BRANCH",
            "CI_COMMIT_TAG",
            "CI_MERGE_REQUEST_IID",
        ),
        # www.jenkins.io/doc/book/pipeline/jenkinsfile, "Using environment variables"
        "JENKINS_URL": (
            "BUILD_ID",
            "BUILD_NUMBER",
            "BUILD_TAG",
            "BUILD_URL",
            "JOB_NAME",
            "BRANCH_NAME",
            "CHANGE_ID",
            "GIT_BRANCH",
            "GIT_COMMIT",
        ),
        # learn.microsoft.com/azure/devops/pipelines/build/variables
        "TF_BUILD": (
            "BUILD_BUILDID",
            "BUILD_BUILDNUMBER",
            "BUILD_DEFINITIONNAME",
            "BUILD_REASON",
            "BUILD_REPOSITORY_NAME",
            "BUILD_SOURCEBRANCH",
            "BUILD_SOURCEVERSION",
            "SYSTEM_TEAMPROJECT",
        ),
        # buildkite.com/docs/pipelines/configure/environment-variables
        "BUILDKITE": (
            "BUILDKITE_BUILD_NUMBER",
            "BUILDKITE_BUILD_URL",
            "BUILDKITE_BRANCH",
            "BUILDKITE_COMMIT",
            "BUILDKITE_JOB_ID",
            "BUILDKITE_PIPELINE_SLUG",
        ),
        # circleci.com/docs/reference/variables
        "CIRCLECI": (
            "CIRCLE_BRANCH",
            "CIRCLE_BUILD_NUM",
            "CIRCLE_BUILD_URL",
            "CIRCLE_JOB",
            "CIRCLE_SHA1",
            "CIRCLE_WORKFLOW_ID",
        ),
    }
)
"""The variables that name a job, under the one that tells which CI system it is. Each is written out: a pattern like
``GITHUB_*`` would take ``GITHUB_TOKEN`` too."""

LIBRARIES = ("pynb-dag-runner", "ray", "papermill", "jupytext", "nbconvert", "ipykernel")
"""Distributions whose versions may change what a task does or how it is shown."""


def git_record(directory: Path) -> GitRecord | None:
    """Commit, branch, remote and cleanness of the git work tree that ``directory`` lies in.

    Returns:
        None where there is no git, no work tree, no commit yet, or no answer within :data:`GIT_TIMEOUT_S`.
    """
    deadline = time.monotonic() + GIT_TIMEOUT_S
    status = _git(directory, deadline, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return None
    remotes = _git(directory, deadline, "config", "--get-regexp", r"^remote\..*\.url$") or ""
    return parse_git(status, remotes)


def parse_git(status: str, remotes: str) -> GitRecord | None:
    """A record from git's own words.

    Args:
        status: of ``git status --porcelain=v2 --branch``; lines with ``#`` are headers, any other is a changed file.
        remotes: of ``git config --get-regexp``: a line ``remote.<name>.url <url>`` for each.
    """
    headers = dict(line[2:].partition(" ")[::2] for line in status.splitlines() if line.startswith("# "))
    commit, branch = headers.get("branch.oid", ""), headers.get("branch.head")
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        return None
    urls = dict(line.partition(" ")[::2] for line in remotes.splitlines() if " " in line)
    url = urls.get("remote.origin.url") or next(iter(urls.values()), None)
    return GitRecord(
        commit=commit,
        branch=None if branch == "(detached)" else branch,
        remote_url=without_credentials(url) if url else None,
        dirty=any(not line.startswith("#") for line in status.splitlines()),
    )


def without_credentials(url: str) -> str:
    """``url`` without user name, password, query and fragment; a path is returned as it is.

    Git also knows ``user@host:path``: it is meant when no slash comes before the first colon (git-fetch, "GIT URLS").
    """
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return url.partition("://")[0] + "://"
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    host, colon, path = url.partition(":")
    if not colon or "/" in host:
        return url
    return f"{host.rpartition('@')[2]}:{path}"


def ci_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``environ`` that name the CI job, never one that may hold a token; empty outside of CI."""
    found = {}
    for marker, names in CI_VARIABLES.items():
        if environ.get(marker):
            found.update({name: environ[name] for name in names if environ.get(name)})
    return {name: without_credentials(value) if "://" in value else value for name, value in found.items()}


def library_versions() -> dict[str, str]:
    """Versions of Python and of :data:`LIBRARIES`, as installed here; what is not installed is absent."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def driver_record(executor_name: str, engine: str | None = None) -> DriverRecord:
    """This process, so that readers can tell whether it is still there.

    Args:
        executor_name: the engine that it drives, such as ``ray``.
        engine: mark of all that the engine starts.
    """
    return DriverRecord(
        host=os.uname().nodename,
        pid=os.getpid(),
        process_start_s=psutil.Process().create_time(),
        user=_user(),
        working_directory=_working_directory(),
        executor=executor_name,
        engine=engine,
    )


def _git(directory: Path, deadline: float, *arguments: str) -> str | None:
    """What git prints; None if it is not there, says no, or is too slow."""
    # GIT_DIR and its like are set in hooks and would answer for another repository than the one asked about.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Without optional locks `status` does not write the index, which a commit made meanwhile would stumble over.
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=max(0.0, deadline - time.monotonic()),
            encoding="utf-8",
            errors="replace",
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _user() -> str:
    """Who runs it; empty for a user id without a name, as containers have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _working_directory() -> str:
    """The current directory; empty if it was deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
