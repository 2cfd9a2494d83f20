"""Every command that README and docs show is typed by a test, or stands here with the reason why none does."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from pynb_dag_runner.cli import pynb_dag_runner
from tests.end_to_end.cli_process import PATIENCE_S, PROGRAM, environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "digits" / "README.md"]
COMMANDS = ("pynb-dag-runner", "make", "docker", "export", "pip", "python", ".venv/bin/python", "ray")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

TYPED = {
    "pynb-dag-runner check examples/quickstart/pipeline.py",
    "pynb-dag-runner run examples/quickstart/pipeline.py -p count=100",
    "pynb-dag-runner run examples/quickstart/notebooks/make_data.py -p count=3",
    "pynb-dag-runner list runs",
    "pynb-dag-runner upload runs/quickstart/*",
    "pynb-dag-runner upload runs",
    "python examples/digits/notebooks/ingest.py",
}
"""Typed below, as they stand."""

ELSEWHERE = {
    "make demo": ".github/workflows/ci.yml: - run: make demo",
    "make venv && . .venv/bin/activate": ".ci/demo: make",
    "make venv": ".ci/demo: make",
    "make test": ".ci/run: make test",
    "make bench-smoke": ".ci/run: make bench-smoke",
    "pynb-dag-runner ui": "tests/bridge/cli/test_commands.py: def test_the_ui_answers_at_the_address_that_it_prints",
    'export RUN_AS="$(id -u):$(id -g)"': ".ci/test-docker: export RUN_AS",
    "docker compose --file docker/compose.yaml up --detach mlflow": ".ci/test-docker: up --detach mlflow",
    "docker compose --file docker/compose.yaml run --rm runner run examples/quickstart/pipeline.py": (
        ".ci/test-docker: run --rm runner run examples/quickstart/pipeline.py"
    ),
    "docker compose --file docker/compose.yaml run --rm runner upload runs/quickstart/RUN_ID": (
        ".ci/test-docker: run --rm runner upload"
    ),
    "docker compose --file docker/compose.yaml run --rm development make test": (
        ".ci/test-docker: run --rm development make test"
    ),
    "pynb-dag-runner run pipeline.py --ray-address head.example.org:6379": (
        "tests/cluster/test_cluster_runs.py: --ray-address"
    ),
    "pip install 'pynb-dag-runner[upload]'": ".ci/check-package: pynb-dag-runner[upload]",
    "pynb-dag-runner upload runs/digits/20261123T054712Z-9f3c": ".ci/demo: upload",
    "pynb-dag-runner upload run-folders.zip": "tests/bridge/uploads/test_batch_in_archives.py: .zip",
    "pynb-dag-runner run pipeline.py --upload": "tests/bridge/cli/test_after_run.py: --upload",
    "pynb-dag-runner run deploy.py -p api_key=@env:DEPLOY_KEY": "tests/faults/test_secret_parameters.py: api_key=@env:",
    "pynb-dag-runner run deploy.py --parameters-file secrets.yaml": (
        "tests/faults/test_secret_parameters.py: --parameters-file"
    ),
    "pynb-dag-runner run examples/digits/pipeline.py": ".ci/demo: examples/digits/pipeline.py",
}
"""Where they, or the same with other values, are typed: a file, and a part of it that shows it."""

NOT_TYPED = {
    "make ui-dev": "starts a server for people to look at",
    ".venv/bin/python -m pytest ui-dev": "needs a server with a browser, for minutes; run by hand before a release",
    ".venv/bin/python -m pytest ui-dev -k report": "the same",
    ".venv/bin/python ui-dev/screenshots.py": "writes pictures into the repository",
    "pynb-dag-runner upload $(pynb-dag-runner run pipeline.py --ray-address raycluster-demo-head-svc:6379 "
    "--wait-for-nodes)": "needs KubeRay",
    "ray job submit --working-dir . -- pynb-dag-runner run pipeline.py --ray-address auto --output-dir /data/runs": (
        "needs Ray's dashboard, which is none of our dependencies"
    ),
    "pip install 'pynb-dag-runner[mlflow]'": "850 MB; what it installs is what the tests run in",
    'pip install -e ".[examples]"': "what `make venv` does",
    "make bench": "takes two hours",
    'make bench BENCH_ARGS="latency functions"': "a part of it",
    'make bench BENCH_ARGS="growth --rounds 1 --output-dir /tmp/figures"': "a part of it",
    'pynb-dag-runner run examples/digits/pipeline.py -p "train_sizes=[50, 1000]" -p simulate_faults=false': (
        "`make demo` runs the same with other parameters"
    ),
}
"""Why not."""


def shown() -> list[str]:
    """Every command line in a block of the pages, without its comment."""
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text("utf-8"))]
    lines = [line for language, block in blocks if language in ("", "sh", "bash") for line in block.splitlines()]
    commands = [re.sub(r"\s+# .*", "", line).strip() for line in lines]
    return list(dict.fromkeys(line for line in commands if line.split(" ")[0] in COMMANDS))


def test_every_command_of_the_pages_is_listed_once_and_no_other() -> None:
    listed = [*TYPED, *ELSEWHERE, *NOT_TYPED]
    assert sorted(listed) == sorted(shown())


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_command_is_typed_where_the_list_says(command: str) -> None:
    name, _, part = ELSEWHERE[command].partition(": ")
    assert part in (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize(
    "line", [line for line in shown() if "pynb-dag-runner " in line and not line.startswith("pip")]
)
def test_every_command_and_option_exists(line: str) -> None:
    for part in re.split(r"\$\(|\)", line):
        _, found, written = part.partition("pynb-dag-runner ")
        if not found:
            continue
        name, *arguments = shlex.split(written)
        context = click.Context(pynb_dag_runner)
        command = pynb_dag_runner.get_command(context, name)
        assert command is not None, name
        assert isinstance(command, click.Command)
        # What is known of the arguments is their number and the options, not whether the files are there.
        parser = command.make_parser(click.Context(command, info_name=name))
        parser.parse_args(arguments or ["."])


def test_the_commands_of_the_readme_work_as_they_stand(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(ROOT / "examples", copied / "examples", ignore=shutil.ignore_patterns("runs", "work", "mlflow.db"))
    order = [line for line in shown() if line in TYPED]
    done = subprocess.run(
        ["bash", "-euxc", "\n".join(order)],
        cwd=copied,
        env=environment({"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(copied.glob("runs/quickstart/*/report.html"))) == 1
    assert len(list(copied.glob("runs/make_data/*/report.html"))) == 1
    assert (copied / "mlflow.db").is_file()
