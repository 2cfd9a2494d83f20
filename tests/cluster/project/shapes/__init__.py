"""A local package, installed nowhere."""
