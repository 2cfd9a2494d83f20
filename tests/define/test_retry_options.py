"""Options of retries that make no sense."""

from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, PipelineError


def fail() -> None:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_backoff": 0.5}, "retry_backoff must be a number from 1, got 0.5"),
        ({"retry_jitter": 1.5}, "retry_jitter must be a number from 0 to 1, got 1.5"),
        ({"retry_jitter": -1}, "retry_jitter must be a number from 0 to 1, got -1"),
        ({"retry_max_delay_s": "x"}, "retry_max_delay_s must be a number from 0 or None, got 'x'"),
        (
            {"retries": 50, "retry_delay_s": 1, "retry_backoff": 10},
            "its last retry would wait more than 366 days; set retry_max_delay_s",
        ),
        (
            {"retries": 5000, "retry_delay_s": 1, "retry_backoff": 10},
            "its last retry would wait more than 366 days; set retry_max_delay_s",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    pipeline = Pipeline("p", base_dir=tmp_path)
    pipeline.function(fail, **options)
    with pytest.raises(PipelineError, match=f"task 'fail': {said}"):
        pipeline.build()
