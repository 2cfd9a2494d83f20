"""How many damaged things are tried: a few, the same ones every time; in `make soak` many others."""

from hypothesis import HealthCheck, Phase, settings

from tests.soak import SOAKING, repetitions

FUZZ = settings(
    max_examples=repetitions(few=100, many=5000),
    derandomize=not SOAKING,
    phases=(Phase.explicit, Phase.generate),  # an example has a few lines; making it smaller takes minutes
    database=None,
    deadline=None,  # each test has bounds of its own; a busy machine is no failure
    suppress_health_check=list(HealthCheck),
)
