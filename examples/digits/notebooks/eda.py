# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Look at the data
#
# Before training anything: what do the images look like, is each digit there equally often, and are the digits easy
# to tell apart?

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from digits_files import WORK_DIR, load_digits
from pynb_dag_runner import tracking

# %% tags=["parameters"]
digits_path: str = str(WORK_DIR / "ingest" / "digits.npz")
samples_per_digit: int = 8

# %%
digits = load_digits(digits_path)
print(f"{len(digits.labels)} images, pixel values from {digits.images.min():g} to {digits.images.max():g}")

# %% [markdown]
# ## Some images of each digit

# %%
figure, grid = plt.subplots(samples_per_digit, 10, figsize=(7, 0.7 * samples_per_digit), layout="constrained")
for digit in range(10):
    samples = digits.images[digits.labels == digit][:samples_per_digit]
    for axes, pixels in zip(grid[:, digit], samples, strict=True):
        axes.imshow(pixels.reshape(8, 8), cmap="gray_r")
        axes.axis("off")
figure.suptitle("Handwritten digits")
tracking.log_figure(figure, "sample_images.png")

# %% [markdown]
# ## How often is each digit there?
#
# The classes are balanced: about 180 images of each digit. So the accuracy of a classifier means something; one that
# always gives the same answer would be right in one case out of ten.

# %%
counts = np.bincount(digits.labels, minlength=10)

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.bar(range(10), counts)
axes.set(xlabel="digit", ylabel="number of images", xticks=range(10), title="Images of each digit")
tracking.log_figure(figure, "class_counts.png")
tracking.log_table({"digit": list(range(10)), "images": counts.tolist()}, "class_counts.json")
tracking.log_metrics({"images_of_rarest_digit": int(counts.min()), "images_of_commonest_digit": int(counts.max())})

# %% [markdown]
# ## Are the digits easy to tell apart?
#
# An image is a point in a space with 64 dimensions. A principal component analysis (PCA) shows that space from the side
# from which the points are spread widest. Some digits have a cloud of their own, others lie
# on top of each other: two dimensions are not enough for them.

# %%
pca = PCA(n_components=2)
points = pca.fit_transform(digits.images)

figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
scatter = axes.scatter(points[:, 0], points[:, 1], c=digits.labels, cmap="tab10", s=8)
axes.set(xlabel="first component", ylabel="second component", title="The images in two dimensions")
figure.colorbar(scatter, ax=axes, label="digit", ticks=range(10))
tracking.log_figure(figure, "pca.png")
tracking.log_metric("variance_explained", float(pca.explained_variance_ratio_.sum()))
tracking.set_tag("kind", "exploration")
