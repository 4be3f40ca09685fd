"""Operations on the conversation of a room: its timeline, messages, deliveries and read marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from roomkit.abc.choice import check_choice, chosen
from roomkit.abc.errors import (
    EventNotFoundError,
    InvalidInputError,
    RoomBusyError,
    RoomClosedError,
    RoomKitError,
    TaskNotFoundError,
)
from roomkit.abc.records import checked
from roomkit.abc.store import DeliveryQuery
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.reading import as_read
from roomkit.kernel.inbound.pipeline import WAITS, Wait
from roomkit.kernel.inbound.signals import EPHEMERAL
from roomkit.kernel.rooms.checks import not_attached
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.scope import check_committed, present, working_for
from roomkit.kernel.scoping import Scoped, follows
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import DeleteContent, EditContent, EventContent
from roomkit.models.delivery import Delivery, InboundMessage, InboundResult
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelType,
    DeleteType,
    DeliveryState,
    EphemeralEventType,
    EventStatus,
    EventType,
    TaskStatus,
)
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent
from roomkit.models.parking import ParkedTurn
from roomkit.models.scheduling import ScheduledSend, SendAt
from roomkit.models.task import Observation, Task

__all__ = ["ConversationOperations", "TimelineOrder"]

type TimelineOrder = Literal["index", "time"]
"""By what a timeline is ordered: each entry's place, or when it was committed."""

_SAYS_NOTHING = (EventType.MESSAGE, 0, None, None, "all", None)
"""What the arguments of `send_event` are that an event says itself."""


def _check_stored(event: RoomEvent) -> None:
    """Refuse an event that no timeline takes. Raises InvalidInputError."""
    if event.type in EPHEMERAL:
        raise InvalidInputError(
            f"{event.type} is a signal, which is shown and never stored: use publish_typing, "
            "publish_presence or publish_read_receipt"
        )


@checks_arguments(but=("process_inbound",))
class ConversationOperations(Scoped):
    """Reads and writes timelines and their deliveries."""

    async def get_timeline(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
        *,
        after_index: int | None = None,
        before_index: int | None = None,
        as_channel: str | None = None,
        newest_first: bool = False,
        order: TimelineOrder = "index",
    ) -> list[RoomEvent]:
        """Return a page of a room's timeline in order of index, all of it or as one channel sees it.

        With `order="time"` in the order of when events were committed, which is another one where events of
        other rooms were moved here: they have later indexes. Pages of it are asked for by `offset`.

        A channel sees what an event says now; what it said before edits is in the operator's timeline
        and in exports. Raises RoomNotFoundError, and ChannelNotFoundError when `as_channel` is not attached.
        """
        check_choice(order, ("index", "time"), "order")
        room_id = (await self._room(room_id)).id
        reader = await self._binding(room_id, as_channel) if as_channel is not None else None
        events = await self._store.list_events(
            room_id,
            offset,
            limit,
            visibility_filter,
            after_index=after_index,
            before_index=before_index,
            reader=reader,
            newest_first=newest_first,
            by_time=order == "time",
        )
        return events if reader is None else await as_read(self._store, events)

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event, whatever room it is in; None for an unknown id."""
        return await self._store.get_event(event_id, organization_id=self._organization_id)

    @follows
    async def list_tasks(
        self,
        room_id: str,
        status: TaskStatus | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Task]:
        """Return a page of the tasks of a room; see `ConversationStore.list_tasks`.

        Raises InvalidInputError for a status that there is not, StaleCursorError for a cursor that is gone.
        """
        status = None if status is None else chosen(TaskStatus, status, "status")
        if not await self._sees(room_id):
            return []
        return await self._store.list_tasks(room_id, status, limit=limit, after=after)

    async def get_task(self, task_id: str) -> Task | None:
        """Return a task, whatever room it is in; None for an unknown id."""
        return await self._store.get_task(task_id, organization_id=self._organization_id)

    async def add_task(self, task: Task) -> Task:
        """Add a task to a room, and show it to the observers (ON_TASK_CREATED). Return it.

        In the view of an organization its id is made up, as whether one is taken would disclose that another
        organization has it. Raises RoomNotFoundError, RoomClosedError, and InvalidInputError for an id that a
        task has already.
        """
        check_committed("a task")
        task = checked(task, Task, "given to add_task()")
        if self._organization_id is not None:
            task = task.replace(id=new_id())
        await self._enter(task.room_id)
        try:
            return await self._kernel.timeline.tasks.add(task)
        except RoomClosedError:
            room = await self._successor(task.room_id)
            if room is None:
                raise
            return await self._kernel.timeline.tasks.add(task.replace(room_id=room.id))

    async def update_task(self, task_id: str, fn: Callable[[Task], Task]) -> Task:
        """Replace a task by `fn(task)`, also in a closed room; return it.

        `fn` is pure, and called again when the room changed in between: of concurrent changes none is lost.
        Observers are shown a changed task (ON_TASK_UPDATED). Raises TaskNotFoundError, InvalidInputError
        without a task of that id in the room, and StaleRoomError for a room that changes all the time.
        """
        check_committed("a task")
        await self._enter()
        task = await self._store.get_task(task_id, organization_id=self._organization_id)
        if task is None:
            raise TaskNotFoundError(f"no task {task_id!r}: list_tasks shows those of a room")
        return await self._kernel.timeline.tasks.update(task_id, fn)

    @follows
    async def list_observations(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Observation]:
        """Return a page of the observations of a room; see `ConversationStore.list_observations`."""
        if not await self._sees(room_id):
            return []
        return await self._store.list_observations(room_id, limit=limit, after=after)

    async def process_inbound(
        self,
        message: InboundMessage,
        *,
        room_id: str | None = None,
        wait: Wait = "settled",
        make_room: bool = True,
    ) -> InboundResult:
        """Take a message from outside into its room, and everything that follows from it.

        Without `room_id` it goes to the room that the message names (`message.room_id`) or that its channel
        knows; else the router finds the room, or one is made. If that room is closed, deleted or detached
        before the commit, the message is routed again, up to three times; one for a given `room_id` is
        refused. With `make_room=False` nothing is made for a message, as for one that came by a connection
        to a room: it is refused as `room_not_found`, `channel_detached` or `channel_not_attached` when the
        room or the binding is not there (any more).

        Returns when the whole cascade has settled (deliveries, answers, observers), or with
        `wait="committed"` right after the commit, as a webhook wants it. A redelivery (same
        `idempotency_key`) gets the first result; from inside a room's work (a tool, an observer) it gets the
        outcomes so far, without waiting.
        A refused message comes back as `blocked` with a `reason`; nothing is dropped in silence.
        Raises ChannelNotRegisteredError, KitClosedError, what the store raises, InvalidInputError for a
        message that makes no event, and ForeignCodeError when the channel or the router fails: its cause is
        their exception. A webhook answers the former as a bad request, the latter as an error of its own.
        """
        if not self._entered:
            await self._enter(room_id)
        return await self._inbound.process(message, room_id, wait, make_room=make_room)

    @follows
    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent | RoomEvent,
        event_type: EventType = EventType.MESSAGE,
        chain_depth: int = 0,
        participant_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        visibility: str = "all",
        provider: str | None = None,
        response_visibility: str | None = None,
        *,
        parent_event_id: str | None = None,
        addressed_to: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        thread_id: str | None = None,
        wait: Wait = "settled",
        at: SendAt | None = None,
    ) -> RoomEvent:
        """Say something in a room on behalf of one of its channels, or of `"system"`.

        Takes the same path as a message from outside: gates, permission, commit, deliveries,
        answers. Returns the stored event; `status` is BLOCKED when a gate refused it.

        Instead of a content it takes a RoomEvent of the channel, which says all of it: no other argument
        but `wait` is given then. Its id, type, content, visibility, `generation`, `channel_data` and the
        rest are kept, of its source also the direction and the vendor's ids. Room, index, status, depth,
        correlation, amendment and `created_at`, which is when it was committed, are the kernel's.

        With `at` it is said then, at an instant or at a participant's `LocalTime`; the event is returned at
        once, pending, with its final id, and `list_scheduled` has it. It is kept by the store, and said once,
        however late, by any worker; gates, permissions and consent are judged then. One that the room no
        longer takes is reported (framework event `scheduled_refused`).

        Raises RoomNotFoundError, RoomClosedError, ChannelNotFoundError, ProcessTimeoutError,
        EventNotFoundError for an edit or deletion of an event that the room does not have, and
        InvalidInputError for an edit or deletion that is not permitted (`code` says why).
        """
        await self._enter(room_id)
        if wait not in WAITS:
            check_choice(wait, WAITS, "wait")
        if isinstance(content, RoomEvent):
            given = (event_type, chain_depth, participant_id, metadata, visibility, provider)
            further = (response_visibility, parent_event_id, addressed_to, idempotency_key, thread_id)
            if given != _SAYS_NOTHING or any(each is not None for each in further):
                raise InvalidInputError(
                    "an event was given with further arguments, which could say something else: set them on "
                    "the RoomEvent"
                )
            drafted = await self._drafted(room_id, channel_id, content)
            return await (self._send(drafted, wait) if at is None else self._schedule(drafted, at))
        event = RoomEvent(
            room_id=room_id,
            type=event_type,
            source=await self._source(room_id, channel_id, participant_id, provider),
            content=content,
            chain_depth=chain_depth,
            metadata=metadata or {},
            visibility=visibility,
            response_visibility=response_visibility,
            parent_event_id=parent_event_id,
            addressed_to=None if addressed_to is None else tuple(addressed_to),
            idempotency_key=idempotency_key,
            channel_data={"thread_id": thread_id} if thread_id is not None else {},
        )
        event = checked(event, RoomEvent, "given to send_event()")  # its content is not of our making
        return await (self._send(event, wait) if at is None else self._schedule(event, at))

    async def _schedule(self, event: RoomEvent, at: SendAt) -> RoomEvent:
        _check_stored(event)
        return await self._kernel.operations.scheduled.add(event, at)

    async def list_scheduled(self, room_id: str | None = None, *, limit: int = 100) -> list[ScheduledSend]:
        """Return scheduled sends, of one room or of all, by when they are due; at most `limit`.

        Raises RoomNotFoundError.
        """
        if room_id is not None:
            room_id = (await self._room(room_id)).id
        scope = self._organization_id
        return await self._kernel.operations.scheduled.list(room_id, organization_id=scope, limit=limit)

    async def edit_scheduled(
        self,
        room_id: str,
        event_id: str,
        content: EventContent | None = None,
        *,
        at: SendAt | None = None,
    ) -> ScheduledSend:
        """Replace a scheduled send's content or time; return the new one.

        Raises EventNotFoundError if it was sent, is being sent, or was cancelled, RoomNotFoundError, and
        what `send_event` raises for a time.
        """
        await self._enter()
        room = await self._room(room_id)
        return await self._kernel.operations.scheduled.edit(room.id, event_id, content, at)

    async def cancel_scheduled(self, room_id: str, event_id: str) -> bool:
        """Have an event not sent; False when there is none any more, or its sending has begun.

        Does not start the kit. Raises RoomNotFoundError.
        """
        room = await self._room(room_id)
        return await self._kernel.operations.scheduled.cancel(room.id, event_id)

    async def _drafted(self, room_id: str, channel_id: str, draft: RoomEvent) -> RoomEvent:
        """Return a channel's own event as it may be proposed to the room."""
        draft = checked(draft, RoomEvent, "given to send_event()")
        if draft.source.channel_id != channel_id:
            raise InvalidInputError(
                f"an event of channel {draft.source.channel_id!r} cannot be sent for channel {channel_id!r}: "
                "its source names the channel that says it"
            )
        known = await self._source(room_id, channel_id, None, None)
        source = draft.source
        if channel_id == SYSTEM_CHANNEL_ID:
            source = source.replace(channel_type=known.channel_type, direction=known.direction)
        return draft.replace(
            room_id=room_id,
            source=source,
            index=-1,
            status=EventStatus.PENDING,
            blocked_by=None,
            block_reason=None,
            chain_depth=0,
            correlation_id=None,
            amendment=None,
            trace_parent=None,
        )

    async def _send(self, event: RoomEvent, wait: Wait) -> RoomEvent:
        """Write an event, and wait for what it set going unless only the commit is waited for."""
        if event.type in EPHEMERAL:
            _check_stored(event)
        cascade = Cascade(is_awaited=wait == "settled")
        written = await self._kernel.timeline.writer.write(Draft(event=event, cascade=cascade))
        if written.event is None:
            raise self._refused(event.room_id, event.source.channel_id, written.reason)
        if wait == "settled" and cascade.pending and not working_for(event.room_id):
            await (cascade.settled() if present() is None else self._kernel.work.lanes.waits.settled(cascade))
        return written.event

    @follows
    async def edit_event(self, room_id: str, event_id: str, content: EventContent) -> RoomEvent:
        """Replace an event's content with the host's authority; return the EDIT event.

        Raises EventNotFoundError, and what `send_event` does.
        """
        edit = EditContent(target_event_id=event_id, new_content=content)
        return await self.send_event(room_id, SYSTEM_CHANNEL_ID, edit, EventType.EDIT)

    @follows
    async def delete_event(self, room_id: str, event_id: str, reason: str | None = None) -> RoomEvent:
        """Delete an event with the host's authority; return the DELETE event. The entry stays.

        Raises EventNotFoundError, and what `send_event` does.
        """
        deletion = DeleteContent(target_event_id=event_id, delete_type=DeleteType.SYSTEM, reason=reason)
        return await self.send_event(room_id, SYSTEM_CHANNEL_ID, deletion, EventType.DELETE)

    async def _binding(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a binding of a room that is in scope. Raises ChannelNotFoundError."""
        binding = await self._store.get_binding(room_id, channel_id)
        if binding is None:
            raise not_attached(room_id, channel_id)
        return binding

    async def _source(
        self, room_id: str, channel_id: str, participant_id: str | None, provider: str | None
    ) -> EventSource:
        if channel_id == SYSTEM_CHANNEL_ID:
            kind, direction = ChannelType.SYSTEM, ChannelDirection.OUTBOUND
        else:
            await self._kernel.timeline.changes.room(room_id)
            binding = await self._binding(room_id, channel_id)
            kind = binding.channel_type
            agent = binding.category is ChannelCategory.INTELLIGENCE
            direction = ChannelDirection.OUTBOUND if agent else ChannelDirection.INBOUND
        return EventSource(
            channel_id=channel_id,
            channel_type=kind,
            direction=direction,
            participant_id=participant_id,
            provider=provider,
        )

    @staticmethod
    def _refused(room_id: str, channel_id: str, reason: str | None) -> Exception:
        if reason == "room_moving":
            return RoomBusyError(f"room {room_id!r} is being merged or split: send it again in some seconds")
        if reason in ("room_closed", "room_archived"):
            return RoomClosedError(f"room {room_id!r} is {reason[5:]}: its timeline grows no more")
        if reason in ("channel_not_attached", "channel_detached"):
            return not_attached(room_id, channel_id)
        if reason == "target_event_not_found":
            return EventNotFoundError(
                f"room {room_id!r} has no such event to edit or delete: get_timeline shows what there is"
            )
        return InvalidInputError(f"the event was refused by room {room_id!r}: {reason}")

    async def get_delivery(self, delivery_id: str, *, organization_id: str | None = None) -> Delivery | None:
        """Return a row of the ledger."""
        organization_id = self._organization(organization_id)
        await self._written_down()
        return await self._store.get_delivery(delivery_id, organization_id=organization_id)

    async def list_deliveries(
        self,
        room_id: str | None = None,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        state: DeliveryState | None = None,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> list[Delivery]:
        """Return rows of the ledger in order of commit, or against it; each given filter must hold.

        `after` is the id of the last row of the page before, in the same order. Raises StaleCursorError when
        it is gone, and InvalidInputError for a state that there is not.
        """
        state = None if state is None else chosen(DeliveryState, state, "state")
        organization_id = self._organization(organization_id)
        await self._written_down()
        await self._check_cursor(after)
        query = DeliveryQuery(
            room_id=room_id,
            event_id=event_id,
            channel_id=channel_id,
            state=state,
            organization_id=organization_id,
            limit=limit,
            after=after,
            newest_first=newest_first,
        )
        rows = await self._store.query_deliveries(query)
        room = None if rows or room_id is None else await self._successor(room_id)
        return rows if room is None else await self._store.query_deliveries(replace(query, room_id=room.id))

    async def retry_delivery(self, delivery_id: str) -> Delivery:
        """Retry a failed delivery under its own idempotency key; return its row with the outcome.

        As it stands, when another worker has the lane, or in a call from inside the room's own work.
        In a closed room a transport still sends earlier messages; an intelligence is not asked. Raises
        DeliveryNotFoundError, and StoreError when it has not failed.
        """
        await self._enter()
        await self._written_down()
        await self._check_delivery(delivery_id, "reopen")
        row = await self._store.reopen_delivery(delivery_id)
        cascade = await self._kernel.cluster.reclaim.start(row)
        if not working_for(row.room_id):
            await (cascade.settled() if present() is None else self._kernel.work.lanes.waits.settled(cascade))
        await self._written_down()
        return await self._store.get_delivery(delivery_id) or row

    async def drop_delivery(self, delivery_id: str, reason: str = "dropped") -> Delivery:
        """Skip a failed delivery for good, and say why; return its row.

        Raises DeliveryNotFoundError, and StoreError when it has not failed.
        """
        await self._enter()
        await self._written_down()
        await self._check_delivery(delivery_id, "drop")
        return await self._store.drop_delivery(delivery_id, reason)

    async def _written_down(self) -> None:
        """Flush pending delivery outcomes, so that reads see them."""
        if self._kernel.outcomes.ledger:
            await self._kernel.outcomes.ledger.flush()

    async def list_parked_turns(self, room_id: str | None = None, *, limit: int = 100) -> list[ParkedTurn]:
        """Return agents' turns that wait for results of their tools, in one room or in all; in no order.

        Raises RoomNotFoundError.
        """
        if room_id is not None:
            await self._room(room_id)
        scope = self._organization_id
        return await self._kernel.operations.parked.list(room_id, organization_id=scope, limit=limit)

    async def resume_turn(
        self,
        room_id: str,
        turn_id: str,
        results: Mapping[str, str | RoomKitError],
        *,
        continue_here: bool = True,
    ) -> bool:
        """Give results, by the id of the call, to a turn that waits for them; True if it continues now.

        Once for each call; see `services.turns.resume`, also for what it raises. Without `continue_here` the
        results are only stored, and a running worker continues the turn when it looks for due timers, every
        third of its lease: for programs beside the workers, whose kit is not started by this.
        """
        if not continue_here:
            room = await self._room(room_id)
            return await self._kernel.operations.parked.store_results(room.id, turn_id, results)
        await self._enter(room_id)
        return await self._kernel.operations.parked.resume(room_id, turn_id, results)

    async def cancel_turn(self, room_id: str, turn_id: str) -> bool:
        """Drop a turn that waits for results: its agent does not continue it, and says nothing more.

        False when none waits under that id: it was resumed, expired or dropped. Publishes `turn_dropped`
        with the reason `cancelled`. Does not start the kit. Raises RoomNotFoundError.
        """
        room = await self._room(room_id)
        return await self._kernel.operations.parked.cancel(room.id, turn_id)

    @follows
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Move a channel's read mark to an event, never backwards, and let the room know.

        In a closed room, too: its end may still be read. Raises RoomNotFoundError, ChannelNotFoundError,
        EventNotFoundError.
        """
        await self._enter(room_id)
        await self._store.mark_read(room_id, channel_id, event_id)
        await self._kernel.entry.signals.publish(
            room_id,
            EphemeralEventType.READ_RECEIPT,
            channel_id,
            {"event_id": event_id},
            channel_id=channel_id,
        )

    @follows
    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Move a channel's read mark to the newest event, also of a closed room, and let the room know."""
        await self._enter(room_id)
        index = await self._store.mark_all_read(room_id, channel_id)
        await self._kernel.entry.signals.publish(
            room_id,
            EphemeralEventType.READ_RECEIPT,
            channel_id,
            {"index": index},
            channel_id=channel_id,
        )

    @follows
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many messages of others a channel has not read. Raises ChannelNotFoundError."""
        await self._check_room(room_id)
        return await self._store.get_unread_count(room_id, channel_id)
