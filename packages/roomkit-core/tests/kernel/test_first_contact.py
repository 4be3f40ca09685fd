"""What a channel says of a message before it is routed, and the binding that a first message makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from roomkit.abc.errors import ForeignCodeError
from roomkit.authoring.addresses import one_spelling
from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelType, DeliveryState, InboundMessage, RateLimit
from roomkit_plugins.testing import MockEmailProvider, MockSMSProvider, RecordingChannel, ScriptedIntelligence


async def test_the_first_message_of_a_stranger_is_answered(staging: Any, store: Any) -> None:
    """By each transport, over each store: the new binding has the sender as its recipient."""
    async with staging(store=store, single_process=True) as stage:
        for kind, provider, sender in (
            (ChannelType.SMS, MockSMSProvider(), "+14165550123"),
            (ChannelType.EMAIL, MockEmailProvider(), "ann@example.com"),
        ):
            channel_id, bot = f"{kind}", f"bot of {kind}"
            stage.kit.register_channel(TransportChannel(channel_id, kind, provider=provider))
            stage.kit.register_channel(ScriptedIntelligence(bot, ["Hello, stranger"]))
            first = await stage.say("hi", channel=channel_id, by=sender, room=None)
            await stage.kit.attach_channel(first.event.room_id, bot)
            await stage.say("still there?", channel=channel_id, by=sender, room=None)
            await stage.idle()

            assert provider.texts == ["Hello, stranger"]
            assert [send["to"] for send in provider.sent] == [sender]
            rows = await stage.kit.list_deliveries(first.event.room_id, channel_id=channel_id)
            assert {row.state for row in rows} == {DeliveryState.SENT}


async def test_two_spellings_of_one_number_are_one_sender(stage: Any) -> None:
    stage.kit.register_channel(TransportChannel("sms", ChannelType.SMS, provider=MockSMSProvider()))
    rooms = [
        (await stage.say(channel="sms", by=spelling, room=None)).event.room_id
        for spelling in ("+1 (416) 555-0123", "+14165550123", "001-416-555-0123")
    ]
    assert len(set(rooms)) == 1
    people = await stage.kit.list_participants(rooms[0])
    assert [person.id for person in people] == ["+14165550123"]


@pytest.mark.parametrize(
    ("kind", "address", "spelled"),
    [
        ("phone", "+1 416.555/0123", "+14165550123"),
        ("phone", "0044 20 7946 0000", "+442079460000"),
        ("phone", "ACME Bank", "ACME Bank"),
        ("phone", "+", "+"),
        ("phone", "40404", "40404"),
        ("email", " Ann.Lee@Example.COM ", "ann.lee@example.com"),
        ("teams", "29:AbC", "29:AbC"),
        ("email", " ", " "),
    ],
)
def test_an_address_is_spelled_by_its_kind(kind: str, address: str, spelled: str) -> None:
    assert one_spelling(kind, address) == spelled
    assert one_spelling(kind, spelled) == spelled


class Admitting(RecordingChannel):
    """Returns from `admit` and `first_binding` whatever a test says."""

    def __init__(
        self,
        channel_id: str,
        *,
        admits: Callable[[InboundMessage], Any] = lambda message: message,
        first: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(channel_id)
        self._admits = admits
        self._first: Any = first

    def admit(self, message: InboundMessage) -> Any:
        return self._admits(message)

    def first_binding(self, message: InboundMessage) -> Any:
        return {} if self._first is None else self._first


async def test_a_message_is_admitted_before_limits_and_routing(staging: Any) -> None:
    """What `admit` adds is in the event; what only the framework may say is stripped from that, too."""
    admitted: list[str] = []

    def admit(message: InboundMessage) -> InboundMessage:
        admitted.append(message.sender_id)
        return message.replace(room_id="r1", extra={"signed": True}, metadata={"_mine": 1, "theirs": 2})

    async with staging(inbound_rate_limit=RateLimit(max_per_hour=1)) as stage:
        await stage.join(Admitting("mail", admits=admit))
        result = await stage.say(channel="mail", by="ann", room=None)
        refused = await stage.say(channel="mail", by="bob", room=None)

    assert result.event.room_id == "r1"
    assert result.event.channel_data.extra == {"signed": True}
    assert result.event.metadata == {"theirs": 2}
    assert refused.reason == "rate_limited"
    assert admitted == ["ann", "bob"]


async def test_private_facts_of_a_message_are_not_shown(stage: Any) -> None:
    await stage.socket("sms")
    result = await stage.say(channel="sms", extra={"spam_score": 3})

    assert result.event.channel_data.extra == {"spam_score": 3}
    assert "spam_score" not in str(result.event.client_view())
    assert b"spam_score" not in result.event.json_bytes


def _raise(_message: InboundMessage) -> InboundMessage:
    raise LookupError("no such tenant")


@pytest.mark.parametrize(
    ("admits", "said"),
    [
        (_raise, r"admit\(\) of channel 'sms' raised LookupError: no such tenant"),
        (lambda _message: None, r"admit\(\) of channel 'sms' is NoneType: it has to be InboundMessage"),
        (
            lambda message: message.replace(channel_id="other"),
            r"admit\(\) of channel 'sms' returned a message of channel 'other': keep its channel_id",
        ),
        (
            lambda message: message.replace(sender_id=7),
            r"InboundMessage that admit\(\) of channel 'sms' returned",
        ),
    ],
)
async def test_an_admission_that_breaks_its_contract_is_reported(stage: Any, admits: Any, said: str) -> None:
    stage.kit.register_channel(Admitting("sms", admits=admits))
    with pytest.raises(ForeignCodeError, match=said):
        await stage.say(channel="sms", room=None)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({"metdata": {}}, "unknown field 'metdata': did you mean 'metadata'?"),
        ({"visibility": "none"}, "unknown field 'visibility': "),
        ({"muted": "perhaps"}, r"first_binding\(\) of channel 'sms' cannot be used: ChannelBinding.muted"),
        (7, r"first_binding\(\) of channel 'sms' is int: it has to be Mapping"),
    ],
)
async def test_a_first_binding_that_cannot_be_one_is_reported(stage: Any, first: Any, said: str) -> None:
    """The message is refused with an error that names the field."""
    stage.kit.register_channel(Admitting("sms", first=first))
    with pytest.raises(ForeignCodeError, match=said):
        await stage.say(channel="sms", room=None)


async def test_a_first_binding_is_the_hosts_where_the_host_attached(stage: Any) -> None:
    """A message changes nothing of a binding that is there."""
    channel = TransportChannel("sms", ChannelType.SMS, provider=MockSMSProvider())
    await stage.join(channel, metadata={"recipient_id": "+1999"})
    await stage.say(channel="sms", by="+1555")

    bound = await stage.kit.get_binding("r1", "sms")
    assert (bound.metadata, bound.participant_id) == ({"recipient_id": "+1999"}, None)
