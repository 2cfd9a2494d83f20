"""The sample pipeline: fit curves to measured temperatures. Small, and it can go wrong on request.

    measure -> clean -> explore
               clean -> fit-<degree> -> compare -> choose_best

`sample_runs.py` runs it in several ways, so that all ends that a run can have stand side by side in MLflow.
"""

from typing import Literal

from pynb_dag_runner import Pipeline, pipeline, tracking


def choose_best(errors: dict[str, float]) -> str:
    """Name the degree with the smallest error.

    Args:
        errors: degree (as text) -> mean squared error on the days that were held back.
    """
    best = min(errors, key=lambda degree: errors[degree])
    tracking.log_metric("best_error", errors[best])
    tracking.set_tag("best_degree", best)
    return best


@pipeline
def temperatures(
    p: Pipeline,
    degrees: list[int] = [1, 2, 5],
    noise: float = 2.0,
    fault: Literal["none", "raise", "hang"] = "none",
    timeout_s: float | None = None,
) -> None:
    """Fit polynomials to a year of temperatures, and choose the best degree.

    Args:
        p: the pipeline to add tasks to.
        degrees: one curve is fitted for each of these degrees.
        noise: standard deviation of what the weather adds, in degrees Celsius.
        fault: what shall go wrong in the task `clean`: nothing, an exception in every attempt, or it never ends.
        timeout_s: limit for the task `clean`, in seconds.
    """
    measure = p.notebook("notebooks/measure.py", parameters={"noise": noise})
    clean = p.notebook(
        "notebooks/clean.py",
        parameters={"days": measure.output("days"), "celsius": measure.output("celsius"), "fault": fault},
        retries=1 if fault == "raise" else 0,
        timeout_s=timeout_s,
    )
    cleaned = {"days": clean.output("days"), "celsius": clean.output("celsius")}
    p.notebook("notebooks/explore.py", parameters=cleaned)

    errors = {}
    for degree in degrees:
        fit = p.notebook(
            "notebooks/fit.py",
            name=f"fit-{degree}",
            parameters={**cleaned, "degree": degree},
            promoted_metrics=["error"],
        )
        errors[str(degree)] = fit.output("error")
    compare = p.notebook("notebooks/compare.py", parameters={"errors": errors})
    p.function(choose_best, parameters={"errors": errors}, after=[compare])
