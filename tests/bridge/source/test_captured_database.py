"""A capture in a run folder from a stranger, or one that was damaged: nothing of it is run, and an upload goes on."""

import math
import sqlite3
import struct
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_bridge.model.captured_values import NOTHING
from mlflow_bridge.source import untrusted_database
from mlflow_bridge.source.captured_database import read_captured
from pynb_dag_runner.run_folder import AttemptRun
from tests.bridge.captures import OTHER, RUN, TABLES, insert_run, make_capture


def database_of(run_folder: Path, attempt: AttemptRun) -> Path:
    return run_folder / attempt.folder / "mlflow/mlflow.db"


def numbers(limit: str) -> str:
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n {limit})"


def warning(run_folder: Path, attempt: AttemptRun) -> str:
    captured = read_captured(run_folder, attempt)
    assert captured.runs == ()
    [said] = captured.warnings
    assert said.startswith("what the task logged to MLflow itself was not uploaded: ")
    assert str(database_of(run_folder, attempt)) in said
    return said


def test_values_are_read_as_they_were_logged(tmp_path: Path) -> None:
    largest = repr(sys.float_info.max)
    attempt = make_capture(
        tmp_path,
        insert_run(),
        f"INSERT INTO metrics VALUES ('a', 0.5, 7, '{RUN}', 3, 0), ('a', 0, 8, '{RUN}', -1, 1), "
        f"('b', {largest}, 9, '{RUN}', 0, 0), ('b', -{largest}, 9, '{RUN}', 1, 0)",
        f"INSERT INTO params VALUES ('p', 'v', '{RUN}'), ('n', 5, '{RUN}'), (NULL, 'v', '{RUN}')",
    )
    [run] = read_captured(tmp_path, attempt).runs
    points = [(point.key, point.step, point.timestamp_ms) for point in run.metrics]
    assert points == [("a", 3, 7), ("a", -1, 8), ("b", 0, 9), ("b", 1, 9)]
    assert [run.metrics[0].value, *(point.value for point in run.metrics[2:])] == [0.5, math.inf, -math.inf]
    assert math.isnan(run.metrics[1].value)
    assert run.params == {"p": "v", "n": "5"}


def test_runs_that_no_mlflow_makes_are_left_out(tmp_path: Path) -> None:
    attempt = make_capture(
        tmp_path,
        insert_run("../../../../etc"),
        insert_run(OTHER),
        insert_run(),
        f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = '{OTHER}'",
        f"UPDATE runs SET start_time = 'soon', end_time = 1e300, name = x'ff', status = 5 WHERE run_uuid = '{RUN}'",
    )
    [run] = read_captured(tmp_path, attempt).runs
    assert (run.id, run.start_ms, run.status) == (RUN, 1, "5")


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    attempt = make_capture(tmp_path / "run", insert_run(), insert_run(OTHER))
    secret = tmp_path / "outside/0" / RUN / "artifacts"
    secret.mkdir(parents=True)
    (secret / "passwd").write_text("root")
    artifacts = tmp_path / "run" / attempt.folder / "mlflow/artifacts"
    artifacts.symlink_to(tmp_path / "outside")
    assert [run.files for run in read_captured(tmp_path / "run", attempt).runs] == [(), ()]
    artifacts.unlink()
    own = artifacts / "0" / OTHER / "artifacts"
    own.mkdir(parents=True)
    (own / "passwd").symlink_to("/etc/passwd")
    (own / "real").write_text("real")
    names = [[name for _, name in run.files] for run in read_captured(tmp_path / "run", attempt).runs]
    assert names == [[], ["real"]]
    database = database_of(tmp_path / "run", attempt)
    database.rename(tmp_path / "moved.db")
    database.symlink_to(tmp_path / "moved.db")
    warning(tmp_path / "run", attempt)


def test_a_damaged_database_is_a_warning(tmp_path: Path) -> None:
    rows = [f"INSERT INTO params VALUES ('p{number}', '{'v' * 900}', '{RUN}')" for number in range(100)]
    attempt = make_capture(tmp_path, insert_run(), *rows)
    database = database_of(tmp_path, attempt)
    whole = database.read_bytes()
    overwritten = whole[:4096] + b"\xff" * (len(whole) - 4096)
    for damaged in (b"no database at all" * 100, whole[: len(whole) // 2], overwritten):
        database.write_bytes(damaged)
        assert "it can't be read as an sqlite file" in warning(tmp_path, attempt)
    database.write_bytes(b"")
    assert read_captured(tmp_path, attempt) == NOTHING
    database.unlink()
    database.mkdir()
    assert "it is no regular file" in warning(tmp_path, attempt)


def test_a_view_in_the_place_of_a_table_is_not_run(tmp_path: Path) -> None:
    tables = TABLES.replace("CREATE TABLE metrics", "CREATE TABLE other")
    endless = f"CREATE VIEW metrics AS {numbers('')} SELECT i AS key FROM n"
    attempt = make_capture(tmp_path, insert_run(), endless, tables=tables)
    [run] = read_captured(tmp_path, attempt).runs
    assert run.metrics == ()


def test_what_is_too_much_or_takes_too_long_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = make_capture(tmp_path, insert_run(), f"INSERT INTO params VALUES ('p', zeroblob(20000000), '{RUN}')")
    assert "too big" in warning(tmp_path, attempt)
    monkeypatch.setattr(untrusted_database, "MAX_DATABASE_BYTES", 1000)
    assert "at most 1,000 are read" in warning(tmp_path, attempt)
    many = f"INSERT INTO params SELECT * FROM ({numbers('LIMIT 200000')} SELECT 'p', 'v', '{RUN}' FROM n)"
    attempt = make_capture(tmp_path / "slow", insert_run(), many)
    monkeypatch.setattr(untrusted_database, "MAX_DATABASE_BYTES", 1 << 30)
    monkeypatch.setattr(untrusted_database, "BOUND_S", 0.0)
    assert "interrupted" in warning(tmp_path / "slow", attempt)


def test_a_journal_that_names_another_file_harms_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "precious.txt"
    victim.write_text("precious")
    attempt = make_capture(tmp_path, insert_run())
    database = database_of(tmp_path, attempt)
    name = str(victim).encode()
    # sqlite.org/fileformat2.html, sections 3 and 4: a header, no pages, and the name of a super-journal at the end.
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 0, database.stat().st_size // 4096, 512, 4096)
    end = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name))
    journal = header.ljust(512, b"\0") + end + bytes.fromhex("d9d505f920a163d7")
    database.with_name("mlflow.db-journal").write_bytes(journal)
    assert "a write to several files" in warning(tmp_path, attempt)
    assert victim.read_text() == "precious"
    # What it is refused for: sqlite itself removes the file.
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM runs").fetchone()
    assert not victim.exists()


def test_what_an_unfinished_write_to_a_log_ahead_holds_is_read(tmp_path: Path) -> None:
    attempt = make_capture(tmp_path, insert_run())
    database = database_of(tmp_path, attempt)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE runs SET name = 'later'")
        connection.commit()
        log = database.with_name("mlflow.db-wal").read_bytes()
        main = database.read_bytes()
    database.write_bytes(main)
    database.with_name("mlflow.db-wal").write_bytes(log)
    [run] = read_captured(tmp_path, attempt).runs
    assert run.name == "later"
    assert sorted(path.name for path in database.parent.iterdir()) == ["mlflow.db", "mlflow.db-wal"]


def test_what_belongs_to_no_run_is_named_and_stays(tmp_path: Path) -> None:
    attempt = make_capture(
        tmp_path,
        insert_run(),
        "CREATE TABLE registered_model_tags (key VARCHAR, value VARCHAR, name VARCHAR)",
        "INSERT INTO registered_model_tags VALUES ('mlflow.prompt.is_prompt', 'true', 'greeting'), "
        "('mood', 'true', 'a model'), ('mlflow.prompt.is_prompt', 'true', 'farewell')",
        "CREATE TABLE evaluation_datasets (name VARCHAR)",
        "INSERT INTO evaluation_datasets VALUES ('questions')",
    )
    place = tmp_path / attempt.folder
    assert read_captured(tmp_path, attempt).warnings == (
        f"{place}: prompts that the task registered stay there: farewell, greeting",
        f"{place}: evaluation datasets that the task registered stay there: questions",
    )
