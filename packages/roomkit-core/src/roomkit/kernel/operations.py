"""The operations on rooms, written once: the kit has them on every room, a view on one organization's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import ValidationError

from roomkit._names import nearest
from roomkit.abc.choice import check_choice, chosen
from roomkit.abc.duration import seconds_of
from roomkit.abc.errors import InvalidInputError, RoomNotFoundError, StaleCursorError
from roomkit.abc.records import problems_of
from roomkit.kernel.consent.consents import Suppression
from roomkit.kernel.conversations import ConversationOperations
from roomkit.kernel.meeting.joining import Keep
from roomkit.kernel.meeting.moves import MOVE_SECONDS
from roomkit.kernel.rooms.checks import not_attached
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.scoping import follows
from roomkit.models.base import Json
from roomkit.models.channel import BindingFields, ChannelBinding
from roomkit.models.consent import ALL_PURPOSES, Consent
from roomkit.models.content import ConsentContent
from roomkit.models.enums import (
    Access,
    AgentResponsePolicy,
    AutoAttach,
    ChannelCategory,
    ChannelType,
    ConsentState,
    RoomStatus,
)
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import AIConfig, Room, RoomTimers

if TYPE_CHECKING:
    from roomkit.models.rights import ErasureReceipt, PersonExport, RoomExport

__all__ = ["RoomOperations"]


def _check_binding_fields(given: Iterable[str]) -> None:
    """Refuse what `attach_channel` sets by itself, and what no binding has. Raises InvalidInputError."""
    known = BindingFields.__annotations__
    for name in given:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"give one of {', '.join(sorted(known))}"
            raise InvalidInputError(
                f"attach_channel refused its arguments: ChannelBinding.{name}: Extra inputs are not "
                f"permitted; {hint}"
            )


@checks_arguments()
class RoomOperations(ConversationOperations):
    """Changes rooms, their bindings and participants; exports and erases.

    Each operation asks the scope first (`_enter`, `_check_room`, `_sees`, `_organization`).
    """

    async def _create_room(
        self,
        room_id: str | None,
        metadata: Mapping[str, Any] | None,
        *,
        retention: str | float | timedelta | None,
        agent_response_policy: AgentResponsePolicy | None,
        auto_attach: AutoAttach | None,
        timers: RoomTimers | None,
        ai_config: AIConfig | None,
        organization_id: str | None,
    ) -> Room:
        await self._enter()
        policy = agent_response_policy
        return await self._kernel.timeline.rooms.create(
            room_id,
            metadata,
            timers=timers,
            **({} if retention is None else {"retention_seconds": seconds_of(retention)}),
            **(
                {} if auto_attach is None else {"auto_attach": chosen(AutoAttach, auto_attach, "auto_attach")}
            ),
            ai_config=ai_config,
            organization_id=organization_id,
            agent_response_policy=None
            if policy is None
            else chosen(AgentResponsePolicy, policy, "agent_response_policy"),
        )

    async def get_room(self, room_id: str) -> Room:
        """Return a room. Raises RoomNotFoundError."""
        return await self._room(room_id)

    async def find_rooms(
        self,
        status: RoomStatus | str | None = None,
        metadata_filter: Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
    ) -> list[Room]:
        """Return a page of rooms, of the scope's organization or of all; see `ConversationStore.find_rooms`.

        `after` is the id of the last room of the page before. Raises StaleCursorError when that is gone.
        """
        status = None if status is None else chosen(RoomStatus, status, "status")
        if after is not None and not await self._sees(after):
            raise StaleCursorError(f"cursor room {after!r} no longer exists: restart from the first page")
        return await self._store.find_rooms(
            self._organization_id, status, metadata_filter, limit=limit, offset=offset, after=after
        )

    async def close_room(self, room_id: str) -> Room:
        """Close a room: nothing is written to it any more. Idempotent. Raises RoomNotFoundError.

        Messages, signals and changes of it are refused (`room_closed`, RoomClosedError). What still may
        happen says so where it is described: archiving, deletion, erasure and retention; removals and bans,
        because connections may read; read marks; the outcome of deliveries that were committed before.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.rooms.close(room_id)

    async def archive_room(self, room_id: str) -> Room:
        """Put a room away for good, also a closed one. Idempotent. Raises RoomNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.rooms.archive(room_id)

    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it, also a closed one; False when there is none.

        Nothing is kept of its messages, their idempotency keys included, because a vendor's id may name a
        person: a message that a vendor delivers again afterwards is a new one.
        """
        await self._enter()
        return await self._sees(room_id) and await self._kernel.timeline.rooms.delete(room_id)

    async def merge_rooms(
        self,
        source: str,
        into: str,
        *,
        keep: Keep | None = None,
        timeout: float = MOVE_SECONDS,
        participant_id: str | None = None,
    ) -> Room:
        """Move everything of a room into another one of its organization; return that one.

        Events come after those that are there, in their order, with their ids, times, deliveries, receipts
        and `origin`; they pass no gate, and no recipient gets them again. Participants of one identity or
        address become one. Channels, tasks, values and timers move. State is merged by functions that
        plugins add (`registry.add_merge`); else the state of `into` stays, and that of the source is taken
        where it has none. The source stays, closed, with `merged_into`: its id leads to this room for reads,
        messages and erasure. If both rooms write to different recipients by one channel, `keep` says to
        whose; the other one is still recognised, and is written to once it writes.

        New messages to either room are refused as `room_moving` while their deliveries complete; any
        still pending after `timeout` seconds refuses the merge. Of a room with more than 5,000 events the
        rest follows in the background. A repeated call returns the room. The note in the timeline names
        `participant_id`. ON_ROOMS_MERGED is observed once. Raises RoomNotFoundError, RoomClosedError,
        RoomBusyError (also for a live call in the source), and InvalidInputError for rooms of different
        organizations, for recipients that `keep` has to decide on, and in a call from the rooms' own work.
        """
        await self._enter()
        first = await self._store.get_room(source, organization_id=self._organization_id)
        if first is None:
            raise RoomNotFoundError(f"no room {source!r}: create_room first")
        second = await self._room(into)
        return await self._kernel.operations.moves.merge(
            first, second, keep=keep, timeout=timeout, by=participant_id
        )

    async def split_room(
        self,
        room: str,
        *,
        after_index: int | None = None,
        event_ids: Sequence[str] | None = None,
        into: str | None = None,
        timeout: float = MOVE_SECONDS,
        participant_id: str | None = None,
    ) -> Room:
        """Move a part of a room's events to another room, made if none is named; return that room.

        Those after an index, or those of some ids (at most 5,000). They move as `merge_rooms` says, and so
        do answers to them: the people who wrote them are known in both rooms. Their indexes stay holes in the
        room. Channels stay: `move_channel` moves one, `attach_channel` attaches it to both. ON_ROOM_SPLIT is
        observed once. Raises as `merge_rooms` does, and EventNotFoundError.
        """
        await self._enter()
        first = await self._room(room)
        second = None if into is None else await self._room(into)
        return await self._kernel.operations.moves.split(
            first,
            second,
            after_index=after_index,
            event_ids=event_ids,
            timeout=timeout,
            by=participant_id,
        )

    async def move_channel(
        self,
        channel_id: str,
        source: str,
        into: str,
        *,
        timeout: float = MOVE_SECONDS,
        participant_id: str | None = None,
    ) -> ChannelBinding:
        """Move a channel's binding from a room to another one, as it is; return it.

        Its participants are known there, too, and their next message goes there. Its events stay.
        Raises as `merge_rooms` does, ChannelNotFoundError, and InvalidInputError if it is attached there.
        """
        await self._enter()
        first, second = await self._room(source), await self._room(into)
        return await self._kernel.operations.moves.move_channel(
            channel_id, first, second, timeout=timeout, by=participant_id
        )

    @follows
    async def update_room_metadata(self, room_id: str, metadata: Mapping[str, Any]) -> Room:
        """Merge into a room's metadata, key by key. Raises RoomNotFoundError, RoomClosedError."""
        await self._enter(room_id)
        return await self._kernel.timeline.rooms.update_metadata(room_id, metadata)

    @follows
    async def change_state(
        self, room_id: str, namespace: str, fn: Callable[[Json | None], Json | None]
    ) -> Json | None:
        """Replace the state of a namespace in a room by `fn(state)`; return it. No timeline entry.

        `namespace` is a plugin's name, or `app` for the program's own. `fn` gets the state, None for none,
        and returns a JSON object of at most 16 KiB, 64 KiB for the room, or None to remove it. It is
        synchronous, pure and quick, and is called again if another worker changed the room in between: no
        change is lost. A gate returns `HookResult.allow(state=...)` instead. Raises RoomNotFoundError,
        RoomClosedError, InvalidInputError for what cannot be stored, StaleRoomError for a room that changes
        all the time, and what `fn` raises.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.states.change(room_id, namespace, fn)

    async def set_retention(self, room_id: str, retention: str | float | timedelta | None) -> Room:
        """Keep the room's events for so long from now on, None for as long as the room.

        Older ones are removed in the background, a few minutes late at most after they were due. For a
        closed room, too: how long a conversation is kept may be decided once it is over. Raises
        RoomNotFoundError, and InvalidInputError for a value that is not a duration.
        """
        await self._enter(room_id)
        seconds = None if retention is None else seconds_of(retention)
        return await self._kernel.operations.privacy().set_retention((await self._room(room_id)).id, seconds)

    @follows
    async def set_room_timers(self, room_id: str, timers: RoomTimers) -> Room:
        """Replace the timers of an existing room; they count from its last activity. Return the room.

        `timers.last_activity_at` moves the last activity; None leaves it. An action that is already due is
        done by the next sweep, and a paused room stays paused until the next message. Raises
        RoomNotFoundError, RoomClosedError, and StaleRoomError for a room that others change all the time.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.rooms.set_timers(room_id, timers)

    async def check_room_timers(self, room_id: str) -> Room:
        """Pause or close a room whose time has come. Raises RoomNotFoundError."""
        await self._enter(room_id)
        return (await self._kernel.timeline.rooms.check_timers(room_id))[0]

    @follows
    async def attach_channel(
        self,
        room_id: str,
        channel_id: str,
        channel_type: ChannelType | None = None,
        category: ChannelCategory | None = None,
        access: Access | None = None,
        visibility: str | None = None,
        **binding: Unpack[BindingFields],
    ) -> ChannelBinding:
        """Attach a registered channel to a room; attaching again replaces the binding.

        Fields not given are the channel's defaults (`register_channel(channel, binding=...)`), else
        READ_WRITE access and visibility for all; keys of `metadata` that are not given are the default's.
        `binding` are further fields of `ChannelBinding`: `metadata` with the recipient's address,
        `participant_id`, `rate_limit`, `retry_policy`, `double_text` ... Raises RoomNotFoundError,
        RoomClosedError, ChannelNotRegisteredError, and InvalidInputError for a field that does not fit.
        """
        await self._enter(room_id)
        _check_binding_fields(binding)
        fields: dict[str, Any] = {**binding}
        if access is not None:
            fields["access"] = access
        if visibility is not None:
            fields["visibility"] = visibility
        attached = await self._kernel.timeline.bindings.attach(
            room_id, channel_id, channel_type, category, **fields
        )
        if self._kernel.entry.traces.has_early:
            self._kernel.entry.traces.replay(room_id)
        return attached

    @follows
    async def detach_channel(self, room_id: str, channel_id: str) -> bool:
        """Take a channel out of a room, until it is attached again; False when it was not in it."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.detach(room_id, channel_id)

    @follows
    async def mute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Let a channel listen but not speak. Raises ChannelNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.mute(room_id, channel_id, muted=True)

    @follows
    async def unmute(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Let a muted channel speak again. Raises ChannelNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.mute(room_id, channel_id, muted=False)

    @follows
    async def take_over(self, room_id: str, participant_id: str | None = None) -> list[ChannelBinding]:
        """Mute every intelligence of a room, so that a human can speak; return their bindings.

        Answers under way end at once, with what people saw of them committed as seen (`finish_reason`
        is `taken_over`), and no intelligence is asked again until `give_back`. The notes in the timeline
        name `participant_id`. Raises RoomNotFoundError.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.take_over(room_id, participant_id)

    @follows
    async def give_back(self, room_id: str, participant_id: str | None = None) -> list[ChannelBinding]:
        """Unmute every intelligence of a room; return their bindings. Raises RoomNotFoundError.

        They are asked from the next message on, and read the messages in between in the timeline.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.give_back(room_id, participant_id)

    @follows
    async def set_access(self, room_id: str, channel_id: str, access: Access) -> ChannelBinding:
        """Change what a channel may do in a room. Raises ChannelNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.set_access(
            room_id, channel_id, chosen(Access, access, "access")
        )

    @follows
    async def set_visibility(self, room_id: str, channel_id: str, visibility: str) -> ChannelBinding:
        """Change who sees what a channel says from now on. Raises ChannelNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.set_visibility(room_id, channel_id, visibility)

    @follows
    async def update_binding_metadata(
        self, room_id: str, channel_id: str, metadata: Mapping[str, Any]
    ) -> ChannelBinding:
        """Merge into a binding's metadata, key by key. Raises ChannelNotFoundError."""
        await self._enter(room_id)
        return await self._kernel.timeline.bindings.update_binding_metadata(room_id, channel_id, metadata)

    @follows
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding:
        """Return a binding. Raises ChannelNotFoundError."""
        if not await self._sees(room_id):
            raise not_attached(room_id, channel_id)
        return await self._binding(room_id, channel_id)

    @follows
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        """Return the bindings of a room."""
        return await self._store.list_bindings(room_id) if await self._sees(room_id) else []

    @follows
    async def ensure_participant(
        self, room_id: str, channel_id: str, participant_id: str, display_name: str | None = None
    ) -> Participant:
        """Return a participant, added or brought up to date where needed; a removed one is active again.

        `participant_id` is the id that the room knows, not an address: naming the same id with a channel of
        another kind of addresses joins the two, and senders with that address on either are one person. For
        a namesake, give the id that `namesake_id` makes. Raises RoomNotFoundError, and RoomClosedError where
        that would change a closed room.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.participants.ensure(
            room_id, channel_id, participant_id, display_name
        )

    @follows
    async def resolve_participant(
        self, room_id: str, participant_id: str, identity_id: str, resolved_by: str = "manual"
    ) -> Participant:
        """Tie a participant to an identity.

        Raises ParticipantNotFoundError, IdentityNotFoundError, RoomClosedError.
        """
        await self._enter(room_id)
        await self._check_identity(identity_id)
        return await self._kernel.timeline.participants.resolve(
            room_id, participant_id, identity_id, resolved_by
        )

    @follows
    async def remove_participant(
        self, room_id: str, participant_id: str, *, banned: bool = False
    ) -> Participant:
        """Remove a participant from a room, or ban them from it.

        Their live connections to the room are closed, on every worker, with the reason
        `participant_removed` or `participant_banned`. A removed participant may connect again, or write by
        another channel; nothing that a banned one sends is accepted any more. Either needs no earlier
        message: an id that the room does not know yet gets a record with that status. Participants whom one
        identity joins are one person; a namesake by an address of another kind has an id of its own (see
        `Participant`). In a closed room it is recorded without a note in the timeline, because connections
        may read there. Raises RoomNotFoundError; InvalidInputError for a text that cannot be an id.
        """
        await self._enter(room_id)
        return await self._kernel.timeline.participants.remove(room_id, participant_id, banned=banned)

    @follows
    async def list_participants(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Participant]:
        """Return a page of the participants of a room; see `ConversationStore.list_participants`."""
        if not await self._sees(room_id):
            return []
        return await self._store.list_participants(room_id, limit=limit, after=after)

    async def get_identity(self, identity_id: str) -> Identity | None:
        """Return an identity, None if there is none of that id."""
        await self._enter()
        return await self._store.get_identity(identity_id, organization_id=self._organization_id)

    async def link_address(self, identity_id: str, channel_type: str, address: str) -> None:
        """Add an address to an identity. Raises IdentityNotFoundError."""
        await self._enter()
        await self._check_identity(identity_id)
        await self._store.link_address(identity_id, channel_type, address)

    async def set_consent(
        self,
        address_type: str,
        address: str,
        state: ConsentState | str,
        *,
        purpose: str = ALL_PURPOSES,
        source: str = "host",
    ) -> Consent:
        """Keep that a person agreed, or no longer agrees, to be written to at an address, for a purpose.

        It holds for every room of the organization and every channel with addresses of that kind ("phone",
        "email"), on every worker, from the next attempt on; one for no organization holds in all of them.
        Returns what holds now. Raises InvalidInputError for a state that there is not, and StoreError.
        """
        await self._enter()
        try:
            said = ConsentContent(
                address_type=address_type,
                address=address,
                state=chosen(ConsentState, state, "state"),
                purpose=purpose,
                source=source,
            )
        except ValidationError as wrong:
            raise InvalidInputError(f"the consent cannot be kept: {problems_of(wrong)}") from None
        return await self._kernel.sending.consents.put(said, self._organization_id)

    async def consent(
        self, address_type: str, address: str, *, purpose: str = ALL_PURPOSES
    ) -> Consent | None:
        """Return the latest consent for an address and exactly this purpose, None without one."""
        await self._enter()
        return await self._kernel.sending.consents.get(address_type, address, purpose, self._organization_id)

    async def export_room(self, room_id: str) -> RoomExport:
        """Return everything that is kept of a room, open or closed. Raises RoomNotFoundError.

        All of it is in memory at once: for a long room take `export_room_lines`.
        """
        await self._check_room(room_id)
        return await self._kernel.operations.privacy().exports.room(room_id)

    async def export_room_lines(self, room_id: str) -> AsyncIterator[str]:
        """Yield everything of a room as lines of JSON, `{"kind": ..., "record": {...}}`, the room first.

        Read in pages: concurrent writes may be part of it or not. Raises RoomNotFoundError.
        """
        await self._check_room(room_id)
        async for line in self._kernel.operations.privacy().exports.room_lines(room_id):
            yield line.model_dump_json()

    async def export_room_archive(self, room_id: str) -> AsyncIterator[bytes]:
        """Yield a ZIP archive of everything of a room, with the files that its events refer to.

        `records.jsonl` has the lines of `export_room_lines`, `media/<id>` the files, `media.jsonl` says of
        each its event, size and SHA-256, or that it is gone. Raises RoomNotFoundError.
        """
        await self._check_room(room_id)
        exports = self._kernel.operations.privacy().exports
        async for piece in exports.archive(exports.room_lines(room_id)):
            yield piece

    async def export_person(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
    ) -> PersonExport:
        """Return all stored data of a person over all their rooms, by one of the two ids.

        What they said and what they could see of others' words, deliveries to them, tasks and observations
        that name them or can only be about them, and values about them. A participant id that is tied to
        an identity leads to all of that person. Raises IdentityNotFoundError, ParticipantNotFoundError, and
        InvalidInputError for an id that is several people's.
        """
        organization_id = self._organization(organization_id)
        return await self._kernel.operations.privacy().exports.person(
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
        )

    async def export_person_lines(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
    ) -> AsyncIterator[str]:
        """Yield what `export_person` returns as lines of JSON, room by room. Raises as it does."""
        organization_id = self._organization(organization_id)
        async for line in self._kernel.operations.privacy().exports.person_lines(
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
        ):
            yield line.model_dump_json()

    async def export_person_archive(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
    ) -> AsyncIterator[bytes]:
        """Yield what `export_person_lines` does as an archive like that of `export_room_archive`."""
        organization_id = self._organization(organization_id)
        exports = self._kernel.operations.privacy().exports
        lines = exports.person_lines(
            identity_id=identity_id, participant_id=participant_id, organization_id=organization_id
        )
        async for piece in exports.archive(lines):
            yield piece

    async def erase_room(self, room_id: str, *, organization_id: str | None = None) -> ErasureReceipt:
        """Remove a room, also a closed one, and all of it; return a receipt of removed and remaining data.

        An unknown room, or one erased before, gives a receipt that says `found_nothing`.
        """
        await self._enter()
        organization_id = self._organization(organization_id)
        return await self._kernel.operations.privacy().erase_room(room_id, organization_id=organization_id)

    async def erase_person(
        self,
        *,
        identity_id: str | None = None,
        participant_id: str | None = None,
        organization_id: str | None = None,
        suppression: Suppression = "keep",
    ) -> ErasureReceipt:
        """Erase a person, by one of the two ids; return a receipt that also lists kept data, and why.

        In each room, under its lock: their words and the answers to them are redacted, which keeps the
        timeline's order; the participants are removed; channels that were there to reach them are detached;
        tasks and observations about them lose what they say; deliveries of all that are skipped (`erased`),
        and of those that failed the code is left. The receipt counts a delivery's row with its event.
        Then the identity with its addresses is deleted. A second call finishes an interrupted one, and
        else finds nothing. Revoked consents stay, under a hash of the address, without a name, so that
        nothing is sent there again; `suppression="forget"` removes them too. Raises InvalidInputError for an
        id that is several people's, and what the store raises.
        """
        check_choice(suppression, ("keep", "forget"), "suppression")
        await self._enter()
        organization_id = self._organization(organization_id)
        return await self._kernel.operations.privacy().erase_person(
            identity_id=identity_id,
            participant_id=participant_id,
            organization_id=organization_id,
            suppression=suppression,
        )
