"""The reply window of a transport: free messages for a time after the recipient wrote, templates always."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.authoring.transport import TransportChannel
from roomkit.authoring.window import ReplyWindow
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import TemplateContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelMediaType, ChannelType, DeliveryState, EventType
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import MockWhatsAppProvider, VirtualClock

pytestmark = pytest.mark.virtual_time
NUMBER, OTHER = "+14165550123", "+14165550199"
DAY = 86_400
TEMPLATE = TemplateContent(template_id="reopen", body="May we write to you?")
TEXT = TextContent(body="Your table is ready.")
_NO_PLUGINS = PluginManager(entry_points=())


class Desk:
    """A kit with one WhatsApp channel, attached to the room `r1`."""

    def __init__(self, window: ReplyWindow | None, max_length: int | None = None, **options: Any) -> None:
        self.provider = MockWhatsAppProvider()
        media = (ChannelMediaType.TEXT, ChannelMediaType.TEMPLATE)
        self.channel = TransportChannel(
            "wa",
            ChannelType.WHATSAPP,
            provider=self.provider,
            capabilities=ChannelCapabilities(media_types=media, max_length=max_length),
            recipient_key="phone",
            window=window,
        )
        self.kit = RoomKit(plugins=_NO_PLUGINS, **{"clock": VirtualClock(), **options})
        self.kit.register_channel(self.channel)

    async def open(self) -> Desk:
        await self.kit.create_room("r1")
        await self.kit.attach_channel("r1", "wa", metadata={"phone": NUMBER})
        return self

    async def write(self, by: str = NUMBER, room: str | None = "r1", **fields: Any) -> None:
        message = InboundMessage(channel_id="wa", sender_id=by, content=TextContent(body="hello"), **fields)
        result = await self.kit.process_inbound(message, room_id=room)
        assert not result.blocked, result.reason

    async def send(self, content: Any = TEXT) -> Any:
        """Send, and return the row of the ledger."""
        event = await self.kit.send_event("r1", "system", content)
        (row,) = await self.kit.list_deliveries("r1", event_id=event.id)
        return row

    @property
    def sent(self) -> list[Any]:
        return [each["event"].content for each in self.provider.sent]


@pytest.fixture
async def desk() -> Any:
    desk = await Desk(ReplyWindow()).open()
    yield desk
    await desk.kit.close()


async def test_it_is_open_for_a_day_after_the_last_message(desk: Desk) -> None:
    await desk.write()
    await asyncio.sleep(DAY / 2)
    await desk.write()
    closed_at = desk.kit.clock.now() + timedelta(seconds=DAY)
    await asyncio.sleep(DAY - 1)
    assert (await desk.send()).state is DeliveryState.SENT
    await asyncio.sleep(1)
    row = await desk.send()

    assert row.state is DeliveryState.FAILED
    assert row.attempts == 1
    assert row.error.code == ErrorCode.WINDOW_CLOSED
    assert row.error.message == (
        "the reply window of channel 'wa' in room 'r1' is closed: it closed at "
        f"{closed_at.isoformat(timespec='seconds')}, 24 h after the recipient last wrote; send a "
        "TemplateContent, or give the channel's ReplyWindow a template"
    )
    assert desk.sent == [TEXT]


async def test_a_refusal_is_no_fault_of_the_vendor_and_is_not_retried(desk: Desk) -> None:
    assert not ErrorCode.WINDOW_CLOSED.retryable
    assert not ErrorCode.WINDOW_CLOSED.blames_provider
    assert ErrorCode.WINDOW_CLOSED.accepted is False
    for _ in range(10):
        row = await desk.send()
    assert "the recipient has not written yet" in row.error.message
    await desk.write()
    assert (await desk.send()).state is DeliveryState.SENT


async def test_templates_pass_always(desk: Desk) -> None:
    """Also to a person who has never written, and as they are."""
    row = await desk.send(TEMPLATE)
    assert (row.state, row.rendered) == (DeliveryState.SENT, None)
    assert desk.sent == [TEMPLATE]


async def test_outside_it_a_template_goes_out_in_place() -> None:
    """And the ledger says so; inside it the message itself does."""
    desk = await Desk(ReplyWindow(3_600, TEMPLATE)).open()
    row = await desk.send()
    assert (row.state, row.rendered) == (DeliveryState.SENT, TEMPLATE)
    await desk.write()
    row = await desk.send()
    assert (row.state, row.rendered) == (DeliveryState.SENT, None)
    await asyncio.sleep(3_600)
    await desk.send()
    await desk.kit.close()

    assert desk.sent == [TEMPLATE, TEXT, TEMPLATE]


async def test_a_message_in_several_parts_is_replaced_once() -> None:
    desk = await Desk(ReplyWindow(template=TEMPLATE), max_length=10).open()
    row = await desk.send()
    assert (row.state, row.rendered) == (DeliveryState.SENT, TEMPLATE)
    assert desk.sent == [TEMPLATE]
    await desk.write()
    await desk.send()
    await desk.kit.close()
    assert len(desk.sent) == 3


async def test_a_message_during_the_parts_does_not_send_half_of_them() -> None:
    """What was decided for the first part holds for the others."""
    desk = await Desk(ReplyWindow(template=TEMPLATE), max_length=10).open()
    desk.provider._script.delay = 5
    sending = asyncio.create_task(desk.send())
    await asyncio.sleep(1)
    await desk.write()
    await sending
    await desk.kit.close()
    assert desk.sent == [TEMPLATE]


async def test_a_delivery_that_waited_sees_what_came_while_it_did(desk: Desk) -> None:
    """It was planned when the window was closed, and is sent when that is open."""
    desk.provider._script.delay = 5
    await desk.send(TEMPLATE)
    first = asyncio.create_task(desk.send(TEMPLATE))
    await asyncio.sleep(0)
    second = asyncio.create_task(desk.send())
    await asyncio.sleep(1)
    await desk.write()
    await first
    assert (await second).state is DeliveryState.SENT


async def test_edits_and_deletions_do_not_open_it(desk: Desk) -> None:
    await desk.write()
    opened = (await desk.kit.get_binding("r1", "wa")).state
    await asyncio.sleep(10)
    for kind in (EventType.EDIT, EventType.DELETE, EventType.TYPING):
        message = InboundMessage(channel_id="wa", sender_id=NUMBER, content=TEXT, event_type=kind)
        assert desk.channel.binding_state(message) == {}
    reaction = InboundMessage(channel_id="wa", sender_id=NUMBER, content=TEXT, event_type=EventType.REACTION)
    assert desk.channel.binding_state(reaction) != opened


async def test_a_second_worker_knows_it() -> None:
    """Also one that is started later: the state is in the store."""
    shared: dict[str, Any] = {
        "store": InMemoryStore(),
        "lock_manager": InMemoryLockManager(),
        "realtime": InMemoryRealtime(),
        "single_process": True,
    }
    first = await Desk(ReplyWindow(), **shared).open()
    await first.write()
    second = Desk(ReplyWindow(), **shared)
    assert (await second.send()).state is DeliveryState.SENT
    await asyncio.sleep(DAY)
    assert (await second.send()).error.code == ErrorCode.WINDOW_CLOSED
    await second.kit.close()
    await first.kit.close()


async def test_what_the_recipient_wrote_to_another_room_opens_it(desk: Desk) -> None:
    """Vendors know one conversation with a person; we may have opened another room, and closed theirs."""
    await desk.write(room=None)
    await desk.kit.create_room("r2")
    await desk.kit.attach_channel("r2", "wa", metadata={"phone": "+1 (416) 555-0123"})
    await desk.kit.close_room("r1")
    event = await desk.kit.send_event("r2", "system", TEXT)
    (row,) = await desk.kit.list_deliveries("r2", event_id=event.id)
    assert row.state is DeliveryState.SENT
    await desk.kit.create_room("r3")
    await desk.kit.attach_channel("r3", "wa", metadata={"phone": OTHER})
    event = await desk.kit.send_event("r3", "system", TEXT)
    (row,) = await desk.kit.list_deliveries("r3", event_id=event.id)
    assert row.error is not None
    assert row.error.code == ErrorCode.WINDOW_CLOSED


@pytest.mark.parametrize("into", ["r1", "r2"])
async def test_rooms_that_are_merged_leave_it_open(desk: Desk, into: str) -> None:
    """What the recipient wrote last counts, to whichever of them, and not which room goes on."""
    await desk.kit.create_room("r2")
    await desk.kit.attach_channel("r2", "wa", metadata={"phone": NUMBER})
    await desk.write(room="r2")
    await asyncio.sleep(DAY)
    await desk.write(room="r1")
    await asyncio.sleep(DAY / 2)
    await desk.kit.merge_rooms("r1" if into == "r2" else "r2", into)
    event = await desk.kit.send_event(into, "system", TEXT)
    (row,) = await desk.kit.list_deliveries(into, event_id=event.id)
    assert row.state is DeliveryState.SENT


def binding(**fields: Any) -> ChannelBinding:
    return ChannelBinding(
        channel_id="wa", room_id="r1", channel_type=ChannelType.WHATSAPP, address=NUMBER, **fields
    )


def state(by: str, at: datetime) -> dict[str, Any]:
    message = InboundMessage(channel_id="wa", sender_id=by, content=TEXT)
    return dict(ReplyWindow().opened_by(message, at))


class TestAddresses:
    """A person with several addresses has a window for each."""

    NOW = datetime(2026, 3, 1, tzinfo=UTC)

    def test_another_address_of_the_person_opens_nothing(self) -> None:
        bound = binding(also=(OTHER,), state=state(OTHER, self.NOW))
        assert ReplyWindow().closes_at(bound) is None

    def test_the_recipients_own_opens_it(self) -> None:
        bound = binding(also=(OTHER,), state=state(NUMBER, self.NOW))
        assert ReplyWindow().closes_at(bound) == self.NOW + timedelta(days=1)

    def test_an_address_by_which_the_vendor_alone_knows_the_person_opens_it(self) -> None:
        """Such as a business-scoped id for a number that they hide."""
        bound = binding(state=state("CA.13491208655302741918", self.NOW))
        assert ReplyWindow().closes_at(bound) is not None

    async def test_writing_from_another_address_moves_the_conversation_there(self) -> None:
        desk = await Desk(ReplyWindow()).open()
        await desk.kit.create_room("r2")
        await desk.kit.attach_channel("r2", "wa", metadata={"phone": OTHER})
        await desk.kit.merge_rooms("r2", "r1", keep="into")
        await desk.write(OTHER, None)
        assert (await desk.send()).state is DeliveryState.SENT
        assert desk.provider.sent[-1]["to"] == OTHER
        await desk.kit.close()


@pytest.mark.parametrize(
    "kept",
    [
        None,
        7,
        "text",
        {},
        {"at": "yesterday"},
        {"at": "9999-12-31T00:00:00+00:00"},
        {"at": "2026-03-01T00:00:00"},
    ],
)
def test_a_state_that_cannot_be_read_is_a_closed_window(kept: object) -> None:
    bound = binding(state={"reply_window": kept})
    assert ReplyWindow().closes_at(bound) is None
    with pytest.raises(ProviderError, match="has not written yet"):
        ReplyWindow().substitute(TEXT, datetime(2026, 3, 1, tzinfo=UTC), bound, provider="acme")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_window_of_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidInputError, match="cannot be: give more than 0 seconds"):
        ReplyWindow(seconds)


def test_its_template_has_to_be_one() -> None:
    with pytest.raises(InvalidInputError, match="is a TextContent: give a TemplateContent"):
        ReplyWindow(template=TEXT)  # type: ignore[arg-type]  # what a program gets wrong
