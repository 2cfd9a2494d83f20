"""Times and whole numbers as files hold them; values from a stranger's file are bounded where they are read.

Without bounds a year 1 east of Greenwich or a number of 4,000 digits passes as a valid value, and breaks whoever
computes with it later: a report, a chart, a database.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field
from pydantic_core import PydanticCustomError

from pynb_dag_runner.model.declarations import StoredInteger


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:  # 0001-01-01T00:00:00+01:00 is in no year that Python has
        raise PydanticCustomError("time_out_of_range", "a time between the years 1 and 9999 in UTC") from None


StoredTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone; read, it is in UTC."""

AttemptNumber = Annotated[StoredInteger, Field(ge=1)]
"""Attempts are counted from 1."""
