"""A WhatsApp plugin in small."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roomkit import EventType, InboundResult, RoomKit, TextContent, WebhookRequest
from tests.contract_sketches.stage import Vendor, Workers, killed, until_killed, worker_on
from tests.contract_sketches.whatsapp import CloudProvider, WhatsAppChannel

ANN = "+14165550123"


def whatsapp(vendor: Vendor) -> WhatsAppChannel:
    return WhatsAppChannel("whatsapp", CloudProvider(vendor.post))


async def ann_writes(kit: RoomKit, number: int) -> str:
    said = {"id": f"in{number}", "from": ANN, "text": f"hello {number}", "at": kit.clock.now().isoformat()}
    body = json.dumps(said).encode()
    request = WebhookRequest(
        method="POST", url="https://example.org", headers={"X-Token": "token"}, body=body
    )
    (result,) = (await kit.process_webhook(request, "whatsapp")).results
    assert isinstance(result, InboundResult)
    assert result.event is not None, result
    return result.event.room_id


@pytest.mark.virtual_time
async def test_after_a_day_of_silence_a_template_goes_out_and_the_ledger_says_so(workers: Workers) -> None:
    """The other worker sends it: the window is in the binding's state."""
    vendor = Vendor()
    kits = [await workers.start(whatsapp(vendor), lease_seconds=3600) for _ in range(2)]
    room_id = await ann_writes(kits[0], 0)
    await kits[1].send_event(room_id, "system", TextContent(body="It is on its way."))
    await asyncio.sleep(23 * 3600)
    await kits[1].send_event(room_id, "system", TextContent(body="It is late."))
    await asyncio.sleep(2 * 3600)
    await kits[1].send_event(room_id, "system", TextContent(body="It has arrived."))
    assert [sent["kind"] for sent in vendor.messages] == ["text", "text", "follow_up"]
    rows = await kits[0].list_deliveries(room_id, channel_id="whatsapp")
    assert [row.rendered and row.rendered.type for row in rows] == [None, None, "template"]
    await ann_writes(kits[0], 1)
    await kits[1].send_event(room_id, "system", TextContent(body="Good."))
    assert vendor.messages[-1]["kind"] == "text"


@pytest.mark.virtual_time
async def test_the_window_writes_nothing_to_the_timeline(workers: Workers) -> None:
    """Eleven messages are eleven entries beside the channel's own arrival."""
    kit = await workers.start(whatsapp(Vendor()))
    for number in range(11):
        room_id = await ann_writes(kit, number)
    types = [event.type for event in await kit.get_timeline(room_id)]
    assert types.count(EventType.MESSAGE) == 11
    assert EventType.CHANNEL_UPDATED not in types


@pytest.mark.virtual_time
async def test_the_challenge_of_the_subscription_is_answered(workers: Workers) -> None:
    kit = await workers.start(whatsapp(Vendor()))
    url = "https://example.org/hook?hub.verify_token=token&hub.challenge=1158"
    outcome = await kit.process_webhook(WebhookRequest(method="GET", url=url, headers={}), "whatsapp")
    assert (outcome.status, outcome.answer.body) == (200, "1158")


async def _hear_and_die(folder: Path) -> None:
    vendor = Vendor(folder / "sent", dies_at=1)
    async with worker_on(folder, whatsapp(vendor)) as kit:
        room_id = await ann_writes(kit, 0)
        await kit.send_event(room_id, "system", TextContent(body="It is on its way."))
        await until_killed()


async def test_the_window_outlives_the_worker_that_heard_the_person(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    await killed(_hear_and_die, tmp_path)
    vendor = Vendor(tmp_path / "sent")
    async with worker_on(tmp_path, whatsapp(vendor)) as kit:
        await vendor.is_asked(1)
        room_id = await ann_writes(kit, 0)  # the vendor repeats unanswered webhooks
        binding = await kit.get_binding(room_id, "whatsapp")
        assert datetime.fromisoformat(binding.state["wrote_at"]) >= began
        await kit.send_event(room_id, "system", TextContent(body="It is late."))
        assert [sent["kind"] for sent in vendor.messages] == ["text", "text"]
