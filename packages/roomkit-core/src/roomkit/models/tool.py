"""A tool call on its way to be run, as gates and observers see it."""

from __future__ import annotations

from roomkit.models.ai import AIImagePart
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.enums import ParticipantRole
from roomkit.models.values import Text

__all__ = ["ToolResult", "ToolUse"]


class ToolUse(Record):
    """The payload of BEFORE_TOOL_USE and ON_TOOL_CALL.

    A gate that modifies it changes the call: exactly this payload executes. `participant_id`
    and `role` are those of the participant whom the agent is answering, `event_id` is the event that it
    answers: the same when a turn is re-run by another worker, or continues. In ON_TOOL_CALL, `result` is
    what the tool answered and `is_error` whether it failed or was refused.
    """

    room_id: str
    channel_id: str
    call_id: str
    name: str
    arguments: Json = EMPTY
    participant_id: str | None = None
    role: ParticipantRole | None = None
    event_id: str | None = None
    result: str | None = None
    is_error: bool = False
    duration_ms: float | None = None


class ToolResult(Record):
    """What a tool answers, when it is more than text.

    `images` are shown to a model that takes images, after the results of its round; another one reads a note
    in their place. `is_error` says that the tool failed, and `text` why.
    """

    text: Text = ""
    images: tuple[AIImagePart, ...] = ()
    is_error: bool = False
