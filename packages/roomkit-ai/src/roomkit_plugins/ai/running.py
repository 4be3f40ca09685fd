"""The tool call under way, and the result that the model gets for one that is refused."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.tool import ToolUse

__all__ = ["current_tool_call", "refused", "running_call"]

running_call: ContextVar[ToolUse] = ContextVar("running_call")


def current_tool_call() -> ToolUse:
    """Return the call a tool handler is answering: its room, its id, and on whose behalf.

    Raises LookupError outside a tool handler.
    """
    try:
        return running_call.get()
    except LookupError:
        raise LookupError("no tool is being run here: call this from a tool handler") from None


def refused(reason: str) -> str:
    """Return the result that explains to the model why its call was not run."""
    return json.dumps({"error": reason}, ensure_ascii=False)
