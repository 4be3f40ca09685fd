"""What a person said of being written to."""

from __future__ import annotations

from datetime import datetime

from roomkit.models.base import Record
from roomkit.models.enums import ConsentState
from roomkit.models.values import Label

__all__ = ["ALL_PURPOSES", "Consent"]

ALL_PURPOSES = "all"
"""The purpose that stands for every one."""


class Consent(Record):
    """What holds for an address and purpose: granted or revoked, since when, and by what.

    `source` says how it is known, such as "keyword", "vendor" or "host".
    """

    state: ConsentState
    purpose: Label = ALL_PURPOSES
    at: datetime
    source: Label | None = None
