"""A module beside a notebook."""


def greeting(name: str) -> str:
    """A text."""
    return f"hello {name}"
