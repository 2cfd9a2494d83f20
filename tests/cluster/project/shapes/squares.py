"""A class that only this project has."""

from dataclasses import dataclass


@dataclass
class Square:
    """Not a value that JSON holds."""

    side: int

    @property
    def area(self) -> int:
        """Its area."""
        return self.side**2
