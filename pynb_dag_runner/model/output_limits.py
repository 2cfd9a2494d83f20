"""Limits on what is kept of a task's output, so that no cell can fill the worker's memory, a disk or a browser.

What goes beyond is left out in the middle, where it happened, with a line that says so and how much. The beginning and
the end are what people look for: how it started, and what it said last.
"""

CELL_TEXT_CHARACTERS = 1_000_000
"""Of each printed stream in an evaluated cell: some 10,000 lines. Browsers get slow beyond."""
NOTEBOOK_TEXT_CHARACTERS = 10_000_000
"""Of all cells; a notebook that prints in a hundred cells stays one that Jupyter opens."""
TEXT_AT_LEAST_CHARACTERS = 2_000
"""What a cell may print whatever those before it did: enough for a warning or a result."""

OUTPUT_BYTES = 10_000_000
"""Of one output's representation (a picture, a table as HTML), as it is in the file. Plots have 0.1 to 5 MB."""
NOTEBOOK_OUTPUT_BYTES = 50_000_000
"""Of all outputs. The HTML page holds them again, and making it takes several times as much memory."""
OUTPUT_AT_LEAST_BYTES = 5_000
"""What an output may hold whatever those before it did."""
CELL_OUTPUTS = 1_000
"""Number of outputs of one cell; each is an element of the page with a frame of its own."""
CELL_TURNS = 500
"""Turns between standard output and error in a cell, each an output as well. After these, each is in one piece."""
WIDGET_BYTES = 10_000_000
"""Of the state of all widgets, which the notebook's metadata hold."""

LOG_BYTES = 50_000_000
"""A log may grow to this size before its middle is cut out. 50 MB are still uploaded quickly."""
LOG_END_BYTES = 10_000_000
"""What a cut leaves of the beginning, and the same of the end."""
LOG_PERIOD_S = 0.1
"""Between two looks at a log's size. A fast disk takes some 200 MB meanwhile."""

MARK = "[pynb-dag-runner]"
"""Begins each line that is ours, not the task's."""

QUEUE_MESSAGES = 50
"""That wait between a kernel of ours and the worker. Each may have 10 MB, and few are enough to keep both busy."""
FOREIGN_QUEUE_MESSAGES = 100_000
"""The same for other kernels: they drop what finds no room, also the message that a cell has ended."""
PIECE_CHARACTERS = 1_000_000
"""Kernels of ours send text in pieces of this size."""
