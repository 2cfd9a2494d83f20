# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Split into training and test data
#
# A classifier has to be judged on images that it has not seen. So some of the images are put aside for testing.
# Every digit is there equally often in both parts (the split is stratified), and the images are shuffled.

# %%
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from digits_files import WORK_DIR, Digits, load_digits, save_digits
from pynb_dag_runner import tracking

# %% tags=["parameters"]
work_dir: Path = WORK_DIR
digits_path: str = str(WORK_DIR / "ingest" / "digits.npz")
test_fraction: float = 0.3
seed: int = 1

# %%
digits = load_digits(digits_path)
train_images, test_images, train_labels, test_labels = train_test_split(
    digits.images, digits.labels, test_size=test_fraction, stratify=digits.labels, random_state=seed
)
train = Digits(images=train_images, labels=train_labels)
test = Digits(images=test_images, labels=test_labels)

for name, part in {"training": train, "test": test}.items():
    print(f"{name}: {len(part.labels)} images, of each digit {np.bincount(part.labels).tolist()}")

# %% [markdown]
# ## Hand both parts on

# %%
train_path = work_dir / "split-train-test" / "train.npz"
test_path = work_dir / "split-train-test" / "test.npz"
save_digits(train, train_path)
save_digits(test, test_path)

tracking.log_params({"test_fraction": test_fraction, "seed": seed})
tracking.log_metrics({"train_images": len(train.labels), "test_images": len(test.labels)})
tracking.set_output("train_path", str(train_path))
tracking.set_output("test_path", str(test_path))
