# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Make some data
#
# Throw two dice `count` times. The sums go to the next task as an output.

# %%
import random

from pynb_dag_runner import tracking

# %% tags=["parameters"]
count: int = 10
seed: int = 1

# %%
dice = random.Random(seed)  # noqa: S311 - the same numbers in every run; no secret depends on them
numbers = [dice.randint(1, 6) + dice.randint(1, 6) for _ in range(count)]
print(numbers)

# %%
tracking.set_output("numbers", numbers)
