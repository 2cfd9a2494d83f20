# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Measure
#
# A year of daily temperatures, made up: a cosine, and the weather. A few readings are missing.

# %%
import math
import random

from pynb_dag_runner import tracking

# %% tags=["parameters"]
noise: float = 2.0
seed: int = 1

# %%
weather = random.Random(seed)  # the same numbers in every run
days = list(range(1, 366, 3))
celsius: list[float | None] = [
    round(9 - 11 * math.cos(2 * math.pi * (day - 20) / 365) + weather.gauss(0, noise), 1) for day in days
]
for lost in weather.sample(range(len(days)), 5):
    celsius[lost] = None
print(f"{len(days)} readings, {celsius.count(None)} of them missing")

# %%
tracking.set_output("days", days)
tracking.set_output("celsius", celsius)
