# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Ingest
#
# Fetch the raw data: 1797 images of handwritten digits, 8 x 8 pixels each, and the digit that each one shows.
# They come with scikit-learn, so there is no download.
#
# A real data source is not always there. To show what the runner does then, this notebook can simulate two faults:
# the first attempt fails, the second one hangs until the task's time is up. The third one succeeds.

# %%
import os
import time
from pathlib import Path

from digits_files import WORK_DIR, Digits, save_digits
from pynb_dag_runner import tracking

# %% tags=["parameters"]
work_dir: Path = WORK_DIR
simulate_faults: bool = True

# %% [markdown]
# ## Simulated faults
#
# The runner tells each attempt its number in an environment variable. In Jupyter there is no such variable, so there
# are no faults.

# %%
attempt = int(os.environ.get("PYNB_DAG_RUNNER_ATTEMPT", "0"))

if simulate_faults and attempt == 1:
    raise ConnectionError("simulated fault: the data source refused the connection")

if simulate_faults and attempt == 2:
    print("Simulated fault: the data source does not answer. Waiting for one hour ...", flush=True)
    time.sleep(3600)

# %% [markdown]
# ## Read the data
#
# This import takes a second or two, so it waits until after the faults.

# %%
from sklearn import datasets

bunch = datasets.load_digits()
digits = Digits(images=bunch.data / 16, labels=bunch.target)  # scikit-learn's pixels go from 0 to 16
print(f"{len(digits.labels)} images of {digits.images.shape[1]} pixels")

# %% [markdown]
# ## Hand it on
#
# The data goes into a file. The next tasks get the path of the file as an output of this one.

# %%
digits_path = work_dir / "ingest" / "digits.npz"
save_digits(digits, digits_path)

tracking.log_params({"source": "sklearn.datasets.load_digits", "pixels": digits.images.shape[1]})
tracking.log_metric("images", len(digits.labels))
tracking.set_tag("attempts_needed", max(attempt, 1))
tracking.set_output("digits_path", str(digits_path))
