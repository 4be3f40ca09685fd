"""The live side of the kit: signals, connections and sources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from roomkit.abc.channel import SupportsConnections
from roomkit.abc.choice import check_choice, chosen
from roomkit.abc.errors import ChannelNotRegisteredError, ParticipantBannedError, ParticipantRemovedError
from roomkit.kernel.registration import Registration
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.models.enums import EphemeralEventType, SourceStatus
from roomkit.models.event import RoomEvent
from roomkit.models.source import SourceHealth

if TYPE_CHECKING:
    from roomkit.abc.realtime import EphemeralCallback
    from roomkit.abc.source import SourceProvider

__all__ = ["LiveOperations"]


@checks_arguments()
class LiveOperations(Registration):
    """Shows signals that are not stored, and connects sockets and sources."""

    async def publish_typing(
        self, room_id: str, user_id: str, is_typing: bool = True, data: Mapping[str, Any] | None = None
    ) -> None:
        """Show that a participant is typing, or stopped; also to people behind vendors that can show it."""
        await self._enter()
        kind = EphemeralEventType.TYPING_START if is_typing else EphemeralEventType.TYPING_STOP
        await self._kernel.entry.signals.publish(room_id, kind, user_id, data)

    async def publish_presence(self, room_id: str, user_id: str, status: str) -> None:
        """Show that a participant is `online`, `away` or `offline`; any other status is a CUSTOM event."""
        await self._enter()
        await self._kernel.entry.signals.presence(room_id, user_id, status)

    async def publish_read_receipt(self, room_id: str, user_id: str, event_id: str) -> None:
        """Show that a participant read an event; `mark_read` also moves the mark.

        Vendors that can are given their ids of the messages up to it that came by their channel.
        """
        await self._enter()
        await self._kernel.entry.signals.publish(
            room_id, EphemeralEventType.READ_RECEIPT, user_id, {"event_id": event_id}
        )

    async def publish_reaction(
        self,
        room_id: str,
        user_id: str,
        target_event_id: str,
        emoji: str,
        action: Literal["add", "remove"] = "add",
    ) -> None:
        """Show a reaction to an event."""
        await self._enter()
        check_choice(action, ("add", "remove"), "action")
        await self._kernel.entry.signals.publish(
            room_id,
            EphemeralEventType.REACTION,
            user_id,
            {"target_event_id": target_event_id, "emoji": emoji, "action": action},
        )

    async def publish_tool_call(
        self,
        room_id: str,
        channel_id: str,
        tool_calls: Sequence[Mapping[str, Any]],
        event_type: EphemeralEventType = EphemeralEventType.TOOL_CALL_START,
        *,
        duration_ms: float | None = None,
        visibility: str = "intelligence",
    ) -> None:
        """Show an agent's tool calls; to intelligences and operators alone unless said otherwise."""
        await self._enter()
        event_type = chosen(EphemeralEventType, event_type, "event_type")
        data: dict[str, Any] = {"tool_calls": list(tool_calls), "channel_id": channel_id}
        if duration_ms is not None:
            data["duration_ms"] = duration_ms
        await self._kernel.entry.signals.publish(
            room_id, event_type, channel_id, data, channel_id=channel_id, visibility=visibility
        )

    async def subscribe_room(
        self, room_id: str, callback: EphemeralCallback, *, as_channel: str | None = None
    ) -> str:
        """Call `callback` for each ephemeral event of a room; return the subscription's id.

        `as_channel` shows only what that channel may see.
        """
        await self._enter()
        return await self._kernel.entry.signals.subscribe(room_id, callback, as_channel)

    async def unsubscribe_room(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none of that id."""
        return await self._kernel.ground.realtime.unsubscribe(subscription_id)

    async def connect_websocket(
        self,
        channel_id: str,
        connection_id: str,
        send_fn: Callable[[str, RoomEvent], Awaitable[None]],
        *,
        stream_send_fn: Callable[[str, Any], Awaitable[None]] | None = None,
        close_fn: Callable[[str, str], Awaitable[None]] | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Connect a socket to a channel and, with `room_id`, to one of its rooms.

        `close_fn(connection_id, reason)` is called once when the channel drops the connection by itself:
        its room was deleted (`room_not_found`), the participant banned (`participant_banned`) or removed
        (`participant_removed`), it was too slow. Connecting makes a removed participant active again, so
        check first who may return; also in a closed room, which they may read. Raises
        ChannelNotRegisteredError when the channel is unknown or has no connections; ParticipantBannedError
        for a participant banned from the room, ParticipantRemovedError for one who is removed while they
        connect; InvalidInputError for an id that is another's connection.
        """
        await self._enter()
        channel: object = self._kernel.ground.channels.known(channel_id)
        if not isinstance(channel, SupportsConnections):
            raise ChannelNotRegisteredError(
                f"channel {channel_id!r} is a {type(channel).__name__}, which has no connections"
            )
        if room_id is not None and participant_id is not None:
            await self._kernel.timeline.participants.readmit(room_id, channel_id, participant_id)
        more = {} if close_fn is None else {"close_fn": close_fn}
        channel.register_connection(
            connection_id,
            send_fn,
            stream_send_fn=stream_send_fn,
            room_id=room_id,
            participant_id=participant_id,
            **more,
        )
        # Asked once it is registered: a removal or ban that comes later finds the connection.
        if room_id is not None and participant_id is not None:
            try:
                await self._kernel.timeline.participants.check_present(room_id, channel_id, participant_id)
            except (ParticipantBannedError, ParticipantRemovedError):
                channel.unregister_connection(connection_id)
                raise
        self._kernel.ground.events.emit(
            "channel_connected", room_id=room_id, channel_id=channel_id, connection_id=connection_id
        )

    async def disconnect_websocket(self, channel_id: str, connection_id: str) -> None:
        """Disconnect a socket; never raises."""
        channel: object = self._kernel.ground.channels.get(channel_id)
        if isinstance(channel, SupportsConnections) and channel.unregister_connection(connection_id):
            self._kernel.ground.events.emit(
                "channel_disconnected", channel_id=channel_id, connection_id=connection_id
            )

    async def attach_source(
        self,
        channel_id: str,
        source: SourceProvider,
        *,
        auto_restart: bool = True,
        restart_delay: float = 5.0,
        max_restart_delay: float = 300.0,
        max_restart_attempts: int | None = None,
        max_concurrent_emits: int | None = 10,
        single: bool = False,
    ) -> None:
        """Run a source for a channel, and restart it when it breaks.

        `single` runs it on one worker of all that attach it so (see `Homes.elect`), such as a bot whose
        vendor refuses a second connection; when that worker is gone, another one runs it.

        The delay doubles from `restart_delay` to `max_restart_delay`, and starts over, as the count
        of attempts does, once the source has brought messages again. Raises SourceAlreadyAttachedError.
        """
        await self._enter()
        services = self._services.of_source(channel_id, source)
        await self._kernel.entry.sources.attach(
            channel_id,
            source,
            services,
            services.tasks,
            auto_restart=auto_restart,
            restart_delay=restart_delay,
            max_restart_delay=max_restart_delay,
            max_restart_attempts=max_restart_attempts,
            max_concurrent_emits=max_concurrent_emits,
            single=single,
        )

    async def detach_source(self, channel_id: str) -> None:
        """Stop a channel's source. Raises SourceNotFoundError.

        What it emits while it stops is taken in. What one that did not stop in time emits afterwards is
        refused as `source_detached` and counted (framework event `source_message_refused`).
        """
        await self._kernel.entry.sources.detach(channel_id)

    async def source_health(self, channel_id: str) -> SourceHealth | None:
        """Return a snapshot of a channel's source, None without one."""
        return await self._kernel.entry.sources.health(channel_id)

    def list_sources(self) -> dict[str, SourceStatus]:
        """Return the status of every attached source by channel id."""
        return self._kernel.entry.sources.statuses()
