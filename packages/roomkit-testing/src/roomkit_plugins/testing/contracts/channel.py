"""The contract suite of channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given

from roomkit.abc.channel import Channel
from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.kernel.kit import RoomKit
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import MEDIA_TYPE_OF, TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelDirection, ChannelMediaType, DeliveryState
from roomkit.models.room import Room
from roomkit.models.values import is_key
from roomkit_plugins.testing.blocking import assert_loop_stays_free
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import (
    PATIENCE,
    binding,
    close,
    context,
    event,
    make,
    message,
    unsaid,
)
from roomkit_plugins.testing.contracts.life import LifeContract
from roomkit_plugins.testing.contracts.providers import EVERY_CONTENT
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, texts
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["ChannelContract"]


_LENGTHS = (1, 40, 160, 161, 1000)


class ChannelContract(LifeContract):
    """What every channel promises the kernel: one object for all rooms, and an end for every delivery."""

    def lend(self, kit: RoomKit, part: Channel) -> None:
        """Register the channel, which binds it."""
        kit.register_channel(part)

    @pytest.fixture
    def channel(self, subject: Channel) -> Channel:
        """Return the channel under test; it is not registered with a kit."""
        return subject

    @property
    def recipient(self) -> Mapping[str, Any]:
        """The metadata of a binding that names a recipient."""
        return {}

    @property
    def needs_recipient(self) -> bool:
        """Whether a binding without that metadata has no recipient."""
        return bool(self.recipient)

    @property
    def sender(self) -> str:
        """The address of a person who writes by the channel and can be answered."""
        return "+15551230001"

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        """Return the texts that went out through the channel so far, oldest first; for a transport.

        Ask the other side: the provider's simulator, the socket, whatever the channel writes to.
        """
        raise unsaid(self, "sent_texts", "the texts sent through the channel")

    def bound(self, channel: Channel, room_id: str | None = None, **fields: Any) -> ChannelBinding:
        """Return the binding of `channel` in a room, a fresh one unless it is named."""
        return binding(
            room_id or new_id(),
            channel.channel_id,
            **{
                "channel_type": channel.channel_type,
                "category": channel.category,
                "capabilities": channel.capabilities(),
                "metadata": self.recipient,
                **fields,
            },
        )

    # -- what it says of itself ---------------------------------------------------------------

    async def test_it_says_what_it_is(self, channel: Channel) -> None:
        """An id, a type, a category and a direction; facts for operators that JSON can carry."""
        assert channel.channel_id
        assert channel.channel_type
        assert channel.category in ChannelCategory
        assert channel.direction in ChannelDirection
        assert channel.provider_name is None or channel.provider_name
        json.dumps(channel.info)

    async def test_its_kind_of_addresses_is_one_word(self, channel: Channel) -> None:
        """The same each time, because it is kept with bindings; ids are made of it and an address."""
        kind = channel.address_type
        assert kind
        assert is_key(kind, longest=200)
        assert ":" not in kind
        assert channel.address_type == kind

    async def test_its_capabilities_are_consistent(self, channel: Channel) -> None:
        """The same each time; a feature is not claimed without the media type that carries it."""
        claimed = channel.capabilities()
        assert isinstance(claimed, ChannelCapabilities)
        assert claimed == channel.capabilities()
        carried = set(claimed.media_types)
        for feature, media_type in (
            (claimed.supports_rich_text, ChannelMediaType.RICH),
            (claimed.supports_media, ChannelMediaType.MEDIA),
            (claimed.supports_audio, ChannelMediaType.AUDIO),
            (claimed.supports_video, ChannelMediaType.VIDEO),
            (claimed.supports_templates, ChannelMediaType.TEMPLATE),
        ):
            assert not feature or media_type in carried
        assert claimed.max_buttons is None or claimed.supports_buttons

    async def test_streaming_is_said_once(self, channel: Channel) -> None:
        """A binding cannot stream where the channel says it cannot."""
        if not channel.supports_streaming_delivery:
            assert not channel.can_stream(self.bound(channel))

    # -- inbound ------------------------------------------------------------------------------

    @PROPERTY
    @given(given_message=records(InboundMessage))
    async def test_everything_a_message_says_is_in_its_event(
        self, channel: Channel, given_message: InboundMessage
    ) -> None:
        """Who, what, by which socket, in which thread, with which keys, and the payload as received."""
        said = given_message.replace(channel_id=channel.channel_id)
        bound = self.bound(channel)
        try:
            made = await channel.handle_inbound(said, context(bound))
        except InvalidInputError:
            return
        assert made.room_id == bound.room_id
        assert (made.type, made.content) == (said.event_type, said.content)
        assert made.idempotency_key == said.idempotency_key
        assert made.metadata == said.metadata
        assert made.addressed_to == said.addressed_to
        assert made.parent_event_id == said.parent_event_id
        assert made.response_visibility == said.response_visibility
        assert made.visibility == (said.visibility or "all")
        assert made.index == -1
        source = made.source
        assert source.channel_id == channel.channel_id
        assert source.direction is ChannelDirection.INBOUND
        assert source.participant_id == (said.sender_id or None)
        assert source.connection_id == said.connection_id
        assert source.external_id == said.external_id
        assert source.provider_message_id == said.provider_message_id
        assert source.raw_payload == said.raw_payload
        assert made.channel_data.external_id == said.external_id
        assert made.channel_data.thread_id == said.thread_id
        assert made.channel_data.extra == said.extra

    @PROPERTY
    @given(address=texts(min_size=1))
    async def test_an_address_has_one_spelling(self, channel: Channel, address: str) -> None:
        """Normalising a normalised address changes nothing, and the result can be a key."""
        spelled = channel.normalize(address)
        assert is_key(spelled)
        assert spelled
        assert channel.normalize(address) == spelled
        assert channel.normalize(spelled) == spelled

    @PROPERTY
    @given(given_message=records(InboundMessage))
    async def test_admitting_is_pure(self, channel: Channel, given_message: InboundMessage) -> None:
        """The same message is admitted alike each time, and so is an admitted one; the channel stays."""
        said = given_message.replace(channel_id=channel.channel_id)
        admitted = channel.admit(said)
        assert channel.admit(said) == admitted
        assert channel.admit(admitted) == admitted
        assert admitted.channel_id == channel.channel_id
        assert admitted.sender_id == channel.normalize(admitted.sender_id)

    @PROPERTY
    @given(given_message=records(InboundMessage))
    async def test_what_a_message_says_of_the_conversation_is_pure(
        self, channel: Channel, given_message: InboundMessage
    ) -> None:
        """The same message says the same each time, and a binding can hold it."""
        said = channel.admit(given_message.replace(channel_id=channel.channel_id))
        state = channel.binding_state(said)
        assert channel.binding_state(said) == state
        assert self.bound(channel, state=state).state == state

    async def test_who_writes_first_can_be_answered(self, channel: Channel) -> None:
        """The binding of a first message has its recipient: the answer goes out."""
        if channel.category is not ChannelCategory.TRANSPORT:
            pytest.skip("an intelligence carries nothing outside")
        said = channel.admit(message(channel_id=channel.channel_id, sender_id=self.sender))
        fields = channel.first_binding(said)
        assert fields == channel.first_binding(said)
        address = channel.address_of(fields.get("metadata") or {})
        assert address is None or address == channel.normalize(address) == said.sender_id
        if self.needs_recipient:
            output = await self.deliver(channel, self.bound(channel, **{"metadata": {}, **fields}))
            assert output.state is DeliveryState.SENT

    async def test_messages_of_many_rooms_do_not_mix(self, channel: Channel) -> None:
        """The room is the one of the context, whatever else is under way; ids are all different."""
        rooms = [new_id() for _ in range(20)]
        made = await asyncio.gather(
            *(
                channel.handle_inbound(message(channel_id=channel.channel_id), context(room=Room(id=room_id)))
                for room_id in rooms
            )
        )
        assert [each.room_id for each in made] == rooms
        assert len({each.id for each in made}) == 20

    # -- outbound -----------------------------------------------------------------------------

    async def test_a_delivery_ends_sent_or_skipped(self, channel: Channel) -> None:
        """With a reason when it is skipped, and the vendor's id when it was sent and there is one."""
        output = await self.deliver(channel, self.bound(channel))
        assert isinstance(output, ChannelOutput)
        assert output.state in (DeliveryState.SENT, DeliveryState.SKIPPED)
        assert output.state is DeliveryState.SENT or output.skip_reason

    async def test_a_text_goes_out_once_and_whole(self, channel: Channel) -> None:
        """Up to `max_length`: as it was given, and once."""
        if channel.category is not ChannelCategory.TRANSPORT:
            pytest.skip("an intelligence carries nothing outside")
        most = channel.capabilities().max_length
        for length in (*_LENGTHS, most or 5000):
            if most is not None and length > most:
                continue
            text = "".join(f"{number} " for number in range(length))[: length - 1] + "."
            before = len(await self.sent_texts(channel))
            output = await self.deliver(channel, self.bound(channel), content=TextContent(body=text))
            if output.state is DeliveryState.SENT:
                assert list(await self.sent_texts(channel))[before:] == [text]

    async def test_a_delivery_does_not_block_the_loop(self, channel: Channel) -> None:
        """Not for any time: all rooms of the process would wait."""
        bound = self.bound(channel)
        await self.deliver(channel, bound)  # loading at first use may take long
        await assert_loop_stays_free(lambda: self.deliver(channel, bound))

    async def test_everything_claimed_is_carried(self, channel: Channel) -> None:
        """Each content type among the capabilities is delivered as it is."""
        if channel.category is not ChannelCategory.TRANSPORT:
            pytest.skip("an intelligence carries nothing outside")
        carried = set(channel.capabilities().media_types)
        for content in EVERY_CONTENT:
            if MEDIA_TYPE_OF.get(content.type) in carried:
                output = await self.deliver(channel, self.bound(channel), content=content)
                assert output.provider_result is None or output.provider_result.success

    async def test_without_a_recipient_nothing_counts_as_sent(self, channel: Channel) -> None:
        """It is skipped with a reason, or fails for good."""
        if not self.needs_recipient:
            pytest.skip("the channel needs no recipient in its binding")
        try:
            output = await self.deliver(channel, self.bound(channel, metadata={}))
        except ProviderError as error:
            assert not error.retryable  # noqa: PT017
        else:
            assert output.state is DeliveryState.SKIPPED
            assert output.skip_reason

    async def test_deliveries_to_many_rooms_run_at_once(self, channel: Channel) -> None:
        """All of them end, none waits for another room's."""
        async with asyncio.timeout(PATIENCE):
            outputs = await asyncio.gather(*(self.deliver(channel, self.bound(channel)) for _ in range(20)))
        assert len(outputs) == 20

    async def test_a_stream_may_be_plain_strings(self, channel: Channel) -> None:
        """`deliver_stream` takes an iterator of strings, as it takes the kit's streams."""

        async def pieces() -> AsyncIterator[str]:
            yield "Hello, "
            yield "world"

        bound = self.bound(channel)
        async with asyncio.timeout(PATIENCE):
            output = await channel.deliver_stream(
                pieces(),  # type: ignore[arg-type]  # as programs of the seed's time call it
                event(bound.room_id),
                bound,
                self._context(channel),
            )
        assert isinstance(output, ChannelOutput)

    async def test_being_shown_an_event_is_answered_or_noticed(self, channel: Channel) -> None:
        """`on_event` returns an output; a transport says nothing."""
        output = await channel.on_event(event("room"), self.bound(channel, "room"), self._context(channel))
        assert isinstance(output, ChannelOutput)
        if channel.category is ChannelCategory.TRANSPORT:
            assert not output.responded

    async def test_a_cancelled_delivery_leaves_the_channel_usable(
        self, factory: Callable[[], Channel | Awaitable[Channel]]
    ) -> None:
        """At whatever await it is cancelled: the next delivery, in any room, ends."""
        channel = await make(factory)

        async def check(cancellation: Cancellation) -> None:
            async with asyncio.timeout(PATIENCE):
                await self.deliver(channel, self.bound(channel))

        bound = self.bound(channel)
        await cancel_at_every_await(lambda: self.deliver(channel, bound), check)
        await close(channel)

    # -- life ---------------------------------------------------------------------------------

    async def test_bindings_may_change_and_go(self, channel: Channel) -> None:
        for _ in range(2):
            bound = self.bound(channel)
            await channel.update_binding(bound.room_id, bound)

    async def test_nothing_leaks(self, factory: Callable[[], Channel | Awaitable[Channel]]) -> None:
        """Channels that are made, used and closed leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            channel = await make(factory)
            await self.deliver(channel, self.bound(channel))
            await close(channel)

        await assert_nothing_leaks(cycle, cycles=10)

    async def test_a_delivery_leaves_nothing_behind(self, channel: Channel) -> None:
        """Not until `close` either: no task, thread or descriptor for each event."""
        bound = self.bound(channel)
        await assert_nothing_leaks(lambda: self.deliver(channel, bound), cycles=10)

    async def deliver(self, channel: Channel, bound: ChannelBinding, **fields: Any) -> ChannelOutput:
        """Deliver an event to the recipient of a binding."""
        return await channel.deliver(event(bound.room_id, **fields), bound, context(bound))

    def _context(self, channel: Channel) -> RoomContext:
        return context(self.bound(channel, "room"))
