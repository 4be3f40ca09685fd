"""Failures of a connection."""

from __future__ import annotations

from roomkit.abc.errors import RoomKitError

__all__ = ["SourceBrokenError", "SourceNotConnectedError"]


class SourceBrokenError(RoomKitError):
    """A source's connection could not be made, or broke. `is_final` if connecting again would not help."""

    code = "source_broken"

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class SourceNotConnectedError(RoomKitError, RuntimeError):
    """A source has no connection to send by."""

    code = "source_not_connected"
