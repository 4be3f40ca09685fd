"""Names of time zones."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from roomkit.models.vocabulary import reads_stored

__all__ = ["ZoneName"]


def _known(name: str) -> str:
    if reads_stored():
        return name
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"no time zone {name!r}: give a name of the IANA database, such as Europe/Berlin, and install "
            "the package tzdata where the system has none"
        ) from None
    return name


type ZoneName = Annotated[str, AfterValidator(_known)]
"""A zone of the IANA database. A stored name that this machine does not know is kept."""
