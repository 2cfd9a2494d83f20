"""A run whose tasks record traces with MLflow's own calls, and a look at those that have been uploaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import Pipeline, RunResult
from tests.bridge.mlflow_contents import Contents

BY_RUN = [("it's/asked", "look"), ("inner", "answer"), ("it's/asked", "failing"), ("model", "of a model")]
"""Names of runs and of the traces that belong there."""
PICTURE = b"\x89PNG not really"
QUESTION = "What is ␀ or \x00?"


def ask() -> str:
    """One trace in the main run, one in a nested run, one of a failure, and what was said of it."""
    import mlflow
    from mlflow.entities import AssessmentSource, SpanType
    from mlflow.tracing.attachments import Attachment

    @mlflow.trace(span_type=SpanType.LLM)
    def answer(question: str) -> str:
        span: Any = mlflow.get_current_active_span()
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
        mlflow.update_current_trace(tags={"mood": "good"}, metadata={"mlflow.trace.session": "talk"})
        return question.upper()

    @mlflow.trace
    def look(question: str) -> str:
        span: Any = mlflow.get_current_active_span()
        span.set_inputs({"picture": Attachment(content_type="image/png", content_bytes=PICTURE)})
        return answer(question)

    with mlflow.start_run():
        look(QUESTION)
        with mlflow.start_run(run_name="inner", nested=True):
            answer("inside")
    try:
        with mlflow.start_span("failing"):
            raise ValueError("on purpose")
    except ValueError:
        pass
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id is not None
    source = AssessmentSource(source_type="HUMAN", source_id="ada")
    mlflow.log_feedback(trace_id=trace_id, name="useful", value=False, rationale="it failed", source=source)
    said = mlflow.log_feedback(trace_id=trace_id, name="taken back", value=1)
    mlflow.override_feedback(trace_id=trace_id, assessment_id=str(said.assessment_id), value=2)
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": 42})
    return trace_id


def ask_and_use_a_model() -> str:
    """A trace that names the model that it is of, without any run."""
    import mlflow

    model = mlflow.initialize_logged_model(name="agent")
    mlflow.finalize_logged_model(model.model_id, "READY")
    mlflow.set_active_model(model_id=model.model_id)
    with mlflow.start_span("of a model"):
        pass
    return str(model.model_id)


def traced_run(base: Path) -> RunResult:
    """Run both tasks."""
    p = Pipeline("tracing", base_dir=base)
    first = p.function(ask, name="it's/asked")
    p.function(ask_and_use_a_model, name="model", after=[first])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(base)
        return p.run(executor="inline", progress=False, output_dir=base / "runs")


@dataclass(frozen=True)
class Traces:
    """Those of an experiment, without that of the whole run."""

    contents: Contents

    def found(self) -> list[Any]:
        traces: Any = self.contents.client.search_traces(locations=[self.contents.experiment_id])
        return sorted(
            (one for one in traces if "pynb_dag_runner.task" in one.info.tags), key=lambda one: one.info.request_time
        )

    def by_run(self) -> list[tuple[str, str]]:
        """Names of runs and of the traces that their pages show."""
        names = {run.info.run_id: run.info.run_name for run in self.contents.runs()}
        return [
            (names[one.info.trace_metadata["mlflow.sourceRun"]], one.info.tags["mlflow.traceName"])
            for one in self.found()
        ]
