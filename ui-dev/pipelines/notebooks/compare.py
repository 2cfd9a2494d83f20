# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Compare
#
# Which degree predicts the days that were held back?

# %%
import matplotlib.pyplot as plt

from pynb_dag_runner import tracking

# %% tags=["parameters"]
errors: dict[str, float] = {"1": 60.0, "2": 9.0}  # degree (as text) -> mean squared error

# %%
for degree, error in errors.items():
    print(f"degree {degree}: {error:.2f}")
tracking.log_table({"degree": [int(degree) for degree in errors], "error": list(errors.values())}, "errors.json")

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.bar(list(errors), list(errors.values()))
axes.set(xlabel="degree", ylabel="mean squared error")
tracking.log_figure(figure, "errors.png")
