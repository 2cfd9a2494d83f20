# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Describe the data
#
# In a pipeline run `numbers` is what the notebook before has made.

# %%
import statistics
from collections import Counter

from pynb_dag_runner import tracking

# %% tags=["parameters"]
numbers: list[int] = [7, 3, 11, 7, 8]

# %%
mean = statistics.fmean(numbers)
tracking.log_metrics({"count": len(numbers), "mean": mean, "largest": max(numbers)})
print(f"{len(numbers)} numbers, mean {mean:.2f}")

# %% [markdown]
# How often is each number there? A table and a figure drawn with plain text.

# %%
how_often = sorted(Counter(numbers).items())
bars = "\n".join(f"{number:3} {'#' * times}" for number, times in how_often)
print(bars)

tracking.log_text(bars + "\n", "bars.txt")
tracking.log_table({"number": [n for n, _ in how_often], "times": [times for _, times in how_often]}, "counts.json")

# %%
tracking.set_output("mean", mean)
