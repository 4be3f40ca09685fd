"""The summary of a handoff, for the agent that has the conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit.models.ai import AIMessage
from roomkit_plugins.agents.kinds import check_kind
from roomkit_plugins.agents.state import NAMESPACE, conversation_of
from roomkit_plugins.ai.memory import WrappingMemory

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["HandoffMemoryProvider"]


class HandoffMemoryProvider(WrappingMemory):
    """What `inner` remembers, after the reason and summary with which the conversation was handed over.

    Only the agent that has the conversation reads them, for as long as it has it. They are kept with the
    room, and removed when a person who spoke in it is erased.
    """

    def __init__(self, inner: MemoryProvider) -> None:
        check_kind("HandoffMemoryProvider", "inner", inner, MemoryProvider)
        super().__init__(inner)
        self._services: Services | None = None

    def bind(self, services: Services) -> None:
        """Take the services that read the summary, for the inner memory too."""
        self._services = services
        super().bind(services)

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return the inner memory, after a message with the summary of the handoff."""
        found = await self.inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        left = await self._left(room_id, context, channel_id)
        return found if left is None else replace(found, messages=(left, *found.messages))

    async def _left(self, room_id: str, context: RoomContext, channel_id: str | None) -> AIMessage | None:
        state = conversation_of(context.room.state.get(NAMESPACE))
        if self._services is None or state is None or not state.handoff_count:
            return None
        if channel_id is None or state.active_agent_id != channel_id:
            return None
        kept = await self._services.values.of(context.room.organization_id).get("summary", room_id)
        if kept is None or kept.data["to"] != channel_id:
            return None
        before, reason, summary = kept.data["from"], kept.data["reason"], kept.data["summary"]
        why = f" Reason: {reason}" if reason else ""
        return AIMessage(role="user", content=f"[Context from previous agent ({before}): {summary}{why}]")
