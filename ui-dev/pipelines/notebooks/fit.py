# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Fit
#
# Fit a polynomial by gradient descent, so that there is a loss to watch. Every fourth day is held back for the test.

# %%
import matplotlib.pyplot as plt
import numpy as np

from pynb_dag_runner import tracking

# %% tags=["parameters"]
days: list[int] = [1, 50, 100, 150, 200, 250, 300, 350]
celsius: list[float] = [-2.0, 0.5, 7.5, 16.0, 20.0, 15.5, 8.0, 0.0]
degree: int = 2
epochs: int = 60
learning_rate: float = 0.5

# %%
# Legendre polynomials on -1 to 1: the steps of the descent stay small for all degrees.
scaled = 2 * (np.array(days) - 1) / 364 - 1
features = np.polynomial.legendre.legvander(scaled, degree)
target = np.array(celsius)
held_back = np.arange(len(days)) % 4 == 3

# %%
weights = np.zeros(degree + 1)
for epoch in range(epochs):
    residual = features[~held_back] @ weights - target[~held_back]
    weights -= learning_rate * features[~held_back].T @ residual / residual.size
    tracking.log_metric("loss", float(np.mean(residual**2)), step=epoch)

# %%
error = float(np.mean((features[held_back] @ weights - target[held_back]) ** 2))
print(f"degree {degree}: mean squared error {error:.2f} on {held_back.sum()} days that were held back")
tracking.log_metric("error", error)
tracking.set_tag("model", f"polynomial of degree {degree}")
tracking.set_output("error", error)

# %%
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(days, celsius, ".", color="lightgray")
axes.plot(days, features @ weights)
axes.set(xlabel="day of the year", ylabel="°C", title=f"Degree {degree}")
tracking.log_figure(figure, "fit.png")
