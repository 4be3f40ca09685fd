"""Shortens a request that a model refused as too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from roomkit.models.ai import AIMessage, AITextPart, AIToolResultPart
from roomkit_plugins.ai.shape import parts_in
from roomkit_plugins.ai.tokens import of_messages

if TYPE_CHECKING:
    from roomkit.models.ai import AIPart

__all__ = ["cut", "shortened"]

MAX_LINES = 20
MAX_LINE_CHARS = 160
MAX_RESULT_CHARS = 4000


def shortened(
    earlier: Sequence[AIMessage], own: Sequence[AIMessage]
) -> tuple[list[AIMessage], list[AIMessage]] | None:
    """Return a shorter conversation in the same two parts; None when nothing can go.

    Of the history before the turn, the older half (in tokens) is replaced by one note of its
    lines. The turn's own messages stay whole; where it is the bigger part, long tool results in
    it are cut. A call is never parted from its result.
    """
    bulky = of_messages(earlier) < of_messages(own)
    slim = [_with_cut_results(message) for message in own] if bulky else list(own)
    if not earlier and slim == list(own):
        return None
    kept = _newer_half(earlier)
    note = [_note(earlier[: len(earlier) - len(kept)])] if earlier else []
    return [*note, *kept], slim


def cut(text: str, limit: int) -> str:
    """Return `text`, its middle replaced by a marker when it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[... {left_out} characters left out ...]\n{text[-half:]}"


def _newer_half(messages: Sequence[AIMessage]) -> Sequence[AIMessage]:
    budget = of_messages(messages) // 2
    for start in _boundaries(messages):
        if start and of_messages(messages[start:]) <= budget:
            return messages[start:]
    return []


def _boundaries(messages: Sequence[AIMessage]) -> Iterable[int]:
    """Return where a conversation may be cut: nowhere between a call and its result."""
    return (place for place, message in enumerate(messages) if message.role != "tool")


def _note(messages: Sequence[AIMessage]) -> AIMessage:
    lines = [line for message in messages for line in _lines(message)][-MAX_LINES:]
    return AIMessage(role="user", content="\n".join(["[Earlier messages, shortened]", *lines]))


def _lines(message: AIMessage) -> Iterable[str]:
    speaker = message.name or message.role
    for part in parts_in(message):
        if isinstance(part, AITextPart):
            yield f"{speaker}: {' '.join(part.text.split())[:MAX_LINE_CHARS]}"


def _with_cut_results(message: AIMessage) -> AIMessage:
    if message.role != "tool":
        return message
    return message.replace(content=tuple(map(_with_cut_result, parts_in(message))))


def _with_cut_result(part: AIPart) -> AIPart:
    if not isinstance(part, AIToolResultPart):
        return part
    return part.replace(result=cut(part.result, MAX_RESULT_CHARS))
