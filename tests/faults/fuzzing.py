"""How many damaged things are tried: the same ones every time, or as many others as ``FUZZ_EXAMPLES`` says."""

import os

from hypothesis import HealthCheck, Phase, settings

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.generate),  # an example has a few lines; making it smaller takes minutes
    database=None,
    deadline=None,  # each test has bounds of its own; a busy machine is no failure
    suppress_health_check=list(HealthCheck),
)
