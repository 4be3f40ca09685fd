"""What happens to one person over several plugins."""

from __future__ import annotations

import asyncio

import pytest

from roomkit import Identity, RoomKit, TextContent, text_of
from roomkit.testing import MockIdentityResolver
from tests.contract_sketches.stage import Vendor, Workers
from tests.contract_sketches.test_mail import arrives, mails
from tests.contract_sketches.test_sms import carrier_says, text, texts

pytestmark = pytest.mark.virtual_time

NUMBER, ADDRESS = "+14165550123", "ann@example.com"


async def campaign(kit: RoomKit, room_id: str, words: str) -> list[tuple[str, str, str | None]]:
    """Write to Ann by text and by mail, in a new room; return what became of it."""
    await kit.create_room(room_id)
    await kit.attach_channel(room_id, "texts", metadata={"recipient_id": NUMBER})
    await kit.attach_channel(room_id, "mail", metadata={"email_address": ADDRESS})
    await kit.send_event(room_id, "system", TextContent(body=words))
    return [(row.channel_id, row.state, row.reason) for row in await kit.list_deliveries(room_id)]


async def test_an_erased_persons_opt_out_holds_and_nothing_else_of_hers_is_left(workers: Workers) -> None:
    """She texted and mailed; said STOP by text on one worker, and was erased on the other."""
    carrier, post = Vendor(), Vendor()
    ann = Identity(id="ann", channel_addresses={"sms": [NUMBER], "email": [ADDRESS]})
    kits = [
        await workers.start(
            texts(carrier),
            mails(post),
            identity_resolver=MockIdentityResolver({NUMBER: ann, ADDRESS: ann}, script=[]),
        )
        for _ in range(2)
    ]
    outcome = await carrier_says(kits[0], text("in1", "my lamp flickers"))
    (texted,) = [result.event.room_id for result in outcome.results]  # type: ignore[union-attr]
    mailed = (await arrives(kits[1], "first", "see the picture")).room_id
    for room_id in (texted, mailed):
        await kits[0].send_event(room_id, "system", TextContent(body="Dear Ann, unplug it."))
    await carrier_says(kits[0], text("in2", "STOP"))
    assert await campaign(kits[1], "spring", "Spring sale!") == [
        ("texts", "skipped", "opted_out"),
        ("mail", "sent", None),
    ]

    receipt = await kits[1].erase_person(identity_id="ann")
    assert any("suppression" in str(kept) for kept in receipt.retained), receipt
    for room_id in (texted, mailed):
        left = [text_of(event.content) for event in await kits[0].get_timeline(room_id)]
        assert not {"my lamp flickers", "see the picture", "STOP"} & {*left}, left
        for binding in await kits[0].list_bindings(room_id):
            assert NUMBER not in str(binding), binding
            assert ADDRESS not in str(binding), binding
    assert (await kits[0].erase_person(identity_id="ann")).found_nothing

    sent = len(carrier.texts)
    assert await campaign(kits[0], "summer", "Summer sale!") == [
        ("texts", "skipped", "opted_out"),
        ("mail", "sent", None),
    ]
    assert len(carrier.texts) == sent
    await asyncio.sleep(3600)
    await carrier_says(kits[1], text("in3", "START"))
    assert ("texts", "sent", None) in await campaign(kits[0], "autumn", "Autumn sale!")
