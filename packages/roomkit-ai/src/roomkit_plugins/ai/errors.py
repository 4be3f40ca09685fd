"""Failures of a turn, beyond those of its provider."""

from __future__ import annotations

from roomkit.abc.errors import RoomKitError

__all__ = [
    "AnswerTooLongError",
    "BudgetError",
    "StalledAnswerError",
    "ToolLoopError",
    "ToolsBusyError",
    "TurnTimeoutError",
]


class TurnTimeoutError(RoomKitError, TimeoutError):
    """A turn did not end before `tool_loop_timeout_seconds`; what it was doing was interrupted."""

    code = "turn_timeout"


class ToolLoopError(RoomKitError):
    """A turn used up its tool rounds and, asked for an answer, gave none."""

    code = "tool_loop_exhausted"


class ToolsBusyError(RoomKitError):
    """Too many calls of tools that are plain functions wait for a thread; the call is not made."""

    code = "tools_busy"


class AnswerTooLongError(RoomKitError):
    """A model's answer, its reasoning included, went on beyond `max_answer_chars`."""

    code = "answer_too_long"


class BudgetError(RoomKitError):
    """A turn, or its room, has spent `max_turn_cost` or `max_room_cost`: no further request is made."""

    code = "budget_exhausted"


class StalledAnswerError(RoomKitError, TimeoutError):
    """A model that had begun to answer said nothing more for `answer_idle_seconds`."""

    code = "answer_stalled"
