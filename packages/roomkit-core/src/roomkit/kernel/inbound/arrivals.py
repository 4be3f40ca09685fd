"""Observations of a committed message: its session, and its sender's identity."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read_attribute
from roomkit.abc.channel import Channel
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.contract import owner_of, type_of
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventType, HookTrigger
from roomkit.models.session_event import SessionStartedEvent

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.runtime.framework_events import FrameworkEvents


__all__ = ["Arrivals"]


class Arrivals:
    """Notifies observers of sessions and of senders who were identified."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        hooks: HookEngine,
        events: FrameworkEvents,
        observers: Observers,
    ) -> None:
        self._store = store
        self._hooks = hooks
        self._events = events
        self._observers = observers

    def session_started(self, message: InboundMessage, channel: Channel, draft: Draft) -> None:
        """Notify the observers that a message opened a room, unless its channel says so itself."""
        if read_attribute(owner_of(message.channel_id), channel, "opens_sessions", bool):
            return
        channel_type = type_of(channel, message.channel_id)
        event = draft.event
        started = SessionStartedEvent(
            room_id=event.room_id,
            channel_id=message.channel_id,
            channel_type=channel_type,
            participant_id=event.source.participant_id,
        )
        self._events.emit(
            "session_started",
            room_id=event.room_id,
            channel_id=message.channel_id,
            channel_type=channel_type,
        )
        if self._hooks.has_hooks(HookTrigger.ON_SESSION_STARTED, event.room_id):
            draft.cascade.hold()
            self._observers.start(
                partial(self._observe_later, HookTrigger.ON_SESSION_STARTED, started, draft),
                "observers of a session's start",
            )

    def joined(self, draft: Draft) -> None:
        """Notify the observers that a sender was identified."""
        person = draft.participant
        if person is None or person.identity_id is None or person.resolved_by != "resolver":
            return
        if self._hooks.has_hooks(HookTrigger.ON_PARTICIPANT_IDENTIFIED, draft.event.room_id):
            payload = note(
                draft.event.room_id,
                EventType.PARTICIPANT_IDENTIFIED,
                "participant_identified",
                f"{person.id} was identified",
                participant_id=person.id,
                identity_id=person.identity_id,
                resolved_by=person.resolved_by,
            )
            draft.cascade.hold()
            self._observers.start(
                partial(self._observe_later, HookTrigger.ON_PARTICIPANT_IDENTIFIED, payload, draft),
                "observers of who a sender is",
            )

    async def _observe_later(self, trigger: HookTrigger, payload: object, draft: Draft) -> None:
        try:
            record = await self._store.load(draft.event.room_id, recent=RECENT_EVENTS)
            if record is not None:
                await self._observers.observe(trigger, payload, record, draft.cascade, draft.event.source)
        finally:
            draft.cascade.release()
