"""What a handoff is: the agent's request, the outcome, and the tool that asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from roomkit.models.ai import AITool
from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import Key, Label, Text

__all__ = ["HANDOFF_TOOL", "HANDS_OVER", "Handoff", "HandoffRequest", "HandoffResult", "build_handoff_tool"]

NAME = "handoff_conversation"
HANDS_OVER = "[The conversation was handed over"
"""How the words begin by which an agent hands over that has nothing else to say; no person sees them."""
_DESCRIPTION = (
    "Hand this conversation to another agent, or to a person ('human'). Say nothing more afterwards: "
    "the other one answers at once."
)
_ESCALATIONS = ("same", "voice", "email", "sms")


class HandoffRequest(Record):
    """What an agent asks for: who gets the conversation, and what that one needs to know.

    `channel_escalation` is by which way the person is to be answered from then on, for the program that
    observes the handoff.
    """

    target_agent_id: Key
    reason: Text = ""
    summary: Text = ""
    next_phase: Label | None = None
    context: Json = EMPTY
    channel_escalation: Literal["same", "voice", "email", "sms"] | None = None
    urgent: bool = False

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> HandoffRequest:
        """Return the request in a tool call's arguments. Raises pydantic.ValidationError."""
        fields = {key: value for key, value in arguments.items() if key != "target"}
        return cls.model_validate({"target_agent_id": arguments.get("target"), **fields})


class HandoffResult(Record):
    """What became of a request; of one that was refused, `reason` says why."""

    accepted: bool = True
    new_agent_id: Key | None = None
    new_phase: Label | None = None
    message: Text = ""
    reason: Text = ""


class Handoff(Record):
    """The payload of ON_HANDOFF and ON_HANDOFF_REJECTED."""

    room_id: Key
    calling_agent_id: Key
    request: HandoffRequest
    result: HandoffResult = Field(default_factory=HandoffResult)


def _tool(description: str, target: Mapping[str, Any]) -> AITool:
    return AITool(
        name=NAME,
        description=description,
        parameters={
            "type": "object",
            "properties": {
                "target": target,
                "reason": {"type": "string", "description": "Why, in one sentence."},
                "summary": {"type": "string", "description": "What the other one needs to know."},
                "next_phase": {
                    "type": "string",
                    "description": "The phase that follows, if not the usual one.",
                },
                "channel_escalation": {"type": "string", "enum": list(_ESCALATIONS)},
            },
            "required": ["target", "reason", "summary"],
        },
    )


HANDOFF_TOOL = _tool(_DESCRIPTION, {"type": "string", "description": "The id of the agent, or 'human'."})
"""The tool by which an agent hands the conversation to any other agent of the room."""


def build_handoff_tool(targets: Sequence[tuple[str, str | None]], *, farewell: str | None = None) -> AITool:
    """Return the tool for these targets, each with what it is for; without any, `HANDOFF_TOOL`.

    `farewell` is what the agent is to say to the person before it calls the tool.
    """
    described = [f"- {agent_id}: {about or 'no description'}" for agent_id, about in targets]
    first = f"{_DESCRIPTION} First say to the person: {farewell}" if farewell else _DESCRIPTION
    if not targets:
        return HANDOFF_TOOL if not farewell else HANDOFF_TOOL.replace(description=first)
    names = [agent_id for agent_id, _ in targets]
    return _tool("\n".join([first, "Targets:", *described]), {"type": "string", "enum": names})
