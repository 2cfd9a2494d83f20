"""A small pipeline to start from: two notebooks for each level of noise, and a function that compares what came out.

pynb-dag-runner run pipeline.py
pynb-dag-runner run pipeline.py -p sample_size=50 -p "noise_levels=[1, 10]"
"""

from pynb_dag_runner import Pipeline, pipeline, tracking

TRUE_SLOPE = 3.0


def compare(slopes: dict[str, float]) -> dict[str, float]:
    """How far each fitted slope is from the true one."""
    errors = {noise: abs(slope - TRUE_SLOPE) for noise, slope in slopes.items()}
    for noise, error in errors.items():
        print(f"noise {noise}: the slope is off by {error:.3f}")
        tracking.log_metric(f"slope_error_{noise}", error)
    return errors


@pipeline
def measurements(p: Pipeline, sample_size: int = 200, noise_levels: list[float] = [0.5, 5.0]) -> None:
    """Measure a line with noise, fit it again, and compare the fits."""
    slopes = {}
    for noise in noise_levels:
        measured = p.notebook(
            "notebooks/make_measurements.py",
            name=f"measure-{noise}",
            parameters={"sample_size": sample_size, "noise": noise},
            retries=1,
            timeout_s=120,
        )
        fitted = p.notebook(
            "notebooks/fit_line.py",
            name=f"fit-{noise}",
            parameters={"xs": measured.output("xs"), "ys": measured.output("ys")},
        )
        slopes[str(noise)] = fitted.output("slope")
    p.function(compare, parameters={"slopes": slopes})
