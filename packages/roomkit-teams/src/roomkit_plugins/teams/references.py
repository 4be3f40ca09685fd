"""Where the bot's conversations are: what it needs to write to one by itself.

https://learn.microsoft.com/microsoftteams/platform/bots/how-to/conversations/send-proactive-messages
(Nov 2026).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

if TYPE_CHECKING:
    from roomkit.abc.services import Services

__all__ = [
    "ConversationReferenceStore",
    "InMemoryConversationReferenceStore",
    "KeptConversationReferenceStore",
    "reference_of",
]

_PART = "conversation"


class ConversationReferenceStore(ABC):
    """Keeps the reference of each conversation, by the conversation's id; safe for concurrent use.

    A reference is a JSON object as the Bot Framework writes it: `serviceUrl`, `conversation`, `bot`, `user`,
    `channelId`, `locale`.
    """

    @abstractmethod
    async def save(self, conversation_id: str, reference: Mapping[str, Any]) -> None:
        """Keep a reference in place of an earlier one."""

    @abstractmethod
    async def get(self, conversation_id: str) -> Mapping[str, Any] | None:
        """Return a conversation's reference, None without one."""

    @abstractmethod
    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation; one that is not known is forgotten already."""

    @abstractmethod
    async def list_all(self) -> Sequence[Mapping[str, Any]]:
        """Return every reference."""


class InMemoryConversationReferenceStore(ConversationReferenceStore):
    """Keeps references as long as the process runs."""

    def __init__(self) -> None:
        self._kept: dict[str, Mapping[str, Any]] = {}  # bound: the bot's conversations

    @override
    async def save(self, conversation_id: str, reference: Mapping[str, Any]) -> None:
        self._kept[conversation_id] = dict(reference)

    @override
    async def get(self, conversation_id: str) -> Mapping[str, Any] | None:
        return self._kept.get(conversation_id)

    @override
    async def delete(self, conversation_id: str) -> None:
        self._kept.pop(conversation_id, None)

    @override
    async def list_all(self) -> Sequence[Mapping[str, Any]]:
        return list(self._kept.values())


class KeptConversationReferenceStore(ConversationReferenceStore):
    """Keeps references among the values of the kit's store, for every worker and past restarts."""

    def __init__(self, services: Services) -> None:
        self._values = services.values

    @override
    async def save(self, conversation_id: str, reference: Mapping[str, Any]) -> None:
        known = await self._values.get(_PART, conversation_id)
        if known is None or dict(known.data) != dict(reference):
            await self._values.put(_PART, conversation_id, data=reference)

    @override
    async def get(self, conversation_id: str) -> Mapping[str, Any] | None:
        found = await self._values.get(_PART, conversation_id)
        return None if found is None else found.data

    @override
    async def delete(self, conversation_id: str) -> None:
        await self._values.delete(_PART, conversation_id)

    @override
    async def list_all(self) -> Sequence[Mapping[str, Any]]:
        return [each.data async for each in self._values.scan(_PART)]


def reference_of(activity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference of the conversation that an activity came from."""
    found = {
        "user": activity.get("from"),
        "bot": activity.get("recipient"),
        "conversation": activity.get("conversation"),
        "channelId": activity.get("channelId"),
        "locale": activity.get("locale"),
        "serviceUrl": activity.get("serviceUrl"),
    }
    return {name: value for name, value in found.items() if value is not None}
