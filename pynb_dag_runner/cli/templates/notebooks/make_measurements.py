# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Make measurements
#
# Points on the line `y = 3 x + 1`, with noise. The next notebook gets them as outputs of this one.

# %%
import statistics

from pynb_dag_runner import tracking

# %% [markdown]
# The values in this cell are for running the notebook by hand; a pipeline gives its own.

# %% tags=["parameters"]
sample_size: int = 20
noise: float = 1.0
seed: int = 1

# %%
xs = [10 * index / sample_size for index in range(sample_size)]
errors = statistics.NormalDist(0, noise).samples(sample_size, seed=seed)
ys = [3 * x + 1 + error for x, error in zip(xs, errors, strict=True)]
print(f"{sample_size} points, the first at ({xs[0]:.2f}, {ys[0]:.2f})")

# %%
tracking.set_output("xs", xs)
tracking.set_output("ys", ys)
