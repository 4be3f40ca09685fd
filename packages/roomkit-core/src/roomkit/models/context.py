"""What a hook, channel or agent is shown of the room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from roomkit.models.enums import EventStatus
from roomkit.models.searching import best_hits, hits_in, phrases_of
from roomkit.models.visibility import sees

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.delivery import Delivery
    from roomkit.models.enums import ChannelType
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room

__all__ = ["RoomContext"]


class RoomContext:
    """A view of one room: `room`, `bindings`, `participants`, `recent_events`.

    Each part is read when it is first asked for and then stays as it was. `recent_events` are the
    newest conversation entries, oldest first, without blocked or deleted ones; `reader`, when set,
    is the binding they are shown to, and only what that binding may see is among them; `history`
    reaches further back. `delivery`
    is the ledger row being worked on, in `Channel.deliver` and `Channel.on_event`.
    """

    speculative: bool = False
    """Whether it is about a message that is not committed, and may never be (see `Turns.speculate`).

    A gate's verdict is then asked for again, with the message as it is committed: what else it returns is
    discarded, and it may write nothing. An intelligence prepares its answer, and has no effect before
    `confirmed`; the flag is False from then on.
    """
    about: Sequence[str] = ()
    """In `Channel.deliver`, the vendor's ids of the message that an edit, a deletion or a reaction is about.

    Of every part, in order, as the vendor of the delivery's channel knows it; see `Channel.needs_vendor_ids`.
    """
    answered: Sequence[str] = ()
    """In `Channel.deliver`, likewise, of the message that the event answers (`parent_event_id`)."""
    __slots__ = ("_bindings", "_participants", "_recent", "_room", "delivery", "reader")

    def __init__(
        self,
        room: Room | Callable[[], Room],
        bindings: Iterable[ChannelBinding] | Callable[[], Iterable[ChannelBinding]] = (),
        participants: Iterable[Participant] | Callable[[], Iterable[Participant]] = (),
        recent_events: Sequence[RoomEvent] | Callable[[], Sequence[RoomEvent]] = (),
        *,
        reader: ChannelBinding | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self._room = room
        self._bindings = bindings
        self._participants = participants
        # A tuple was read already; the reader's view of its events is still to be made.
        self._recent = list(recent_events) if isinstance(recent_events, tuple) else recent_events
        self.reader = reader
        self.delivery = delivery

    @property
    def room(self) -> Room:
        """The room as it is now."""
        if callable(self._room):
            self._room = self._room()
        return self._room

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self.room.id

    @property
    def bindings(self) -> Sequence[ChannelBinding]:
        """Every channel of the room."""
        bindings = self._bindings
        if not isinstance(bindings, tuple):
            bindings = self._bindings = tuple(bindings() if callable(bindings) else bindings)
        return bindings

    @property
    def participants(self) -> Sequence[Participant]:
        """Everybody known in the room."""
        participants = self._participants
        if not isinstance(participants, tuple):
            participants = tuple(participants() if callable(participants) else participants)
            self._participants = participants
        return participants

    @property
    def recent_events(self) -> Sequence[RoomEvent]:
        """The newest entries the reader may see, oldest first."""
        recent = self._recent
        if not isinstance(recent, tuple):
            events = recent() if callable(recent) else recent
            reader = self.reader
            if reader is not None:
                events = [event.without_former_contents() for event in events if _shown_to(reader, event)]
            recent = self._recent = tuple(events)
        return recent

    async def history(self, limit: int) -> Sequence[RoomEvent]:
        """Return up to `limit` of the newest entries the reader may see, oldest first.

        What the reader may not see takes no place among them. More than `recent_events` holds is
        read from the store when it is asked for; a context that was made without one has no more.
        """
        return self.recent_events[-limit:] if limit > 0 else ()

    async def search(self, words: str, limit: int = 10) -> Sequence[RoomEvent]:
        """Return up to `limit` of the entries the reader may see that have any of `words`.

        Those with the most of them come first, of equal ones the newest; how words match is said by
        `ConversationStore.search_events`. Nothing later than the event that is being delivered is among
        them. Costs one search of the store; a context that was made without one searches `recent_events`.
        """
        wanted = phrases_of(words)
        hits = [(count, event) for event in self.recent_events if (count := hits_in(event, wanted))]
        return best_hits(hits, limit)

    async def confirmed(self) -> None:
        """Wait, in an intelligence's speculative turn, until the message is committed; else return at once.

        If it never is, or is another one than expected, the turn is cancelled here.
        """

    def other_channels(self, exclude_channel_id: str) -> list[ChannelBinding]:
        """Return every binding but that of `exclude_channel_id`."""
        return [binding for binding in self.bindings if binding.channel_id != exclude_channel_id]

    def channels_by_type(self, channel_type: ChannelType) -> list[ChannelBinding]:
        """Return the bindings of one channel type."""
        return [binding for binding in self.bindings if binding.channel_type == channel_type]

    def get_binding(self, channel_id: str) -> ChannelBinding | None:
        """Return the binding of `channel_id`, None when it is not in the room."""
        return next((binding for binding in self.bindings if binding.channel_id == channel_id), None)

    def get_participant(self, participant_id: str | None) -> Participant | None:
        """Return the participant `participant_id`, None when unknown."""
        return next((person for person in self.participants if person.id == participant_id), None)

    def __repr__(self) -> str:
        return f"<RoomContext room={self.room_id!r}>"


def _shown_to(reader: ChannelBinding, event: RoomEvent) -> bool:
    """Whether an event is history for `reader`: what it said itself and was blocked is not."""
    return event.status is not EventStatus.BLOCKED and sees(reader, event)
