"""An e-mail plugin in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    ChannelData,
    ChannelType,
    EventSource,
    InboundMessage,
    RoomEvent,
    RoomKit,
    TextContent,
    WebhookRequest,
)
from roomkit.testing import RecordingChannel
from tests.contract_sketches.mail import MailChannel, MailProvider
from tests.contract_sketches.stage import Vendor, Workers, killed, until_killed, worker_on

ANN, BOB = "ann@example.com", "bob@example.com"


def mails(vendor: Vendor, channel_id: str = "mail", **options: Any) -> MailChannel:
    return MailChannel(channel_id, MailProvider(vendor.post, **options))


async def arrives(kit: RoomKit, number: str, text: str, channel: str = "mail", **fields: Any) -> RoomEvent:
    mail = {"id": f"<{number}@example.com>", "from": ANN, "subject": "Broken lamp", "text": text, **fields}
    headers = {"Authorization": "Bearer token"}
    request = WebhookRequest(
        method="POST", url="https://example.org", headers=headers, body=json.dumps(mail).encode()
    )
    outcome = await kit.process_webhook(request, channel)
    (result,) = outcome.results
    assert outcome.status == 200, outcome
    assert result is not None
    assert not isinstance(result, RoomEvent)
    event = getattr(result, "event", None)
    assert isinstance(event, RoomEvent), result
    return event


async def texted_first(kit: RoomKit) -> str:
    """Have Ann write by text, and be answered by mail; return the room."""
    text = InboundMessage(channel_id="texts", sender_id="+15550100", content=TextContent(body="my lamp!"))
    result = await kit.process_inbound(text)
    assert result.event is not None
    room_id = result.event.room_id
    await kit.attach_channel(room_id, "mail", metadata={"email_address": ANN})
    await kit.send_event(room_id, "system", TextContent(body="A form is attached."))
    return room_id


@pytest.mark.virtual_time
async def test_a_reply_by_mail_goes_to_the_room_that_texted_first(workers: Workers) -> None:
    """On another worker, although Ann has another room with this mailbox."""
    vendor = Vendor()
    kits = [await workers.start(mails(vendor), RecordingChannel("texts")) for _ in range(2)]
    other = await arrives(kits[0], "other", "About something else")
    room_id = await texted_first(kits[0])
    form = vendor.messages[-1]["key"]
    reply = await arrives(kits[1], "reply", "Filled in.", in_reply_to=form, references=["<gone@x>", form])
    assert (reply.room_id, other.room_id == room_id) == (room_id, False)
    sent = [event for event in await kits[1].get_timeline(room_id) if event.source.channel_id == "system"]
    assert reply.parent_event_id == sent[-1].id


@pytest.mark.virtual_time
async def test_a_stranger_who_names_a_mail_of_ours_gets_a_room_of_their_own(workers: Workers) -> None:
    """Anyone who has seen a Message-ID can write it: it is content, not authority."""
    vendor = Vendor()
    kit = await workers.start(mails(vendor), RecordingChannel("texts"))
    room_id = await texted_first(kit)
    eve = await arrives(kit, "eve", "Me too", in_reply_to=vendor.messages[-1]["key"], **{"from": "eve@x.org"})
    assert eve.room_id != room_id


@pytest.mark.virtual_time
async def test_an_answer_continues_a_thread_of_any_age_with_its_readers(workers: Workers) -> None:
    """After 60 other messages the first mail is far beyond what a delivery is shown of the timeline."""
    vendor = Vendor()
    kit = await workers.start(mails(vendor), RecordingChannel("web"))
    event = await arrives(kit, "first", "It flickers", cc=[BOB])
    await kit.attach_channel(event.room_id, "web", visibility="none")
    for number in range(60):
        await kit.send_event(event.room_id, "web", TextContent(body=f"note {number}"), visibility="none")
    await kit.send_event(event.room_id, "system", TextContent(body="Unplug it."))
    await kit.send_event(event.room_id, "system", TextContent(body="And plug it in."))
    one, two = vendor.messages
    assert (one["subject"], one["cc"], one["references"]) == (
        "Re: Broken lamp",
        [BOB],
        ["<first@example.com>"],
    )
    assert two["references"] == ["<first@example.com>", one["key"]]


@pytest.mark.virtual_time
async def test_the_program_says_cc_and_subject_for_one_mail(workers: Workers) -> None:
    vendor = Vendor()
    kit = await workers.start(mails(vendor))
    await kit.create_room("r1")
    await kit.attach_channel("r1", "mail", metadata={"email_address": ANN})
    draft = RoomEvent(
        room_id="r1",
        source=EventSource(channel_id="system", channel_type=ChannelType.SYSTEM),
        content=TextContent(body="Your invoice"),
        channel_data=ChannelData(extra={"email": {"subject": "Invoice 7", "cc": [BOB]}}),
    )
    await kit.send_event("r1", "system", draft)
    await kit.send_event("r1", "system", TextContent(body="Is it paid?"))
    said = [(mail["subject"], mail["cc"], mail["text"]) for mail in vendor.messages]
    assert said == [("Invoice 7", [BOB], "Your invoice"), ("Your request", [], "Is it paid?")]


@pytest.mark.virtual_time
async def test_one_message_id_in_two_mailboxes_is_two_messages(workers: Workers) -> None:
    vendor = Vendor()
    kit = await workers.start(mails(vendor), mails(vendor, "sales"))
    here = await arrives(kit, "same", "to both")
    there = await arrives(kit, "same", "to both", "sales")
    again = await arrives(kit, "same", "to both")
    assert (here.id == there.id, here.id == again.id) == (False, True)


async def _answer_and_die(folder: Path) -> None:
    vendor = Vendor(folder / "sent", dies_at=1)
    async with worker_on(folder, mails(vendor)) as kit:
        event = await arrives(kit, "first", "It flickers")
        await kit.send_event(event.room_id, "system", TextContent(body="Unplug it."))
        await until_killed()


async def test_a_mail_that_its_worker_died_of_is_sent_once_and_its_thread_goes_on(tmp_path: Path) -> None:
    await killed(_answer_and_die, tmp_path)
    vendor = Vendor(tmp_path / "sent")
    async with worker_on(tmp_path, mails(vendor)) as kit:
        await vendor.is_asked(1)
        reply = await arrives(kit, "second", "I did", in_reply_to=vendor.messages[0]["key"])
        await kit.send_event(reply.room_id, "system", TextContent(body="And plug it in."))
    one, two = vendor.messages
    assert one["text"] == "Unplug it."
    assert two["references"] == ["<first@example.com>", one["key"], "<second@example.com>"]
