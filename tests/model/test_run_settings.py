"""What makes sense together in a run's settings, and what a resume keeps of them."""

from dataclasses import replace
from typing import Any

import pytest

from pynb_dag_runner.model.run_settings import RunChoices, RunSettings


def test_settings_that_make_sense() -> None:
    assert RunSettings().problems() == []
    assert RunSettings(executor="process", num_cpus=2, timeout_s=60, tasks="a", upstream=True).problems() == []
    assert RunSettings(ray_address="auto", wait_for_nodes=True).problems() == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"executor": "dask"}, "executor must be 'ray', 'process' or 'inline', got 'dask'"),
        ({"num_cpus": 0}, "num_cpus must be a whole number from 1 or None, got 0"),
        ({"timeout_s": 0}, "timeout_s must be a number above 0 and at most 100000000 or None, got 0"),
        ({"timeout_s": float("nan")}, "timeout_s must be a number above 0 and at most 100000000 or None, got nan"),
        ({"ray_address": 7}, "ray_address must be a text or None, got 7"),
        ({"html": "no"}, "html must be True or False, got 'no'"),
        ({"tasks": [""]}, "tasks must be names of tasks, got ''"),
        ({"upstream": True}, "upstream says what else to run beside tasks; tasks is not given"),
        ({"executor": "inline", "ray_address": "x"}, "ray_address is for executor ray; inline uses no Ray"),
        (
            {"executor": "inline", "num_cpus": 2},
            "num_cpus is for executor ray and process; inline runs one task at a time",
        ),
        (
            {"ray_address": "x", "num_cpus": 2},
            "num_cpus is for a Ray of our own; the cluster at ray_address has its own number",
        ),
        ({"wait_for_nodes": True}, "wait_for_nodes is for a cluster; ray_address is not given"),
    ],
)
def test_settings_that_make_none(given: dict[str, Any], problem: str) -> None:
    assert RunSettings(**given).problems() == [problem]


CLUSTER = RunSettings(
    ray_address="head:6379", wait_for_nodes=True, fail_fast=True, html=False, tasks=("a",), upstream=True
)


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"html": None, "parameters": {"n": 1}, "run_dir": "x"}, {}),
        ({"fail_fast": False, "timeout_s": 5}, {"fail_fast": False, "timeout_s": 5}),
        ({"executor": "ray"}, {}),
        ({"executor": "process"}, {"executor": "process", "ray_address": None, "wait_for_nodes": False}),
        ({"num_cpus": 2}, {"num_cpus": 2, "ray_address": None, "wait_for_nodes": False}),
        ({"ray_address": "other"}, {"ray_address": "other", "wait_for_nodes": False}),
        ({"ray_address": "other", "wait_for_nodes": True}, {"ray_address": "other"}),
    ],
)
def test_a_resume_keeps_what_is_not_given_and_what_another_engine_understands(
    given: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert CLUSTER.over(given) == replace(CLUSTER, **changed)


def test_a_run_folder_keeps_the_settings_and_not_what_was_shown() -> None:
    assert RunSettings.of(RunChoices(html=False, progress=False, output_dir="x")) == RunSettings(html=False)
