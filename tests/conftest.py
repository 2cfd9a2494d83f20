"""Settings that every test needs."""

import signal


def pytest_configure() -> None:
    """Let programs under test receive Ctrl-C.

    A shell starts what it puts in the background with SIGINT ignored, and children inherit that: a test that interrupts
    a program would wait for ever when the tests themselves run in the background.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
