"""Directions to an agent at work."""

from __future__ import annotations

from typing import Literal

from roomkit._dataclasses import dataclass

__all__ = ["Cancel", "InjectMessage", "SteeringDirective", "UpdateSystemPrompt"]


@dataclass(slots=True, frozen=True)
class InjectMessage:
    """Add a message to the running tool loop before its next round."""

    content: str
    role: Literal["user", "system"] = "user"
    type: Literal["inject_message"] = "inject_message"


@dataclass(slots=True, frozen=True)
class Cancel:
    """Stop the running tool loop."""

    reason: str = "cancelled"
    type: Literal["cancel"] = "cancel"


@dataclass(slots=True, frozen=True)
class UpdateSystemPrompt:
    """Append to the system prompt of the running tool loop."""

    append: str
    type: Literal["update_system_prompt"] = "update_system_prompt"


type SteeringDirective = InjectMessage | Cancel | UpdateSystemPrompt
