# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Fit a line
#
# Ordinary least squares through the measured points.

# %%
import statistics

from pynb_dag_runner import tracking

# %% tags=["parameters"]
xs: list[float] = [0.0, 1.0, 2.0, 3.0]
ys: list[float] = [1.1, 3.9, 7.2, 9.8]

# %%
slope, intercept = statistics.linear_regression(xs, ys)
correlation = statistics.correlation(xs, ys)
print(f"y = {slope:.3f} x + {intercept:.3f}, correlation {correlation:.4f}")

# %% [markdown]
# Metrics are for comparing runs, outputs are for the tasks that come next.

# %%
tracking.log_metrics({"slope": slope, "intercept": intercept, "correlation": correlation})
tracking.set_output("slope", slope)
