"""Consent: kept before anything can refuse the message that says it, judged at each attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from roomkit.abc.errors import InvalidInputError, StoreUnavailableError
from roomkit.authoring.transport import TransportChannel
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import utcnow
from roomkit.models.content import ConsentContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, ConsentState, DeliveryState, EventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit.models.identity import Identity
from roomkit_plugins.testing import MockSMSProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

ANN = "+14165550123"
WORDS = {"STOP": ConsentState.REVOKED, "START": ConsentState.GRANTED}


class Texts(TransportChannel):
    """A channel of text messages that knows two words, and asks for consent to write."""

    def __init__(self, channel_id, purpose="all", **options):
        super().__init__(channel_id, ChannelType.SMS, provider=MockSMSProvider(), **options)
        self.purpose = purpose

    def admit(self, message):
        message = super().admit(message)
        state = WORDS.get(getattr(message.content, "body", "").strip())
        if state is None:
            return message
        said = ConsentContent(
            address_type="phone", address=message.sender_id, state=state, source="keyword", body="STOP"
        )
        return message.replace(content=said, event_type=EventType.CONSENT)

    def consent_purpose(self, event, binding):
        return self.purpose


def text(body, *, key=None, channel="sms", sender=ANN, **fields):
    return InboundMessage(
        channel_id=channel,
        sender_id=sender,
        content=TextContent(body=body),
        idempotency_key=key,
        **fields,
    )


async def kit_on(store, **options):
    kit = RoomKit(store=store, **options)
    kit.register_channel(Texts("sms"))
    kit.register_channel(RecordingChannel("ws"))
    await kit.create_room("r1")
    await kit.attach_channel("r1", "sms", metadata={"recipient_id": ANN})
    await kit.attach_channel("r1", "ws")
    return kit


async def outcome(kit, words="hello", room_id="r1"):
    event = await kit.send_event(room_id, "ws", TextContent(body=words))
    (row,) = [row for row in await kit.list_deliveries(room_id, event_id=event.id) if row.channel_id == "sms"]
    return row.state, row.reason


SENT, OPTED_OUT = (DeliveryState.SENT, None), (DeliveryState.SKIPPED, "opted_out")


@pytest.fixture
async def kit():
    kit = await kit_on(InMemoryStore())
    yield kit
    await kit.close()


async def test_a_person_who_said_stop_is_sent_nothing(kit):
    assert await outcome(kit) == SENT
    result = await kit.process_inbound(text("STOP"), room_id="r1")
    assert result.event.type is EventType.CONSENT
    assert await outcome(kit) == OPTED_OUT
    await kit.process_inbound(text("START"), room_id="r1")
    assert await outcome(kit) == SENT


async def test_it_holds_in_every_room_and_channel_of_that_kind(kit):
    """By whatever spelling of the address."""
    kit.register_channel(Texts("other"))
    await kit.create_room("r2")
    await kit.attach_channel("r2", "ws")
    await kit.attach_channel("r2", "sms", metadata={"recipient_id": "+1 (416) 555-0123"})
    await kit.process_inbound(text("STOP", channel="other"), wait="committed")
    assert await outcome(kit, room_id="r2") == OPTED_OUT


def raising(kit):
    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def broken(event, context):
        raise ValueError("down")


async def blocked(kit):
    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def never(event, context):
        return HookResult.block("no")


async def closed(kit):
    await kit.close_room("r1")
    await kit.create_room("r2")
    await kit.attach_channel("r2", "ws")
    await kit.attach_channel("r2", "sms", metadata={"recipient_id": ANN})


async def banned(kit):
    await kit.process_inbound(text("hi"), room_id="r1")
    await kit.remove_participant("r1", ANN, banned=True)


@pytest.mark.parametrize("refuse", [raising, blocked, closed, banned])
async def test_stop_holds_whatever_refuses_its_message(kit, refuse):
    """A gate that is down or says no, a closed room, a banned sender: the event is refused, no more."""
    if (pending := refuse(kit)) is not None:
        await pending
    result = await kit.process_inbound(text("STOP"), room_id="r1")
    assert result.blocked
    assert (await kit.consent("phone", ANN)).state is ConsentState.REVOKED


async def test_stop_holds_when_the_limit_is_used_up():
    kit = await kit_on(InMemoryStore(), inbound_rate_limit={"max_per_second": 1})
    for _ in range(3):
        await kit.process_inbound(text("hi"), room_id="r1", wait="committed")
    result = await kit.process_inbound(text("STOP"), room_id="r1")
    assert result.reason == "rate_limited"
    assert await outcome(kit) == OPTED_OUT
    await kit.close()


class Failing(InMemoryStore):
    broken = False

    async def put_value(self, value, **options):
        if self.broken:
            raise StoreUnavailableError("the database is away")
        return await super().put_value(value, **options)

    async def list_values(self, *arguments, **options):
        if self.broken:
            raise StoreUnavailableError("the database is away")
        return await super().list_values(*arguments, **options)


async def test_what_cannot_be_kept_is_not_acknowledged():
    store = Failing()
    kit = await kit_on(store)
    store.broken = True
    with pytest.raises(StoreUnavailableError):
        await kit.process_inbound(text("STOP"), room_id="r1")
    store.broken = False
    assert await kit.consent("phone", ANN) is None
    await kit.close()


async def test_a_delivery_waits_while_consent_cannot_be_read():
    """It is not a failure of the provider, and no attempt."""
    store = Failing()
    kit = await kit_on(store)
    await kit.set_consent("phone", ANN, "revoked")
    store.broken = True
    event = await kit.send_event("r1", "ws", TextContent(body="hello"), wait="committed")
    await asyncio.sleep(30)
    rows = {row.channel_id: row for row in await kit.list_deliveries("r1", event_id=event.id)}
    assert rows["sms"].state is DeliveryState.PENDING
    store.broken = False
    await asyncio.sleep(90)
    rows = {row.channel_id: row for row in await kit.list_deliveries("r1", event_id=event.id)}
    assert (rows["sms"].state, rows["sms"].reason, rows["sms"].attempts) == (*OPTED_OUT, 0)
    await kit.close()


async def test_one_answer_confirms_it(kit):
    """The first delivery that answers the message, over all its attempts; not the second."""
    result = await kit.process_inbound(text("STOP"), room_id="r1")
    outcomes = []
    for words in ("You will get no more messages.", "Really."):
        event = await kit.send_event("r1", "ws", TextContent(body=words), parent_event_id=result.event.id)
        rows = await kit.list_deliveries("r1", event_id=event.id)
        outcomes.append({(row.state, row.reason) for row in rows if row.channel_id == "sms"})
    assert outcomes == [{SENT}, {OPTED_OUT}]


async def test_a_purpose_is_revoked_alone_or_with_all(kit):
    await kit.set_consent("phone", ANN, "revoked", purpose="marketing")
    assert await outcome(kit) == SENT
    kit.get_channel("sms").purpose = "marketing"
    assert await outcome(kit) == OPTED_OUT
    await kit.set_consent("phone", ANN, ConsentState.GRANTED, purpose="marketing")
    assert await outcome(kit) == SENT
    await kit.set_consent("phone", ANN, "revoked")
    assert await outcome(kit) == OPTED_OUT


async def test_without_an_opt_in_that_is_required_nothing_is_sent():
    kit = await kit_on(InMemoryStore(), require_opt_in={"all"})
    assert await outcome(kit) == OPTED_OUT
    await kit.set_consent("phone", ANN, "granted")
    assert await outcome(kit) == SENT
    await kit.close()


async def test_the_newer_counts_and_a_redelivery_changes_nothing(kit):
    await kit.process_inbound(text("STOP", key="m1"), room_id="r1")
    await kit.process_inbound(text("START", key="m2"), room_id="r1")
    await kit.process_inbound(text("STOP", key="m1"), room_id="r1")
    assert (await kit.consent("phone", ANN)).state is ConsentState.GRANTED
    late = ConsentContent(
        address_type="phone", address=ANN, state=ConsentState.REVOKED, at=utcnow() - timedelta(days=1)
    )
    message = text("x").replace(content=late, event_type=EventType.CONSENT)
    await kit.process_inbound(message, room_id="r1")
    assert (await kit.consent("phone", ANN)).state is ConsentState.GRANTED


async def test_a_sender_speaks_for_their_own_address_only(kit):
    said = ConsentContent(address_type="phone", address="+15550199", state=ConsentState.REVOKED)
    for content in (said, said.replace(address=ANN, address_type="email"), TextContent(body="STOP!")):
        message = text("x").replace(content=content, event_type=EventType.CONSENT)
        with pytest.raises(InvalidInputError):
            await kit.process_inbound(message, room_id="r1")
    assert await kit.consent("phone", "+15550199") is None


async def test_a_recipient_without_an_address_cannot_be_judged():
    class NoAddress(RecordingChannel):
        def consent_purpose(self, event, binding):
            return "all"

    kit = RoomKit()
    for channel in (NoAddress("sms"), RecordingChannel("ws")):
        kit.register_channel(channel)
    await kit.create_room("r1")
    for channel_id in ("sms", "ws"):
        await kit.attach_channel("r1", channel_id)
    event = await kit.send_event("r1", "ws", TextContent(body="hello"))
    (row,) = await kit.list_deliveries("r1", event_id=event.id)
    assert (row.state, row.error.code) == (DeliveryState.FAILED, "missing_recipient")
    await kit.close()


@pytest.mark.parametrize("purpose", [5, ValueError("broken")])
async def test_a_wrong_purpose_fails_the_delivery(kit, purpose):
    """Nothing is sent unjudged."""

    def wrong(event, binding):
        if isinstance(purpose, Exception):
            raise purpose
        return purpose

    kit.get_channel("sms").consent_purpose = wrong
    state, _ = await outcome(kit)
    assert state is DeliveryState.FAILED


async def test_an_organization_has_its_own_register_below_that_of_all(kit):
    acme, zoo = kit.for_organization("acme"), kit.for_organization("zoo")
    await acme.set_consent("phone", ANN, "revoked")
    assert (await acme.consent("phone", ANN)).state is ConsentState.REVOKED
    assert await zoo.consent("phone", ANN) is None
    rooms = [(await tenant.create_room()).id for tenant in (acme, zoo)]
    for room_id in rooms:
        await kit.attach_channel(room_id, "ws")
        await kit.attach_channel(room_id, "sms", metadata={"recipient_id": ANN})
    assert [await outcome(kit, room_id=room_id) for room_id in rooms] == [OPTED_OUT, SENT]
    await kit.set_consent("phone", ANN, "revoked")
    assert await outcome(kit, room_id=rooms[1]) == OPTED_OUT


async def test_a_revocation_survives_the_erasure_of_the_person(kit):
    """As a hash: nothing in the store names them. A grant goes with them; `forget` removes the rest."""
    store = kit.store
    await store.create_identity(Identity(id="ann", display_name="Ann", phone=ANN))
    await kit.process_inbound(text("hi"), room_id="r1")
    await kit.process_inbound(text("STOP"), room_id="r1")
    await kit.set_consent("phone", ANN, "granted", purpose="news")
    assert (await kit.export_person(participant_id=ANN)).values != ()
    receipt = await kit.erase_person(participant_id=ANN)
    (kept,) = [each for each in receipt.retained if each.reason == "suppression"]
    assert kept.count == 1
    assert await kit.consent("phone", ANN, purpose="news") is None
    assert (await kit.consent("phone", ANN)).state is ConsentState.REVOKED
    values = await store.list_values("core.consent", limit=100)
    assert ANN not in "".join(value.model_dump_json() for value in values)
    await kit.create_room("r2")
    await kit.attach_channel("r2", "ws")
    await kit.attach_channel("r2", "sms", metadata={"recipient_id": ANN})
    assert await outcome(kit, room_id="r2") == OPTED_OUT
    with pytest.raises(InvalidInputError, match="suppression"):
        await kit.erase_person(participant_id=ANN, suppression="never")
    await kit.process_inbound(text("hi"), room_id="r2")
    await kit.erase_person(participant_id=ANN, suppression="forget")
    assert await kit.consent("phone", ANN) is None


async def test_an_export_says_which_revocations_are_kept(kit):
    """Under their hash, also those that name no one: a person may know all that is stored about them."""
    await kit.store.create_identity(Identity(id="ann", display_name="Ann", phone=ANN))
    await kit.process_inbound(text("hi"), room_id="r1")
    await kit.process_inbound(text("STOP"), room_id="r1")
    await kit.set_consent("phone", "+14165550999", "revoked")  # another person's
    found = {
        "participant": (await kit.export_person(participant_id=ANN)).values,
        "identity": (await kit.export_person(identity_id="ann")).values,
    }
    for values in found.values():
        (kept,) = [value for value in values if value.namespace == "core.consent"]
        assert (kept.data["state"], kept.data["purpose"]) == ("revoked", "all")
        assert ANN not in "".join(kept.key)


async def test_the_key_of_the_hashes_may_be_configured():
    """Two stores with one key hash alike; with other keys they do not."""
    found = []
    for key in ("a", "a", "b", None):
        store = InMemoryStore()
        kit = RoomKit(store=store, **({} if key is None else {"suppression_key": key}))
        await kit.set_consent("phone", ANN, "revoked")
        values = await store.list_values("core.consent", ("phone",))
        found.append(values[0].key)
        await kit.close()
    assert found[0] == found[1] != found[2]
    assert found[3] not in found[:3]
