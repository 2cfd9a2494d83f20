# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Summary
#
# Compare the models: how much better does a classifier get when it has more images to learn from?

# %%
import matplotlib.pyplot as plt

from digits_files import WORK_DIR, Scores, load_all_scores
from pynb_dag_runner import tracking

# %% tags=["parameters"]
scores: dict[str, Scores] = {}  # training size (as text) -> name of the score -> value
best_train_size: str = ""

# %% [markdown]
# In a pipeline run both parameters are outputs of other tasks. When the notebook is run by hand, take the scores that
# the benchmark notebook has left in its files.

# %%
if not scores:
    scores = load_all_scores(WORK_DIR)
    if not scores:
        raise FileNotFoundError(f"no scores below {WORK_DIR}: run benchmark_model.py first")
    best_train_size = max(scores, key=lambda train_size: scores[train_size]["roc_auc"])

# %%
table = {
    "train_size": [int(train_size) for train_size in scores],
    "roc_auc": [score["roc_auc"] for score in scores.values()],
    "accuracy": [score["accuracy"] for score in scores.values()],
}
tracking.log_table(table, "comparison.json")
for train_size, roc_auc, accuracy in zip(*table.values(), strict=True):
    print(f"{train_size:5} images: roc_auc {roc_auc:.4f}, accuracy {accuracy:.4f}")

# %% [markdown]
# The same as metrics, with the training size as the step: this draws the learning curve in any tool that shows metrics.

# %%
for train_size, score in scores.items():
    tracking.log_metrics(score, step=int(train_size))

# %%
figure, grid = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axes, name in zip(grid, ["roc_auc", "accuracy"], strict=True):
    axes.plot(table["train_size"], table[name], marker="o")
    axes.plot(int(best_train_size), scores[best_train_size][name], marker="*", markersize=14)
    axes.set(xlabel="images to train on", ylabel=name)
figure.suptitle(f"Scores by training size; the best model has seen {best_train_size} images")
tracking.log_figure(figure, "comparison.png")

# %%
tracking.set_tag("best_train_size", best_train_size)
best_scores = ", ".join(f"{name} {score:.4f}" for name, score in scores[best_train_size].items())
tracking.log_text(f"The best model was trained on {best_train_size} images: {best_scores}.\n", "conclusion.txt")
