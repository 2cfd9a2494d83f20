"""Settings that every test needs."""
