"""Programs that do the same without this project; each is a process that is measured from outside."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
"""They are started by their path: what they import is nobody else's business."""
