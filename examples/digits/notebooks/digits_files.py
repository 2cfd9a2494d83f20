"""The files that the notebooks beside this module hand to each other."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Where a notebook looks for files when it is run by hand. In a pipeline run the pipeline's parameter decides.
WORK_DIR = Path(__file__).resolve().parent.parent / "work"

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# scores.json: for one model, name of the score -> value.
Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Images of handwritten digits and what they show."""

    images: FloatArray
    """Shape (number of images, 64): the 8 x 8 pixels row by row, each from 0 (white) to 1 (black)."""
    labels: IntArray
    """Shape (number of images,): the digit that the image shows, from 0 to 9."""

    def first(self, count: int) -> "Digits":
        """Return the first `count` images, or raise `ValueError` when there are fewer."""
        if not 1 <= count <= len(self.labels):
            raise ValueError(f"got {count} images to take, expected a number from 1 to {len(self.labels)}")
        return Digits(images=self.images[:count], labels=self.labels[:count])


def save_digits(digits: Digits, path: Path) -> None:
    """Write the digits to `path` (NumPy's .npz), and make its directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, images=digits.images, labels=digits.labels)


def load_digits(path: str | Path) -> Digits:
    """Read what `save_digits` wrote."""
    with np.load(path) as arrays:
        return Digits(images=arrays["images"], labels=arrays["labels"])


def save_scores(scores: Scores, path: Path) -> None:
    """Write the scores of one model to `path`, and make its directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(scores, indent=2), encoding="utf-8")


def load_all_scores(work_dir: Path) -> dict[str, Scores]:
    """Read the scores of all benchmarks below `work_dir`: training size (as text) -> scores, smallest size first."""
    prefix = "benchmark-model-"
    found: dict[str, Any] = {
        path.parent.name.removeprefix(prefix): json.loads(path.read_text(encoding="utf-8"))
        for path in work_dir.glob(f"{prefix}*/scores.json")
    }
    return {train_size: found[train_size] for train_size in sorted(found, key=int)}
