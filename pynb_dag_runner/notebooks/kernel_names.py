"""Names of our own kernel; they stand apart from what imports jupyter_client, which takes a tenth of a second."""

OWN = "python3"
"""Name under which the runner's own interpreter is offered, as every Jupyter installation does."""
PROVISIONER = "pynb-dag-runner"
"""Name of the entry point by which jupyter_client finds how a kernel of ours comes about."""
