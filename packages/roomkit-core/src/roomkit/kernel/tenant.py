"""One organization's view of a kit: its own rooms and people, and nothing that tells of any other's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, override
from weakref import WeakValueDictionary

from roomkit.abc.choice import chosen
from roomkit.abc.errors import (
    ChannelNotFoundError,
    DeliveryNotFoundError,
    IdentityNotFoundError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.kernel.inbound.claims import Claims
from roomkit.kernel.inbound.pipeline import Inbound, Wait
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter, OrganizationRouter
from roomkit.kernel.rooms.rooms import Rooms, check_id
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.models.base import new_id
from roomkit.models.enums import Access, EventType, RoomStatus
from roomkit.models.identity import Identity

if TYPE_CHECKING:
    from roomkit.abc.router import InboundRoomRouter
    from roomkit.kernel.assembly import Kernel
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery, InboundMessage, InboundResult
    from roomkit.models.enums import (
        AgentResponsePolicy,
        ChannelCategory,
        ChannelType,
        DeliveryState,
        RoomStatus,
        TaskStatus,
    )
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.rights import ErasureReceipt, PersonExport, RoomExport
    from roomkit.models.room import AIConfig, Room, RoomTimers
    from roomkit.models.task import Observation, Task

__all__ = ["Tenant", "Tenants"]


@checks_arguments(but=("process_inbound",))
class Tenant:
    """The kit's operations, on what belongs to one organization. Made by `RoomKit.for_organization`.

    What belongs to another organization is answered as what does not exist is: by the same error with the
    same words, the same None, False or empty list. So ids of rooms and identities are made up here: whether
    one is taken would tell of others. Channels, hooks and agents are the kit's, and shared.

    Methods without a docstring of their own do what the kit's of that name do.
    """

    def __init__(
        self,
        kit: RoomKit,
        organization_id: str,
        inbound: Inbound,
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        self._kit = kit
        self._store = kit.store
        self._id = organization_id
        self._inbound = inbound
        self._enter = enter

    def __repr__(self) -> str:
        return f"<Tenant {self._id!r}>"

    @property
    def organization_id(self) -> str:
        """The organization."""
        return self._id

    async def _has(self, room_id: str) -> bool:
        return await self._store.get_room(room_id, organization_id=self._id) is not None

    async def _within(self, room_id: str) -> None:
        """Raise RoomNotFoundError unless the room is the organization's."""
        await self.get_room(room_id)

    # -- rooms --------------------------------------------------------------------------------

    async def create_room(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        timers: RoomTimers | None = None,
        retention: str | float | timedelta | None = None,
        ai_config: AIConfig | None = None,
        agent_response_policy: AgentResponsePolicy | None = None,
    ) -> Room:
        """Create a room of the organization; its id is made up. A name of yours goes into the metadata."""
        return await self._kit.create_room(
            None,
            metadata,
            timers=timers,
            retention=retention,
            ai_config=ai_config,
            organization_id=self._id,
            agent_response_policy=agent_response_policy,
        )

    async def get_room(self, room_id: str) -> Room:
        """Return a room. Raises RoomNotFoundError."""
        room = await self._store.get_room(room_id, organization_id=self._id)
        if room is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return room

    async def find_rooms(
        self,
        status: RoomStatus | str | None = None,
        metadata_filter: Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
    ) -> list[Room]:
        """Return a page of the organization's rooms; see `ConversationStore.find_rooms`."""
        status = None if status is None else chosen(RoomStatus, status, "status")
        if after is not None and not await self._has(after):
            raise StoreError(f"there is no room {after!r} to go on after: begin again")
        return await self._store.find_rooms(
            self._id, status, metadata_filter, limit=limit, offset=offset, after=after
        )

    async def close_room(self, room_id: str) -> Room:
        """Close a room. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.close_room(room_id)

    async def archive_room(self, room_id: str) -> Room:
        """Put a room away for good. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.archive_room(room_id)

    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; False when there is none."""
        return await self._has(room_id) and await self._kit.delete_room(room_id)

    async def update_room_metadata(self, room_id: str, metadata: Mapping[str, Any]) -> Room:
        """Merge into a room's metadata. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.update_room_metadata(room_id, metadata)

    async def set_retention(self, room_id: str, retention: str | float | timedelta | None) -> Room:
        """Keep the room's events for so long from now on. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.set_retention(room_id, retention)

    async def set_room_timers(self, room_id: str, timers: RoomTimers) -> Room:
        """Replace the timers of a room; see `RoomKit.set_room_timers`. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.set_room_timers(room_id, timers)

    async def check_room_timers(self, room_id: str) -> Room:
        """Pause or close a room whose time has come. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.check_room_timers(room_id)

    # -- timelines ----------------------------------------------------------------------------

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
    ) -> list[RoomEvent]:
        """Return a page of a room's timeline. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.get_timeline(
            room_id,
            offset,
            limit,
            visibility_filter,
            after_index=after_index,
            before_index=before_index,
            as_channel=as_channel,
            newest_first=newest_first,
        )

    async def get_event(self, event_id: str) -> RoomEvent | None:
        """Return an event."""
        return await self._store.get_event(event_id, organization_id=self._id)

    async def list_tasks(self, room_id: str, status: TaskStatus | None = None) -> list[Task]:
        """Return the tasks of a room."""
        return await self._kit.list_tasks(room_id, status) if await self._has(room_id) else []

    async def get_task(self, task_id: str) -> Task | None:
        """Return a task."""
        return await self._store.get_task(task_id, organization_id=self._id)

    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return the observations of a room."""
        return await self._kit.list_observations(room_id) if await self._has(room_id) else []

    # -- bindings -----------------------------------------------------------------------------

    async def attach_channel(
        self,
        room_id: str,
        channel_id: str,
        channel_type: ChannelType | None = None,
        category: ChannelCategory | None = None,
        access: Access = Access.READ_WRITE,
        visibility: str = "all",
        **binding: Any,
    ) -> ChannelBinding:
        """Attach a registered channel to a room. Raises RoomNotFoundError and what the kit's raises."""
        await self._within(room_id)
        return await self._kit.attach_channel(
            room_id, channel_id, channel_type, category, access, visibility, **binding
        )

    async def detach_channel(self, room_id: str, channel_id: str) -> bool:
        """Take a channel out of a room. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.detach_channel(room_id, channel_id)

    async def mute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Let a channel listen but not speak. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.mute(room_id, channel_id)

    async def take_over(self, room_id: str, participant_id: str | None = None) -> list[ChannelBinding]:
        """Mute every intelligence of a room, so that a human can speak. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.take_over(room_id, participant_id)

    async def give_back(self, room_id: str, participant_id: str | None = None) -> list[ChannelBinding]:
        """Unmute every intelligence of a room. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.give_back(room_id, participant_id)

    async def unmute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Let a muted channel speak again. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.unmute(room_id, channel_id)

    async def set_access(self, room_id: str, channel_id: str, access: Access) -> ChannelBinding:
        """Change what a channel may do. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.set_access(room_id, channel_id, access)

    async def set_visibility(self, room_id: str, channel_id: str, visibility: str) -> ChannelBinding:
        """Change who sees what a channel says. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.set_visibility(room_id, channel_id, visibility)

    async def update_binding_metadata(
        self, room_id: str, channel_id: str, metadata: Mapping[str, Any]
    ) -> ChannelBinding:
        """Merge into a binding's metadata. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.update_binding_metadata(room_id, channel_id, metadata)

    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a binding. Raises ChannelNotFoundError."""
        if not await self._has(room_id):
            raise ChannelNotFoundError(
                f"channel {channel_id!r} is not attached to room {room_id!r}: attach_channel first"
            )
        return await self._kit.get_binding(room_id, channel_id)

    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return the bindings of a room."""
        return await self._kit.list_bindings(room_id) if await self._has(room_id) else []

    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> None:
        """Move a channel's read mark. Raises RoomNotFoundError and what the kit's raises."""
        await self._within(room_id)
        await self._kit.mark_read(room_id, channel_id, event_id)

    async def mark_all_read(self, room_id: str, channel_id: str) -> None:
        """Move a channel's read mark to the newest event. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        await self._kit.mark_all_read(room_id, channel_id)

    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many messages a channel has not read. Raises RoomNotFoundError, ChannelNotFoundError."""
        await self._within(room_id)
        return await self._kit.get_unread_count(room_id, channel_id)

    # -- people -------------------------------------------------------------------------------

    async def ensure_participant(
        self, room_id: str, channel_id: str, participant_id: str, display_name: str | None = None
    ) -> Participant:
        """Return a participant, added where needed. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.ensure_participant(room_id, channel_id, participant_id, display_name)

    async def resolve_participant(
        self, room_id: str, participant_id: str, identity_id: str, resolved_by: str = "manual"
    ) -> Participant:
        """Tie a participant to an identity of the organization.

        Raises RoomNotFoundError, ParticipantNotFoundError, IdentityNotFoundError.
        """
        await self._within(room_id)
        await self._identity(identity_id)
        return await self._kit.resolve_participant(room_id, participant_id, identity_id, resolved_by)

    async def remove_participant(
        self, room_id: str, participant_id: str, *, banned: bool = False
    ) -> Participant:
        """Mark a participant as gone. Raises RoomNotFoundError, ParticipantNotFoundError."""
        await self._within(room_id)
        return await self._kit.remove_participant(room_id, participant_id, banned=banned)

    async def list_participants(self, room_id: str) -> list[Participant]:
        """Return the participants of a room."""
        return await self._kit.list_participants(room_id) if await self._has(room_id) else []

    async def create_identity(
        self,
        display_name: str | None = None,
        *,
        channel_addresses: Mapping[str, Sequence[str]] | None = None,
        **fields: Any,
    ) -> Identity:
        """Add an identity of the organization, under an id that is made up.

        `fields` are further ones of `Identity`: `email`, `phone`, `external_id`, `metadata` ...
        """
        given = {"id": new_id(), "organization_id": self._id, "display_name": display_name}
        addresses = dict(channel_addresses or {})
        identity = Identity.model_validate({**fields, **given, "channel_addresses": addresses})
        return await self._store.create_identity(identity)

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity."""
        return await self._store.get_identity(identity_id, organization_id=self._id)

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return who has that address in the organization."""
        return await self._store.resolve_identity(channel_type, address, organization_id=self._id)

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Add an address to an identity. Raises IdentityNotFoundError."""
        await self._identity(identity_id)
        await self._store.link_address(identity_id, channel_type, address)

    async def _identity(self, identity_id: str) -> None:
        if await self.get_identity(identity_id) is None:
            raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")

    # -- messages -----------------------------------------------------------------------------

    async def process_inbound(
        self, message: InboundMessage, *, room_id: str | None = None, wait: Wait = "settled"
    ) -> InboundResult:
        """Take a message from outside into one of the organization's rooms, or into a new one of its own.

        A `room_id` is of a room that is there. Raises RoomNotFoundError and what the kit's raises.
        """
        if room_id is not None:
            await self._within(room_id)
        await self._enter()
        return await self._inbound.process(message, room_id, wait)

    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        event_type: EventType = EventType.MESSAGE,
        **options: Any,
    ) -> RoomEvent:
        """Say something in a room; `options` are the kit's. Raises RoomNotFoundError and what that raises."""
        await self._within(room_id)
        return await self._kit.send_event(room_id, channel_id, content, event_type, **options)

    async def edit_event(self, room_id: str, event_id: str, content: EventContent) -> RoomEvent:
        """Replace an event's content as the host. Raises RoomNotFoundError, InvalidInputError."""
        await self._within(room_id)
        return await self._kit.edit_event(room_id, event_id, content)

    async def delete_event(self, room_id: str, event_id: str, reason: str | None = None) -> RoomEvent:
        """Delete an event as the host. Raises RoomNotFoundError, InvalidInputError."""
        await self._within(room_id)
        return await self._kit.delete_event(room_id, event_id, reason)

    # -- deliveries ---------------------------------------------------------------------------

    async def get_delivery(self, delivery_id: str) -> Delivery | None:
        """Return a row of the ledger."""
        return await self._kit.get_delivery(delivery_id, organization_id=self._id)

    async def list_deliveries(
        self,
        room_id: str | None = None,
        *,
        event_id: str | None = None,
        channel_id: str | None = None,
        state: DeliveryState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Delivery]:
        """Return rows of the organization's rooms in order of commit. Raises StoreError."""
        if after is not None and await self.get_delivery(after) is None:
            raise StoreError(f"there is no delivery {after!r} to go on after: begin again")
        return await self._kit.list_deliveries(
            room_id,
            event_id=event_id,
            channel_id=channel_id,
            state=state,
            organization_id=self._id,
            limit=limit,
            after=after,
        )

    async def retry_delivery(self, delivery_id: str) -> Delivery:
        """Deliver again what has failed. Raises DeliveryNotFoundError, StoreError."""
        await self._delivery(delivery_id, "reopen")
        return await self._kit.retry_delivery(delivery_id)

    async def drop_delivery(self, delivery_id: str, reason: str = "dropped") -> Delivery:
        """Give up what has failed. Raises DeliveryNotFoundError, StoreError."""
        await self._delivery(delivery_id, "drop")
        return await self._kit.drop_delivery(delivery_id, reason)

    async def _delivery(self, delivery_id: str, verb: str) -> None:
        if await self.get_delivery(delivery_id) is None:
            raise DeliveryNotFoundError(f"no delivery {delivery_id!r} to {verb}: list_deliveries shows them")

    # -- data rights --------------------------------------------------------------------------

    async def export_room(self, room_id: str) -> RoomExport:
        """Return everything of a room. Raises RoomNotFoundError."""
        await self._within(room_id)
        return await self._kit.export_room(room_id)

    async def export_room_lines(self, room_id: str) -> AsyncIterator[str]:
        """Yield everything of a room as lines of JSON. Raises RoomNotFoundError."""
        await self._within(room_id)
        async for line in self._kit.export_room_lines(room_id):
            yield line

    async def export_person(
        self, *, identity_id: str | None = None, participant_id: str | None = None
    ) -> PersonExport:
        """Return what the organization keeps of a person. Raises what the kit's raises."""
        return await self._kit.export_person(
            identity_id=identity_id, participant_id=participant_id, organization_id=self._id
        )

    async def export_person_lines(
        self, *, identity_id: str | None = None, participant_id: str | None = None
    ) -> AsyncIterator[str]:
        """Yield what the organization keeps of a person as lines of JSON. Raises what the kit's raises."""
        async for line in self._kit.export_person_lines(
            identity_id=identity_id, participant_id=participant_id, organization_id=self._id
        ):
            yield line

    async def erase_room(self, room_id: str) -> ErasureReceipt:
        """Remove a room and say what was removed; of an unknown one that is nothing."""
        return await self._kit.erase_room(room_id, organization_id=self._id)

    async def erase_person(
        self, *, identity_id: str | None = None, participant_id: str | None = None
    ) -> ErasureReceipt:
        """Erase a person from the organization's rooms; of an unknown one there is nothing to erase."""
        return await self._kit.erase_person(
            identity_id=identity_id, participant_id=participant_id, organization_id=self._id
        )


class Tenants:
    """Makes views, one for an organization at a time: its messages are routed one by one."""

    def __init__(self, kit: RoomKit, kernel: Kernel, enter: Callable[[], Awaitable[None]]) -> None:
        self._kit = kit
        self._kernel = kernel
        self._enter = enter
        self._views: WeakValueDictionary[str, Tenant] = WeakValueDictionary()

    def of(self, organization_id: str) -> Tenant:
        """Return the view of an organization, the same for as long as anybody has it."""
        view = self._views.get(check_id(organization_id, "organization"))
        if view is None:
            view = self._views[organization_id] = self._make(organization_id)
        return view

    def _make(self, organization_id: str) -> Tenant:
        kernel, router = self._kernel, self._kernel.inbound.router
        if isinstance(router, DefaultInboundRoomRouter):
            own: InboundRoomRouter = router.within(organization_id)
        else:
            own = OrganizationRouter(router, kernel.store, organization_id)
        rooms = _OwnRooms(
            organization_id,
            settings=kernel.settings,
            store=kernel.store,
            clock=kernel.clock,
            supervisor=kernel.supervisor,
            hooks=kernel.hooks,
            events=kernel.events,
            channels=kernel.channels,
            writer=kernel.writer,
            observers=kernel.observers,
            lanes=kernel.lanes,
            rights_signals=kernel.rights_signals,
        )
        inbound = Inbound(
            settings=kernel.settings,
            store=kernel.store,
            tracing=kernel.tracing,
            supervisor=kernel.supervisor,
            hooks=kernel.hooks,
            events=kernel.events,
            ledger=kernel.ledger,
            limiter=kernel.limiter,
            rooms=rooms,
            writer=kernel.writer,
            observers=kernel.observers,
            signals=kernel.signals,
            router=own,
            desk=kernel.desk,
            claims=Claims(store=kernel.store, clock=kernel.clock, organization_id=organization_id),
            organization_id=organization_id,
        )
        return Tenant(self._kit, organization_id, inbound, self._enter)


class _OwnRooms(Rooms):
    """Makes rooms for one organization: those that a message opens are its own as well."""

    def __init__(self, organization_id: str, **parts: Any) -> None:
        super().__init__(**parts)
        self._organization_id = organization_id

    @override
    async def create(
        self,
        room_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Room:
        return await super().create(room_id, metadata, **{**fields, "organization_id": self._organization_id})
