"""How often a test repeats what may go wrong once in many times: a few times as a rule, many times in `make soak`."""

import os

SOAKING = os.environ.get("SOAK") == "1"
"""`make soak` sets it: a parameter of a decorator is needed before pytest has read its options."""


def repetitions(*, few: int, many: int) -> int:
    """Choose how often to repeat; mark the test `soak`, so that `make soak` runs it.

    Args:
        few: for `make test`: enough to see that it works, and each way at least once.
        many: for `make soak`: enough to see what happens once in so many times.
    """
    return many if SOAKING else few
