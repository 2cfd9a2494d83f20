# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Benchmark a model
#
# How good is a trained model on images that it has not seen? The pipeline runs this notebook once for each model.

# %%
import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, roc_curve

from digits_files import WORK_DIR, Scores, load_digits, save_scores
from pynb_dag_runner import tracking

# %% tags=["parameters"]
work_dir: Path = WORK_DIR
test_path: str = str(WORK_DIR / "split-train-test" / "test.npz")
model_path: str = str(WORK_DIR / "train-model-100" / "model.pkl")
train_size: int = 100

# %% [markdown]
# ## Let the model judge the test images
#
# Reading a pickle runs code that is in it, so read only models that your own pipeline has written.

# %%
test = load_digits(test_path)
model = pickle.loads(Path(model_path).read_bytes())  # noqa: S301 - written by train_model.py, see above
probabilities = model.predict_proba(test.images)
predicted = model.predict(test.images)

tracking.log_params({"train_size": train_size, "test_images": len(test.labels)})
tracking.set_tag("kind", "benchmark")

# %% [markdown]
# ## Two scores
#
# - *Accuracy*: the share of images for which the model names the right digit.
# - *ROC AUC*, one digit against the rest, averaged over the digits: how surely does the model rank an image of the
#   digit above an image of another one? 1 is perfect, 0.5 is guessing.

# %%
scores: Scores = {
    "roc_auc": float(roc_auc_score(test.labels, probabilities, multi_class="ovr")),
    "accuracy": float(accuracy_score(test.labels, predicted)),
}
tracking.log_metrics(scores)
print(f"trained on {train_size} images: " + ", ".join(f"{name} {score:.4f}" for name, score in scores.items()))

# %% [markdown]
# ## Which digits are hard?
#
# The metric below has the digit as its step, so its curve shows the score from digit 0 to digit 9.

# %%
figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
roc_auc_of_digit: list[float] = []
for digit in range(10):
    is_digit = test.labels == digit
    roc_auc_of_digit.append(float(roc_auc_score(is_digit, probabilities[:, digit])))
    tracking.log_metric("roc_auc_of_digit", roc_auc_of_digit[digit], step=digit)
    false_positive_rate, true_positive_rate, _ = roc_curve(is_digit, probabilities[:, digit])
    axes.plot(false_positive_rate, true_positive_rate, label=f"{digit}: {roc_auc_of_digit[digit]:.3f}")
axes.set(xlabel="false positive rate", ylabel="true positive rate", title="One digit against the rest")
axes.legend(title="digit: ROC AUC")
tracking.log_figure(figure, "roc_curves.png")

# %%
confusion = confusion_matrix(test.labels, predicted, labels=np.arange(10))

figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
axes.imshow(confusion, cmap="Blues")
for row, column in np.ndindex(confusion.shape):
    count = confusion[row, column]
    if count:
        colour = "white" if count > confusion.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
axes.set(xlabel="predicted digit", ylabel="true digit", xticks=range(10), yticks=range(10), title="Confusion matrix")
tracking.log_figure(figure, "confusion_matrix.png")

# %%
tracking.log_table(
    {
        "digit": list(range(10)),
        "test_images": confusion.sum(axis=1).tolist(),
        "recognised": confusion.diagonal().tolist(),
        "roc_auc": roc_auc_of_digit,
    },
    "digits.json",
)

# %% [markdown]
# ## Hand the scores on
#
# The summary gets them as an output. They are also written to a file, for a summary that is run by hand.

# %%
save_scores(scores, work_dir / f"benchmark-model-{train_size}" / "scores.json")
tracking.set_output("scores", scores)
