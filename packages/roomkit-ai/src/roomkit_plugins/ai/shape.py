"""The shape every vendor asks of a conversation.

It starts with the user, roles alternate, each tool call is followed by its one result, tool ids
are unique, and nothing is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from roomkit.authoring.conversation import attributed, labelled
from roomkit.models.ai import AIMessage, AITextPart, AIToolCallPart, AIToolResultPart

if TYPE_CHECKING:
    from roomkit.models.ai import AIPart

__all__ = ["OPENING", "append", "call_ids", "parts_in", "well_formed"]

OPENING = AIMessage(role="user", content="[The conversation so far begins with your own message.]")
"""Stands before a history that starts with the agent, since a conversation starts with the user."""


def well_formed(messages: Iterable[AIMessage]) -> list[AIMessage]:
    """Return `messages` in a legal shape, keeping everything that can be kept.

    Neighbours of one role become one message; where their speakers differ, each is labelled in
    the text. Calls without a result and results without a call are dropped.
    """
    turns = _merged(messages)
    if not all(isinstance(message.content, str) for message in turns):
        turns = _merged(_paired(turns))
    return turns if not turns or turns[0].role == "user" else [OPENING, *turns]


def append(messages: list[AIMessage], message: AIMessage) -> None:
    """Add one message at the end, as part of the last one when the role is the same."""
    if messages and messages[-1].role == message.role:
        message = _merge([messages.pop(), message])
    messages.append(message)


def parts_in(message: AIMessage) -> Sequence[AIPart]:
    """Return a message's parts; plain text is one part."""
    content = message.content
    if not isinstance(content, str):
        return content
    return (AITextPart(text=content),) if content.strip() else ()


def call_ids(messages: Iterable[AIMessage]) -> set[str]:
    """Return the ids of the tool calls made in `messages`."""
    return {
        part.id
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, AIToolCallPart)
    }


def _merged(messages: Iterable[AIMessage]) -> list[AIMessage]:
    """Return those that say something, neighbours of one role as one message."""
    groups: list[AIMessage | list[AIMessage]] = []  # bound: `messages`
    before = None
    for message in messages:
        content, role = message.content, message.role
        if not content or (isinstance(content, str) and content.isspace()):
            continue
        if role != before:
            groups.append(message)
            before = role
        elif isinstance(last := groups[-1], list):
            last.append(message)
        else:
            groups[-1] = [last, message]
    return [_merge(each) if isinstance(each, list) else each for each in groups]


def _merge(group: Sequence[AIMessage]) -> AIMessage:
    names = {message.name for message in group}
    if len(names) > 1:
        group = [_labelled(message) for message in group]
    name = names.pop() if len(names) == 1 else None
    texts = [message.content for message in group if isinstance(message.content, str)]
    if len(texts) == len(group):
        return group[0].replace(content="\n".join(texts), name=name)
    parts = tuple(part for message in group for part in parts_in(message))
    return group[0].replace(content=parts, name=name)


def _labelled(message: AIMessage) -> AIMessage:
    """Return the message with its speaker in the text, in front of the first words."""
    if message.name is None:
        return message
    if isinstance(message.content, str):
        return message.replace(content=attributed(message.name, message.content), name=None)
    return message.replace(content=labelled(message), name=None)


def _paired(messages: Sequence[AIMessage]) -> list[AIMessage]:
    kept: list[AIMessage] = []
    seen: set[str] = set()
    owed: set[str] = set()
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if message.role == "assistant":
            owed = (call_ids([message]) & _result_ids(following)) - seen
            seen |= owed
        kept.append(_keep(message, _unpaid(set(owed))))
        if message.role != "assistant":
            owed = set()
    return kept


def _unpaid(owed: set[str]) -> Callable[[AIPart], bool]:
    """Return a test that passes all other parts, and each owed tool part once."""

    def passes(part: AIPart) -> bool:
        match part:
            case AIToolCallPart(id=key) | AIToolResultPart(tool_call_id=key):
                fresh = key in owed
                owed.discard(key)
                return fresh
        return True

    return passes


def _keep(message: AIMessage, passes: Callable[[AIPart], bool]) -> AIMessage:
    if isinstance(message.content, str):
        return message
    parts = tuple(part for part in message.content if passes(part))
    return message if len(parts) == len(message.content) else message.replace(content=parts)


def _result_ids(message: AIMessage | None) -> set[str]:
    if message is None or message.role != "tool" or isinstance(message.content, str):
        return set()
    return {part.tool_call_id for part in message.content if isinstance(part, AIToolResultPart)}
