"""How many tokens something will cost: a quick guess that errs on the high side for English."""

from __future__ import annotations

from collections.abc import Iterable
from json import dumps
from typing import TYPE_CHECKING

from roomkit.models.ai import AIImagePart, AIToolCallPart, AIToolResultPart
from roomkit.models.content import TextContent
from roomkit_plugins.ai.transcript import parts_of

if TYPE_CHECKING:
    from roomkit.models.ai import AIMessage, AIPart, AITool
    from roomkit.models.event import RoomEvent
    from roomkit.models.generation import AIContext

__all__ = ["estimate_context_tokens", "estimate_tokens"]

PER_MESSAGE = 4
PER_IMAGE = 1000


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` is: a quarter of its UTF-8 bytes, and one.

    Bytes and not characters, because scripts such as Chinese take about a token a character.
    """
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) // 4 + 1


def estimate_context_tokens(context: AIContext) -> int:
    """Return about how many tokens a request is: prompt, tools and messages."""
    prompt = estimate_tokens(context.system_prompt) if context.system_prompt else 0
    return prompt + sum(map(_of_tool, context.tools)) + of_messages(context.messages)


def of_messages(messages: Iterable[AIMessage]) -> int:
    """Return about how many tokens `messages` are."""
    return sum(map(of_message, messages))


def of_message(message: AIMessage) -> int:
    """Return about how many tokens one message is."""
    content = message.content
    name = estimate_tokens(message.name) if message.name else 0
    body = estimate_tokens(content) if isinstance(content, str) else sum(map(_of_part, content))
    return PER_MESSAGE + name + body


def of_event(event: RoomEvent) -> int:
    """Return about how many tokens an event will be in a request."""
    content = event.content
    if isinstance(content, TextContent):  # nearly all: without a part that is made only to be counted
        return PER_MESSAGE + (estimate_tokens(content.body) if content.body.strip() else 0)
    return PER_MESSAGE + sum(map(_of_part, parts_of(content, vision=True)))


def _of_part(part: AIPart) -> int:
    match part:
        case AIImagePart():
            return PER_IMAGE
        case AIToolCallPart():
            return estimate_tokens(part.name) + estimate_tokens(dumps(part.arguments))
        case AIToolResultPart():
            return estimate_tokens(part.result)
    return estimate_tokens(part.text if part.type == "text" else part.thinking)


def _of_tool(tool: AITool) -> int:
    return sum(map(estimate_tokens, (tool.name, tool.description, dumps(tool.parameters))))
