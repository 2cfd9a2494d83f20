"""The published schemas are what the records say, and what runs write is what the schemas say."""

import importlib.resources
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from jsonschema import Draft202012Validator, ValidationError

from pynb_dag_runner import Pipeline, RunStatus, tracking
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.run_folder.event_lines import EVENT_NAMES
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION
from pynb_dag_runner.run_folder.schema import FOLDER, schema_text, schemas

NAMES = ("attempt", "event", "metric", "run", "task", "tracking")
SCHEMA_OF_FILE = {
    paths.RUN: "run",
    paths.EVENTS: "event",
    paths.TASK: "task",
    paths.ATTEMPT: "attempt",
    paths.TRACKING: "tracking",
    paths.METRICS: "metric",
}
GOLDEN = sorted((Path(__file__).parents[1] / "golden").iterdir())
TIME = "2026-11-23T05:47:12Z"


def published(name: str) -> dict[str, Any]:
    """A schema as users find it in the installed package."""
    file = importlib.resources.files("pynb_dag_runner.run_folder") / "schema" / f"{name}.json"
    schema: dict[str, Any] = json.loads(file.read_text())
    return schema


def validate(name: str, document: Any) -> None:
    Draft202012Validator(published(name)).validate(document)


def documents(folder: Path) -> Iterator[tuple[str, Any]]:
    """Each JSON document of a run folder with the name of its schema; lines of .jsonl files one by one."""
    for path in sorted(folder.rglob("*.json*")):
        if path.name in SCHEMA_OF_FILE:
            texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            yield from ((SCHEMA_OF_FILE[path.name], json.loads(text)) for text in texts)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which tasks succeed, fail, time out, are tried again and are skipped."""
    mark = tmp_path_factory.mktemp("state") / "mark"

    def flaky() -> list[int]:
        if not mark.exists():
            mark.touch()
            raise ConnectionError("not yet")
        return [1, 2]

    def log(values: list[int]) -> set[int]:
        tracking.log_metrics({"loss": float("nan"), "acc": 1}, step=2)
        tracking.log_param("depth", 3)
        tracking.set_tag("stage", "x")
        tracking.set_output("worst", float("-inf"))
        return set(values)

    def fail() -> None:
        raise ValueError("no")

    def hang() -> None:
        time.sleep(60)

    pipeline = Pipeline("all-endings", parameters={"rate": float("inf")}, base_dir=mark.parent)
    first = pipeline.function(flaky, retries=1, resources={"disk": 0.5}, memory=1000)
    pipeline.function(log, parameters={"values": first.output()})
    failed = pipeline.function(fail)
    pipeline.function(hang, timeout_s=0.1)
    pipeline.function(fail, name="skipped", after=[failed])
    result = pipeline.run(executor="inline", progress=False, output_dir=mark.parent)
    assert result.status is RunStatus.FAILED
    return result.folder


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14), reason="older pydantic words the same schemas otherwise"
)
def test_the_published_files_are_those_that_the_records_give() -> None:
    # Out of date? python -m pynb_dag_runner.run_folder.schema
    assert {path.stem: path.read_text() for path in FOLDER.glob("*.json")} == {
        name: schema_text(schema) for name, schema in schemas().items()
    }
    assert tuple(sorted(schemas())) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_says_what_it_is_for(name: str) -> None:
    schema = published(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:pynb-dag-runner:run-folder:{SCHEMA_VERSION}:{name}"
    assert all(schema[key].strip() for key in ("title", "description"))


@pytest.mark.parametrize("name", NAMES)
def test_files_of_a_real_run_are_valid(real_run: Path, name: str) -> None:
    found = [document for kind, document in documents(real_run) if kind == name]
    assert found
    for document in found:
        validate(name, document)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_golden_runs_are_valid(golden: Path, name: str) -> None:
    found = [document for kind, document in documents(golden) if kind == name]
    assert found
    for document in found:
        validate(name, document)


def test_every_key_that_a_real_run_writes_is_in_the_schema(real_run: Path) -> None:
    unknown = {
        (name, key)
        for name, document in documents(real_run)
        if name != "event"
        for key in document.keys() - published(name)["properties"].keys()
    }
    assert unknown == set()


def test_every_kind_of_event_has_a_schema() -> None:
    schema = published("event")
    kinds = [
        schema["$defs"][part["$ref"].rpartition("/")[2]]["properties"]["event"]["const"] for part in schema["oneOf"]
    ]
    assert kinds == list(EVENT_NAMES.values())


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("tracking", {}),  # no version
        ("tracking", {"schema_version": "2.0"}),  # a version to come
        ("tracking", {"schema_version": "1.0", "params": {"depth": 3}}),  # a param is text
        ("metric", {"key": "a", "value": "1", "timestamp": TIME}),
        ("metric", {"key": "a", "value": 1}),
        ("event", {"event": "exploded", "time": TIME}),
        ("event", {"event": "run_ended", "time": TIME, "status": "GREAT"}),
    ],
)
def test_a_document_that_the_reader_refuses_is_not_valid(name: str, document: Any) -> None:
    with pytest.raises(ValidationError):
        validate(name, document)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("tracking", {"schema_version": "1.7", "new": 1}),  # a newer minor version, with a key that is not known here
        ("metric", {"key": "a", "value": "-Infinity", "timestamp": TIME}),
    ],
)
def test_a_document_that_the_reader_takes_is_valid(name: str, document: Any) -> None:
    validate(name, document)
