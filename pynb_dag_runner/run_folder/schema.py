"""Generate the JSON Schema of a run folder's files from the records, so that the two can't disagree.

``python -m pynb_dag_runner.run_folder.schema`` writes ``schema/*.json`` beside this file; a test fails when these are
out of date. A schema accepts what the reader accepts: a file of a newer minor version, with keys that are not described
here, is valid. Dialect: JSON Schema 2020-12.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema
from pydantic_core import CoreSchema
from pydantic_core.core_schema import WithDefaultSchema

from pynb_dag_runner.run_folder.event_lines import KINDS, adapter
from pynb_dag_runner.run_folder.records import (
    SCHEMA_VERSION,
    AttemptRecord,
    Metric,
    Record,
    RunRecord,
    TaskRecord,
    TrackingRecord,
)

FOLDER = Path(__file__).with_name("schema")
"""Where the generated files are; they are part of the package."""

_MAJOR = SCHEMA_VERSION.partition(".")[0]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_RECORDS: Mapping[str, tuple[type[Record], str]] = MappingProxyType(
    {
        "run": (RunRecord, "run.json of a run folder"),
        "task": (TaskRecord, "task.json of a run folder"),
        "attempt": (AttemptRecord, "attempt.json of a run folder"),
        "tracking": (TrackingRecord, "tracking.json of a run folder"),
        "metric": (Metric, "A line of metrics.jsonl of a run folder"),
    }
)


class _Generator(GenerateJsonSchema):
    """Leaves out titles that only repeat a key, such as "Queue S" for ``queue_s``."""

    def field_title_should_be_set(self, schema: CoreSchema | FieldInfo | Any) -> bool:
        return False

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        """An option that is a mapping can't have its default as a value."""
        return {} if schema.get("default_factory") is dict else super().get_default_value(schema)

    def encode_default(self, dft: Any) -> Any:
        """Options in a file have the file's keys."""
        if dataclasses.is_dataclass(dft) and not isinstance(dft, type):
            return TypeAdapter(type(dft)).dump_python(dft, mode="json", by_alias=True)
        return super().encode_default(dft)


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each kind of file, by name: ``run``, ``task``, ``attempt``, ``tracking``, ``metric``, ``event``."""
    found = {name: _record_schema(name, kind, title) for name, (kind, title) in _RECORDS.items()}
    found["event"] = _event_schema()
    return found


def schema_text(schema: Mapping[str, Any]) -> str:
    """The content of a schema's file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write_schemas(folder: Path = FOLDER) -> None:
    """Write ``<name>.json`` for every schema."""
    folder.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(schema_text(schema), encoding="utf-8")


def _record_schema(name: str, kind: type[Record], title: str) -> dict[str, Any]:
    schema = kind.model_json_schema(schema_generator=_Generator)
    if "schema_version" in schema["properties"]:
        schema["properties"]["schema_version"] = {
            "description": "version of the format: major.minor",
            "type": "string",
            "pattern": rf"^{_MAJOR}\.[0-9]+$",
        }
        schema["required"] = ["schema_version", *schema.get("required", [])]
    return {**_head(name, title), **schema, "title": title}


def _event_schema() -> dict[str, Any]:
    """One schema for a line of ``events.jsonl``: which keys it has depends on the key ``event``."""
    inputs = [(name, "validation", adapter(name)) for name in KINDS]
    by_name, shared = TypeAdapter.json_schemas(
        inputs,  # type: ignore[arg-type]  # the mode is a Literal in pydantic's signature
        ref_template=DEFAULT_REF_TEMPLATE,
        schema_generator=_Generator,
    )
    definitions: dict[str, Any] = dict(shared["$defs"])
    alternatives = []
    for name in KINDS:
        reference = by_name[name, "validation"]["$ref"]
        definition = definitions[reference.rpartition("/")[2]]
        definition["properties"] = {"event": {"const": name}, **definition["properties"]}
        definition["required"] = ["event", *definition["required"]]
        alternatives.append({"$ref": reference})
    description = "Something that happened in the run; lines stand in the order in which it happened."
    return {
        **_head("event", "A line of events.jsonl of a run folder"),
        "description": description,
        "oneOf": alternatives,
        "$defs": definitions,
    }


def _head(name: str, title: str) -> dict[str, Any]:
    identifier = f"urn:pynb-dag-runner:run-folder:{SCHEMA_VERSION}:{name}"
    return {"$schema": _DIALECT, "$id": identifier, "title": title}


if __name__ == "__main__":
    write_schemas()
