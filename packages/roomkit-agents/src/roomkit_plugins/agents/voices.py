"""How a handoff is heard: the greeting of the agent that gets the conversation, and its voice in a call."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Greeting"]


@dataclass(slots=True, frozen=True)
class Greeting:
    """The words of a handoff, and the channel whose voice changes with the agent."""

    is_wanted: bool = False
    prompt: str | None = None
    farewell: str | None = None
    voice_channel_id: str | None = None
