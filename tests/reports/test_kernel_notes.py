"""How kernels came about, where that is of interest, stands in the report and in ``show``."""

from pathlib import Path

import pytest

from pynb_dag_runner import read_run
from pynb_dag_runner.cli.show import show
from pynb_dag_runner.reports.html import render_html
from pynb_dag_runner.run_folder.records import KernelStart
from tests.factories import make_attempt_record, make_planned, make_run_record, make_task_record, write_run

REMARK = "importing 'pandas' raised ImportError: <no> module"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of four notebooks without the preload that they should have had, and one with it."""
    start = KernelStart(how="forked", remarks=(REMARK,))
    names = ["a", "b", "c", "d"]
    good = make_attempt_record("e", kernel_start=KernelStart(how="forked", preloaded=("pandas",)))
    return write_run(
        tmp_path,
        make_run_record(*(make_planned(name, kind="notebook") for name in [*names, "e"])),
        tasks=[make_task_record(name, kind="notebook") for name in [*names, "e"]],
        attempts=[*(make_attempt_record(name, kernel_start=start) for name in names), good],
    )


def test_show_and_report_tell_the_reason_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show.main([str(folder)], standalone_mode=False)
    note = f"kernel of a, b, c and 1 more: {REMARK}"
    assert capsys.readouterr().out.count(note) == 1
    page = render_html(read_run(folder))
    assert page.count(note.replace("<no>", "&lt;no&gt;").replace("'", "&#39;")) == 1
    assert "kernel of e" not in page
