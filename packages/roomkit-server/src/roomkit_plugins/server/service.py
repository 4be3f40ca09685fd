"""The operations of the API, for one key's part of the kit; REST and other front ends call these alone."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DeliveryNotFoundError,
    EventNotFoundError,
    InvalidInputError,
    RoomNotFoundError,
    TaskNotFoundError,
)
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit.models.room import RoomTimers
from roomkit.models.task import Task
from roomkit_plugins.server.errors import MessageRefusedError, NotFailedError

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.delivery import Delivery, InboundResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.task import Observation
    from roomkit_plugins.server import inputs

__all__ = ["RoomService"]

_MAY_PASS = {"rate_limited": 1.0, "process_timeout": 1.0, "source_detached": 5.0, "room_moving": 5.0}
"""Refusals that pass, and seconds after which to try again."""


class RoomService:
    """A kit as one organization may use it, or all of it for `organization` None.

    Another organization's record is answered as a missing one: by the same error with the same words. Lists
    return up to one record more than asked for, by which a page knows whether another one follows. Raises
    what the kit's operations raise, StaleCursorError, and what each method names.
    """

    def __init__(self, kit: RoomKit, organization: str | None) -> None:
        self._kit = kit
        self._tenant = None if organization is None else kit.for_organization(organization)
        self._scoped = kit if self._tenant is None else self._tenant

    # -- rooms --------------------------------------------------------------------------------

    async def list_rooms(self, query: inputs.RoomsQuery) -> Sequence[Room]:
        """Return a page of rooms."""
        wanted = _metadata_of(query.metadata)
        return await self._scoped.find_rooms(query.status, wanted, limit=query.limit + 1, after=query.after)

    async def create_room(self, body: inputs.NewRoom) -> Room:
        """Create a room."""
        timers = None if body.timers is None else RoomTimers(**body.timers.model_dump())
        if self._tenant is None:
            return await self._kit.create_room(
                body.room_id,
                body.metadata,
                timers=timers,
                retention=body.retention_seconds,
                organization_id=body.organization_id,
            )
        if body.room_id is not None or body.organization_id is not None:
            raise InvalidInputError(
                "room_id and organization_id cannot be chosen with a key of one organization: leave "
                "them out, and keep a name of yours in metadata"
            )
        return await self._tenant.create_room(body.metadata, timers=timers, retention=body.retention_seconds)

    async def get_room(self, room_id: str) -> Room:
        """Return a room."""
        return await self._scoped.get_room(room_id)

    async def update_room(self, room_id: str, body: inputs.RoomChange) -> Room:
        """Merge into a room's metadata."""
        return await self._scoped.update_room_metadata(room_id, body.metadata)

    async def close_room(self, room_id: str) -> Room:
        """Close a room."""
        return await self._scoped.close_room(room_id)

    async def delete_room(self, room_id: str) -> None:
        """Delete a room with all that belongs to it. Raises RoomNotFoundError."""
        if not await self._scoped.delete_room(room_id):
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")

    # -- channels -----------------------------------------------------------------------------

    def list_channels(self) -> Sequence[Channel]:
        """Return the channels of the kit, which organizations share."""
        return sorted(self._kit.list_channels(), key=lambda channel: channel.channel_id)

    async def list_bindings(self, room_id: str) -> Sequence[ChannelBinding]:
        """Return the channels of a room."""
        await self.get_room(room_id)
        return await self._scoped.list_bindings(room_id)

    async def attach_channel(self, room_id: str, channel_id: str, body: inputs.AttachBody) -> ChannelBinding:
        """Attach a channel to a room."""
        given: dict[str, Any] = body.model_dump(exclude_none=True)
        return await self._scoped.attach_channel(room_id, channel_id, **given)

    async def change_binding(
        self, room_id: str, channel_id: str, body: inputs.BindingChange
    ) -> ChannelBinding:
        """Change a channel in a room, one property after the other; return it as it is then."""
        scoped = self._scoped
        if body.muted is not None:
            await (scoped.mute if body.muted else scoped.unmute)(room_id, channel_id)
        if body.access is not None:
            await scoped.set_access(room_id, channel_id, body.access)
        if body.visibility is not None:
            await scoped.set_visibility(room_id, channel_id, body.visibility)
        if body.metadata is not None:
            await scoped.update_binding_metadata(room_id, channel_id, body.metadata)
        return await scoped.get_binding(room_id, channel_id)

    async def detach_channel(self, room_id: str, channel_id: str) -> None:
        """Take a channel out of a room. Raises ChannelNotFoundError."""
        if not await self._scoped.detach_channel(room_id, channel_id):
            raise ChannelNotFoundError(
                f"channel {channel_id!r} is not attached to room {room_id!r}: attach it first"
            )

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a channel of a room. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self.get_room(room_id)
        return await self._scoped.get_binding(room_id, channel_id)

    # -- timeline -----------------------------------------------------------------------------

    async def list_events(self, room_id: str, query: inputs.EventsQuery) -> Sequence[RoomEvent]:
        """Return a page of a timeline."""
        return await self._scoped.get_timeline(
            room_id,
            limit=query.limit + 1,
            after_index=query.after,
            before_index=query.before,
            as_channel=query.as_channel,
            newest_first=query.newest_first,
        )

    async def get_event(self, room_id: str, event_id: str) -> RoomEvent:
        """Return an event of a room. Raises EventNotFoundError."""
        room = await self.get_room(room_id)
        event = await self._scoped.get_event(event_id)
        if event is None or event.room_id != room.id:
            raise EventNotFoundError(f"room {room_id!r} has no event {event_id!r}: its timeline shows them")
        return event

    async def send_event(self, room_id: str, body: inputs.EventBody) -> RoomEvent:
        """Say something in a room; return the committed or blocked event."""
        return await self._scoped.send_event(
            room_id,
            body.channel_id,
            body.content,
            participant_id=body.participant_id,
            metadata=body.metadata,
            visibility=body.visibility,
            parent_event_id=body.parent_event_id,
            addressed_to=body.addressed_to,
            idempotency_key=body.idempotency_key,
            wait="committed",
        )

    async def edit_event(self, room_id: str, event_id: str, body: inputs.EditBody) -> RoomEvent:
        """Replace the content of an event; return it as it reads now."""
        await self.get_event(room_id, event_id)
        await self._scoped.edit_event(room_id, event_id, body.content)
        return await self.get_event(room_id, event_id)

    async def delete_event(self, room_id: str, event_id: str) -> None:
        """Delete an event; its entry stays."""
        await self.get_event(room_id, event_id)
        await self._scoped.delete_event(room_id, event_id)

    async def take_message(self, room_id: str, body: inputs.MessageBody) -> InboundResult:
        """Take in a message of a person whom the caller has verified; its `event` is not None.

        Raises MessageRefusedError for one that was not stored.
        """
        await self.get_room(room_id)
        message = InboundMessage(**{name: value for name, value in body if value is not None})
        result = await self._scoped.process_inbound(
            message, room_id=room_id, wait="committed", make_room=False
        )
        if result.event is None:
            raise _refusal(room_id, result)
        return result

    # -- people and work ----------------------------------------------------------------------

    async def list_participants(self, room_id: str, query: inputs.ListQuery) -> Sequence[Participant]:
        """Return a page of the participants of a room."""
        await self.get_room(room_id)
        return await _page(self._scoped.list_participants, room_id, query)

    async def put_participant(
        self, room_id: str, participant_id: str, body: inputs.ParticipantBody
    ) -> Participant:
        """Add a participant to a room, or bring them up to date."""
        return await self._scoped.ensure_participant(
            room_id, body.channel_id, participant_id, body.display_name
        )

    async def remove_participant(
        self, room_id: str, participant_id: str, query: inputs.RemovalQuery
    ) -> Participant:
        """Remove a participant from a room, or ban them."""
        return await self._scoped.remove_participant(room_id, participant_id, banned=query.banned)

    async def list_tasks(self, room_id: str, query: inputs.TasksQuery) -> Sequence[Task]:
        """Return a page of the tasks of a room."""
        await self.get_room(room_id)
        return await _page(self._scoped.list_tasks, room_id, query, status=query.status)

    async def add_task(self, room_id: str, body: inputs.TaskBody) -> Task:
        """Add a task to a room."""
        await self.get_room(room_id)
        return await self._scoped.add_task(Task(room_id=room_id, **body.model_dump()))

    async def update_task(self, room_id: str, task_id: str, body: inputs.TaskChange) -> Task:
        """Change a task of a room. Raises TaskNotFoundError."""
        room = await self.get_room(room_id)
        task = await self._scoped.get_task(task_id)
        if task is None or task.room_id != room.id:
            raise TaskNotFoundError(f"room {room_id!r} has no task {task_id!r}: list its tasks")
        changes = body.model_dump(exclude_none=True)
        return await self._scoped.update_task(task_id, lambda task: task.model_copy(update=changes))

    async def list_observations(self, room_id: str, query: inputs.ListQuery) -> Sequence[Observation]:
        """Return a page of the observations of a room."""
        await self.get_room(room_id)
        return await _page(self._scoped.list_observations, room_id, query)

    # -- deliveries ---------------------------------------------------------------------------

    async def list_deliveries(self, query: inputs.DeliveriesQuery) -> Sequence[Delivery]:
        """Return a page of the ledger."""
        return await self._scoped.list_deliveries(
            query.room_id,
            event_id=query.event_id,
            channel_id=query.channel_id,
            state=query.state,
            limit=query.limit + 1,
            after=query.after,
            newest_first=query.newest_first,
        )

    async def get_delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery. Raises DeliveryNotFoundError."""
        row = await self._scoped.get_delivery(delivery_id)
        if row is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r}: list the deliveries to see them")
        return row

    async def retry_delivery(self, delivery_id: str) -> Delivery:
        """Have a failed delivery retried in the background; return its row. Raises NotFailedError."""
        row = await self._failed(delivery_id)
        name = f"retry of delivery {delivery_id}"
        self._kit.services.tasks.spawn(self._retry(delivery_id), name=name)
        return row

    async def _retry(self, delivery_id: str) -> None:
        await self._scoped.retry_delivery(delivery_id)

    async def drop_delivery(self, delivery_id: str, body: inputs.DropBody) -> Delivery:
        """Give a failed delivery up. Raises NotFailedError."""
        await self._failed(delivery_id)
        return await self._scoped.drop_delivery(delivery_id, body.reason)

    async def _failed(self, delivery_id: str) -> Delivery:
        row = await self.get_delivery(delivery_id)
        if row.state is not DeliveryState.FAILED:
            raise NotFailedError(
                f"delivery {delivery_id!r} is {row.state}: only a failed one is retried or dropped"
            )
        return row


def _metadata_of(text: str | None) -> Mapping[str, Any] | None:
    """Return the filter that a query has as JSON. Raises InvalidInputError."""
    if text is None:
        return None
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise InvalidInputError('metadata is no JSON object: write it as {"name":"support"}')
    return wanted


async def _page[R](
    read: Callable[..., Awaitable[Sequence[R]]], room_id: str, query: inputs.ListQuery, **filters: Any
) -> Sequence[R]:
    """Return a page of a room's records. Raises StaleCursorError."""
    return await read(room_id, limit=query.limit + 1, after=query.after, **filters)


def _refusal(room_id: str, result: InboundResult) -> Exception:
    if result.error is not None:
        return result.error
    reason = result.reason or "blocked"
    if reason == "room_not_found":
        return RoomNotFoundError(f"no room {room_id!r}: create_room first")
    retry_after = result.retry_after or _MAY_PASS.get(reason)
    advice = "send it again later" if retry_after else "sending it again unchanged will not help"
    return MessageRefusedError(
        f"room {room_id!r} did not take the message: {reason}; {advice}",
        reason=reason,
        retry_after=retry_after,
    )
