"""Quickstart: two notebooks and a function. Needs nothing but pynb-dag-runner."""

from pynb_dag_runner import Pipeline, pipeline


def report(mean: float) -> str:
    """Put the result into a sentence."""
    return f"The mean is {mean:.2f}."


@pipeline
def quickstart(p: Pipeline, count: int = 10) -> None:
    """Throw two dice `count` times, and report the mean."""
    data = p.notebook("notebooks/make_data.py", parameters={"count": count})
    described = p.notebook("notebooks/describe_data.py", parameters={"numbers": data.output("numbers")})
    p.function(report, parameters={"mean": described.output("mean")})


if __name__ == "__main__":
    quickstart.run(output_dir="runs")
