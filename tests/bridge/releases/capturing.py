"""A run with all that MLflow's own calls in tasks can leave behind: runs, figures, datasets, models, traces."""

from typing import Any

from pynb_dag_runner import Pipeline, pipeline


def train(depth: int) -> float:
    """Autologging, a figure, a dataset, a model with metrics, and nested runs."""
    import matplotlib as mpl
    import mlflow
    import numpy as np
    from mlflow.data.numpy_dataset import from_numpy
    from sklearn.linear_model import LogisticRegression

    mpl.use("Agg")
    from matplotlib import pyplot

    mlflow.sklearn.autolog(log_models=False)
    features = np.arange(20.0).reshape(-1, 2)
    with mlflow.start_run():
        mlflow.log_input(from_numpy(features, name="ours"), context="training")
        LogisticRegression().fit(features, np.arange(10) % 2)
        mlflow.log_param("depth", depth)
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metric("nothing", float("nan"))
        figure, axes = pyplot.subplots()
        axes.plot([1, 2, 3])
        mlflow.log_figure(figure, "figures/loss.png")
        mlflow.set_tag("mood", "good")
        with mlflow.start_run(nested=True, run_name="outer"):
            mlflow.log_metric("level", 1)
            with mlflow.start_run(nested=True, run_name="inner"):
                mlflow.log_metric("level", 2)
                mlflow.log_text("inside", "inside.txt")
        return _log_model()


def _log_model() -> float:
    import mlflow
    from mlflow.pyfunc.model import PythonModel

    class Echo(PythonModel):
        def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
            return model_input

    model: Any = mlflow.pyfunc.log_model(
        name="echo", python_model=Echo(), pip_requirements=[], registered_model_name="registered", params={"depth": 2}
    )
    mlflow.log_metric("score", 0.5, step=2, model_id=model.model_id)
    mlflow.log_metric("score", 0.75, step=3, model_id=model.model_id)
    return 0.75


def ask() -> None:
    """A trace with spans in each other, one of a failure, and what was said of it."""
    import mlflow
    from mlflow.entities import AssessmentSource, SpanType

    @mlflow.trace(span_type=SpanType.LLM)
    def answer(question: str) -> str:
        mlflow.update_current_trace(tags={"mood": "good"})
        return question.upper()

    @mlflow.trace
    def look(question: str) -> str:
        return answer(question)

    with mlflow.start_run():
        look("What is it?")
    try:
        with mlflow.start_span("failing"):
            raise ValueError("on purpose")
    except ValueError:
        pass
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id is not None
    source = AssessmentSource(source_type="HUMAN", source_id="ada")
    mlflow.log_feedback(trace_id=trace_id, name="useful", value=False, rationale="it failed", source=source)
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": 42})


@pipeline
def capturing(p: Pipeline, depth: int = 4) -> None:
    """Log with MLflow's own calls."""
    trained = p.function(train, parameters={"depth": depth}, promoted_metrics=["loss"])
    p.function(ask, after=[trained])


if __name__ == "__main__":
    capturing.run(output_dir="runs")
