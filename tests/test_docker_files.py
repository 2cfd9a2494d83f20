"""The Docker files against the rest of the repository: what no linter and no schema can see."""

import configparser
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    found: dict[str, Any] = compose["services"]
    return found


def extras() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


def test_every_service_builds_a_target_that_the_dockerfile_has() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE))
    assert {service["build"]["target"] for service in services().values()} <= targets


def test_build_context_is_the_root_where_docker_finds_dockerignore() -> None:
    contexts = {(ROOT / "docker" / service["build"]["context"]).resolve() for service in services().values()}
    assert contexts == {ROOT}
    assert (ROOT / ".dockerignore").is_file()


def test_copied_files_exist() -> None:
    lines = re.findall(r"^COPY (?:--chown=\S+ )?(.+)$", DOCKERFILE, flags=re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_server_accepts_the_name_by_which_the_runner_calls_it() -> None:
    uri = urlsplit(services()["runner"]["environment"]["MLFLOW_TRACKING_URI"])
    allowed = re.search(r'"--allowed-hosts", "([^"]+)"', DOCKERFILE)
    assert allowed is not None
    assert uri.hostname in services()
    assert uri.netloc in allowed.group(1).split(",")


def test_server_without_a_password_is_published_on_this_machine_only() -> None:
    assert services()["mlflow"]["ports"] == ["127.0.0.1:${MLFLOW_PORT:-5000}:5000"]


def test_the_printed_links_lead_to_the_published_port() -> None:
    assert services()["runner"]["environment"]["PYNB_DAG_RUNNER_MLFLOW_UI"] == "http://localhost:${MLFLOW_PORT:-5000}"


def test_nothing_of_the_empty_packages_is_left_for_the_second_install() -> None:
    """``build/lib`` with its newer, empty files would be installed in the place of the code."""
    first, second = DOCKERFILE.index("rm -rf build"), DOCKERFILE.index("pip install --no-deps --force-reinstall")
    assert DOCKERFILE.index('pip install ".[${EXTRAS}]"') < first < second


def test_installed_extras_are_those_of_the_package() -> None:
    default = re.search(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert default is not None
    asked = {default.group(1), *services()["runner"]["build"]["args"]["EXTRAS"].split(",")}
    assert asked <= extras()


def test_no_image_runs_as_root() -> None:
    stages = DOCKERFILE.split("\nFROM ")[1:]
    last_users = {stage.split()[2]: re.findall(r"^USER (\S+)$", stage, flags=re.MULTILINE)[-1:] for stage in stages}
    assert {name: users for name, users in last_users.items() if name != "base"} == {
        service["build"]["target"]: ["1000"] for service in services().values()
    }
