"""What can go wrong with a turn beyond a provider's own failure."""

from __future__ import annotations

from roomkit.abc.errors import RoomKitError

__all__ = ["ToolLoopError", "TurnTimeoutError", "UnknownToolError"]


class UnknownToolError(RoomKitError, LookupError):
    """Raised by a tool handler that does not know the tool it was asked for."""

    code = "unknown_tool"


class TurnTimeoutError(RoomKitError, TimeoutError):
    """A turn did not end before `tool_loop_timeout_seconds`; what it was doing was interrupted."""

    code = "turn_timeout"


class ToolLoopError(RoomKitError):
    """A turn used up its tool rounds and, asked for an answer, gave none."""

    code = "tool_loop_exhausted"
