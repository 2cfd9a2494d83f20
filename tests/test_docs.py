"""The description of the run folder names every file and every key, and no key that is not there."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from pynb_dag_runner.execute.journal import HEARTBEAT_S
from pynb_dag_runner.model.declarations import declared
from pynb_dag_runner.model.outcomes import Failure, Outcome, RunStatus, TaskStatus
from pynb_dag_runner.model.run_settings import RunSettings
from pynb_dag_runner.model.task_options import TaskOptions
from pynb_dag_runner.run_folder import paths, reader, records, safe_read
from pynb_dag_runner.run_folder.event_lines import EVENT_NAMES
from pynb_dag_runner.run_folder.records import SCHEMA_VERSION, Record
from pynb_dag_runner.worker.failures import MAX_MESSAGE_CHARACTERS
from tests import option_tables

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "run-folder.md").read_text()

SECTIONS: dict[str, type[Record] | type[TaskOptions] | type[RunSettings]] = {
    "`run.json`": records.RunRecord,
    "Tasks of the DAG": records.PlannedTask,
    "Fingerprint": records.FingerprintRecord,
    "Given parameters": records.GivenRecord,
    "Target": records.TargetRecord,
    "Settings": RunSettings,
    "Resumes": records.ResumeRecord,
    "Tasks that run again": records.RunAgainRecord,
    "Options": TaskOptions,
    "Driver": records.DriverRecord,
    "Git": records.GitRecord,
    "`task.json`": records.TaskRecord,
    "Verdicts": records.AttemptVerdict,
    "`attempt.json`": records.AttemptRecord,
    "How a kernel came about": records.KernelStart,
    "Errors": records.Error,
    "`tracking.json`": records.TrackingRecord,
    "`metrics.jsonl`": records.Metric,
}
"""The heading under which a record's keys are described."""


def section(heading: str) -> str:
    """What stands between a heading and the next one."""
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading!r}"
    return found.group(1)


def described_keys(heading: str) -> list[str]:
    """The first column of the section's table."""
    return re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)


def required_keys(heading: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \| [^|]*required", section(heading), re.MULTILINE))


FILE_NAMES = [
    value for name, value in vars(paths).items() if name.isupper() and name[0] != "_" and isinstance(value, str)
]
"""Every constant of ``paths`` is the name of a file or folder."""


@pytest.mark.parametrize("name", FILE_NAMES)
def test_every_file_is_described(name: str) -> None:
    assert re.search(rf"^ *{re.escape(name)}\b", TEXT, re.MULTILINE), "not in the picture"
    folder_of_folders = name == paths.TASKS
    assert folder_of_folders or re.search(rf"`{re.escape(name)}/?`", TEXT), "not in the text"


def keys(record: type[Record] | type[TaskOptions] | type[RunSettings]) -> dict[str, bool]:
    """A record's keys, and whether a reader requires them."""
    if issubclass(record, Record):
        return {name: field.is_required() for name, field in record.model_fields.items()}
    return {option.key: option.default is MISSING for option in declared(record).values()}


def test_every_record_has_a_section() -> None:
    assert set(SECTIONS.values()) == {*Record.__subclasses__(), TaskOptions, RunSettings}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_a_record_is_described_and_no_other(heading: str) -> None:
    assert described_keys(heading) == list(keys(SECTIONS[heading]))


@pytest.mark.parametrize("heading", SECTIONS)
def test_what_a_reader_requires_is_called_required(heading: str) -> None:
    known = keys(SECTIONS[heading])
    required = {name for name, is_required in known.items() if is_required}
    versioned = {"schema_version"} & known.keys()  # has a default, and yet a reader demands it
    assert required_keys(heading) == required | versioned


@pytest.mark.parametrize(("kind", "name"), EVENT_NAMES.items(), ids=EVENT_NAMES.values())
def test_every_key_of_an_event_is_described_and_no_other(kind: type, name: str) -> None:
    assert described_keys(f"`{name}`") == ["event", *(field.name for field in fields(kind))]


def test_an_error_has_the_same_keys_in_records_and_events() -> None:
    assert [field.name for field in fields(Failure)] == list(records.Error.model_fields)


@pytest.mark.parametrize("word", sorted({*Outcome, *TaskStatus, *RunStatus}))
def test_every_word_is_explained(word: str) -> None:
    assert f"`{word}`" in section("Words")


def test_version_and_figures_are_those_of_the_code() -> None:
    assert f"version **{SCHEMA_VERSION}** of the format" in TEXT
    assert f"touches every {HEARTBEAT_S:g} seconds" in TEXT
    assert f"After {reader.STALE_AFTER_S:g} seconds without a sign of life" in TEXT
    assert f"JSON files above {safe_read.MAX_FILE_BYTES / 2**30:g} GiB" in TEXT.replace("\n", " ")
    assert f"at most {MAX_MESSAGE_CHARACTERS:,} characters" in TEXT


@pytest.mark.parametrize("page", sorted({page for page, _ in option_tables.TABLES.values()}))
def test_tables_of_options_are_current(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert option_tables.with_tables(page, text) == text  # out of date? python -m tests.option_tables


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_links_inside_the_page_lead_to_its_headings() -> None:
    headings = re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/.-])(?:[a-z_-]+/)+[a-z_]+\.py\b", page.read_text()))
    places = (ROOT, ROOT / "pynb_dag_runner", ROOT / "mlflow_bridge", ROOT / "tests")
    assert sorted(name for name in named if not any((place / name).exists() for place in places)) == []
