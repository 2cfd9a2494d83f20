"""The field's classic: read handwritten digits, and see how much training data a classifier needs.

    ingest -> eda
    ingest -> split-train-test -> train-model-<n> -> benchmark-model-<n> -> choose-best -> summary

There is one training and one benchmark task for each training size. Big things (the data and the models) go from task
to task as files below `work_dir`; their paths and the scores go as outputs.

The data set comes with scikit-learn, so nothing is downloaded. Needs scikit-learn and matplotlib.
"""

from pathlib import Path

from pynb_dag_runner import ParameterError, Pipeline, pipeline, tracking

# A limit has to be longer than the slowest healthy attempt: the kernel starts within it (1 to 3 s), and scikit-learn is
# imported within it (2 to 4 s on a slow machine with two cores; both together took 2 s where this was written). The
# demonstration waits that long for the attempt that hangs, so it is not longer than need be.
INGEST_TIMEOUT_S = 12

# Two simulated faults, and one attempt to spare.
INGEST_RETRIES = 3


def choose_best(scores: dict[str, dict[str, float]]) -> str:
    """Name the training size whose model scored best.

    Args:
        scores: for each training size (written as text) the scores of its model; `roc_auc` is the one that counts.

    Returns:
        The key of the highest `roc_auc`; of several, the one that comes first.
    """
    best = max(scores, key=lambda train_size: scores[train_size]["roc_auc"])
    tracking.log_metric("best_roc_auc", scores[best]["roc_auc"])
    tracking.set_tag("best_train_size", best)
    return best


# Imported once instead of by each of the notebooks, which saves each of them a second or two.
PRELOAD = ("matplotlib.pyplot", "sklearn.datasets", "sklearn.decomposition", "sklearn.linear_model", "sklearn.metrics")


@pipeline(preload=PRELOAD)
def digits(
    p: Pipeline,
    train_sizes: list[int] = [100, 200, 400, 800],
    work_dir: Path = Path("work"),
    simulate_faults: bool = True,
) -> None:
    """Train digit classifiers on training sets of several sizes, and compare them.

    Args:
        p: the pipeline to add tasks to.
        train_sizes: numbers of images to train on; one model is trained and benchmarked for each.
        work_dir: directory for the data files and models that tasks hand to each other.
        simulate_faults: let the first attempt of `ingest` fail and the second one hang, to show retries and timeouts.
    """
    if not train_sizes:
        raise ParameterError("parameter 'train_sizes': got no training size, expected at least one")

    ingest = p.notebook(
        "notebooks/ingest.py",
        parameters={"work_dir": work_dir, "simulate_faults": simulate_faults},
        retries=INGEST_RETRIES,
        timeout_s=INGEST_TIMEOUT_S,
    )
    p.notebook("notebooks/eda.py", parameters={"digits_path": ingest.output("digits_path")})
    split = p.notebook(
        "notebooks/split_train_test.py",
        name="split-train-test",
        parameters={"digits_path": ingest.output("digits_path"), "work_dir": work_dir},
    )

    scores = {}
    for train_size in train_sizes:
        train = p.notebook(
            "notebooks/train_model.py",
            name=f"train-model-{train_size}",
            parameters={"train_path": split.output("train_path"), "train_size": train_size, "work_dir": work_dir},
        )
        benchmark = p.notebook(
            "notebooks/benchmark_model.py",
            name=f"benchmark-model-{train_size}",
            parameters={
                "model_path": train.output("model_path"),
                "test_path": split.output("test_path"),
                "train_size": train_size,
                "work_dir": work_dir,
            },
            promoted_metrics=["roc_auc"],
        )
        scores[str(train_size)] = benchmark.output("scores")

    best = p.function(choose_best, name="choose-best", parameters={"scores": scores})
    p.notebook("notebooks/summary.py", parameters={"scores": scores, "best_train_size": best.output("return")})


if __name__ == "__main__":
    digits.run(output_dir="runs")
