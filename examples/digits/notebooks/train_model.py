# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Train a model
#
# Train a linear classifier on the first `train_size` images of the training data. The pipeline runs this notebook once
# for each training size, all of them in parallel.
#
# The training goes over the data several times (epochs). After each epoch the loss is logged, so that one can see
# whether it has settled.

# %%
import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss

from digits_files import WORK_DIR, load_digits
from pynb_dag_runner import tracking

# %% tags=["parameters"]
work_dir: Path = WORK_DIR
train_path: str = str(WORK_DIR / "split-train-test" / "train.npz")
train_size: int = 100
epochs: int = 25
alpha: float = 0.001  # strength of the regularisation
seed: int = 1

# %%
train = load_digits(train_path).first(train_size)
tracking.log_params({"model": "SGDClassifier", "train_size": train_size, "epochs": epochs, "alpha": alpha})
tracking.set_tag("kind", "training")

# %% [markdown]
# ## Training, epoch by epoch
#
# A metric that is logged with a step becomes a curve.

# %%
all_digits = np.arange(10)
model = SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed)
losses: list[float] = []
for epoch in range(1, epochs + 1):
    model.partial_fit(train.images, train.labels, classes=all_digits)
    losses.append(float(log_loss(train.labels, model.predict_proba(train.images), labels=all_digits)))
    tracking.log_metric("train_loss", losses[-1], step=epoch)

train_accuracy = float(accuracy_score(train.labels, model.predict(train.images)))
tracking.log_metric("train_accuracy", train_accuracy)
print(f"after {epochs} epochs: loss {losses[-1]:.3f}, accuracy {train_accuracy:.3f} (on the training data)")

# %%
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(range(1, epochs + 1), losses, marker="o", markersize=3)
axes.set(xlabel="epoch", ylabel="loss", yscale="log", title=f"Training on {train_size} images")
tracking.log_figure(figure, "train_loss.png")

# %% [markdown]
# ## What has the model learned?
#
# The model has one weight for each digit and pixel. Ink in the red places speaks for the digit, ink in the blue places
# against it.

# %%
limit = float(np.abs(model.coef_).max())
figure, grid = plt.subplots(2, 5, figsize=(7, 3), layout="constrained")
for digit, axes in enumerate(grid.flat):
    axes.imshow(model.coef_[digit].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_title(str(digit), fontsize=9)
    axes.axis("off")
figure.suptitle("Weights of the pixels")
tracking.log_figure(figure, "weights.png")

# %% [markdown]
# ## Hand the model on

# %%
model_path = work_dir / f"train-model-{train_size}" / "model.pkl"
model_path.parent.mkdir(parents=True, exist_ok=True)
model_path.write_bytes(pickle.dumps(model))

tracking.log_artifact(str(model_path))
tracking.set_output("model_path", str(model_path))
