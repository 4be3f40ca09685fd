"""The assistant of a machine without a key: a script, which says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from roomkit.abc.ai import AIProvider
from roomkit.models.ai import AITextPart, StreamDone, StreamTextDelta
from roomkit.models.generation import AIResponse

if TYPE_CHECKING:
    from roomkit.models.ai import AIMessage, StreamEvent
    from roomkit.models.generation import AIContext

__all__ = ["ScriptedAssistant"]

_ANSWERS = (
    (
        r"\b(hello|hi|hey|bonjour)\b",
        "Hello! I am a script, not a model. Ask me what a room is, or type a card number to see the gate.",
    ),
    (
        r"\broom\b",
        "A room is one conversation: one timeline, and every channel that takes part in it. "
        "In the demo two people are on web sockets, and I am one more channel.",
    ),
    (r"\*{4}", "That number was masked before it was stored: I never saw it, and no one else did."),
    (r"\bhook|gate\b", "A gate is a hook that may block or rewrite a message before it is stored."),
    (r"\b(thanks|thank you|merci)\b", "You are welcome."),
    (r"\b(bye|goodbye)\b", "Goodbye!"),
)
_OTHERWISE = (
    'I heard: "{text}". I am a script; with the key of a model\'s vendor set, such as ANTHROPIC_API_KEY, '
    "a real model answers in my place."
)
_QUOTED = 200


class ScriptedAssistant(AIProvider):
    """Answers by keyword, word by word, `pace` seconds apart."""

    def __init__(self, *, pace: float = 0.0) -> None:
        self._pace = pace

    @property
    def name(self) -> str:
        """Says what it is."""
        return "scripted"

    @property
    def model_name(self) -> str:
        """No model."""
        return "none"

    @property
    def supports_streaming(self) -> bool:
        """It does."""
        return True

    @property
    def supports_structured_streaming(self) -> bool:
        """It does."""
        return True

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer."""
        return AIResponse(content=answer_to(_last_said(context)), finish_reason="stop")

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the answer word by word."""
        for piece in re.findall(r"\S+\s*", answer_to(_last_said(context))):
            if self._pace:
                await asyncio.sleep(self._pace)
            yield StreamTextDelta(piece)
        yield StreamDone("stop")


def answer_to(text: str) -> str:
    """Return what the script says to `text`."""
    for pattern, answer in _ANSWERS:
        if re.search(pattern, text, re.IGNORECASE):
            return answer
    quoted = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
    return _OTHERWISE.format(text=quoted)


def _last_said(context: AIContext) -> str:
    for message in reversed(context.messages):
        if message.role == "user":
            return _text(message)
    return ""


def _text(message: AIMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, AITextPart))
