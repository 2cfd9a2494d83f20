# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Explore
#
# Look at the temperatures before anything is fitted to them.

# %%
import matplotlib.pyplot as plt

from pynb_dag_runner import tracking

# %% tags=["parameters"]
days: list[int] = [1, 100, 200, 300]
celsius: list[float] = [-2.0, 7.5, 20.0, 8.0]

# %%
print(f"coldest {min(celsius)} °C, warmest {max(celsius)} °C")
tracking.log_metrics({"coldest": min(celsius), "warmest": max(celsius)})

# %%
figure, (over_time, counts) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
over_time.plot(days, celsius, ".")
over_time.set(xlabel="day of the year", ylabel="°C", title="Over the year")
counts.hist(celsius, bins=15)
counts.set(xlabel="°C", ylabel="days", title="How often")
tracking.log_figure(figure, "temperatures.png")
