"""A SMS plugin in small."""

from __future__ import annotations

import asyncio
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    ChannelType,
    HookResult,
    HookTrigger,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebhookOutcome,
    WebhookRequest,
)
from roomkit.testing import ScriptedIntelligence
from tests.contract_sketches.sms import CarrierChannel, CarrierProvider, signature
from tests.contract_sketches.stage import Vendor, Workers, killed, until_killed, worker_on

ANN = "+14165550123"


async def refused(*_: Any, **__: Any) -> str:
    raise ConnectionRefusedError("down")


def texts(vendor: Vendor, **options: Any) -> CarrierChannel:
    return CarrierChannel("texts", [CarrierProvider("first", vendor.post)], **options)


async def carrier_says(kit: RoomKit, *items: dict[str, Any], provider: str | None = None) -> WebhookOutcome:
    body = json.dumps(items).encode()
    headers = {"X-Carrier-Signature": signature(b"secret", body)}
    request = WebhookRequest(method="POST", url="https://example.org/texts", headers=headers, body=body)
    outcome = await kit.process_webhook(request, "texts", provider)
    assert outcome.status == 200, outcome
    return outcome


def text(number: str, words: str, sender: str = ANN) -> dict[str, Any]:
    return {"id": number, "from": sender, "to": "+15550100", "text": words}


@pytest.mark.virtual_time
async def test_a_strangers_first_text_is_answered_and_opens_one_room_on_two_workers(workers: Workers) -> None:
    """Both texts come at once, each to another worker, and the second spelling is the same person."""
    vendor = Vendor()
    kits = [await workers.start(texts(vendor)) for _ in range(2)]
    spellings = (ANN, "+1 (416) 555-0123")
    outcomes = await asyncio.gather(
        *(
            carrier_says(kit, text(f"in{number}", f"hello {number}", spelling))
            for number, (kit, spelling) in enumerate(zip(kits, spellings, strict=True))
        )
    )
    rooms = {result.event.room_id for outcome in outcomes for result in outcome.results}  # type: ignore[union-attr]
    (room_id,) = rooms
    await kits[1].send_event(room_id, "system", TextContent(body="How can we help?"))
    assert [(sent["to"], sent["text"]) for sent in vendor.messages] == [(ANN, "How can we help?")]


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "order",
    [pytest.param(each, id=" ".join(each)) for each in permutations(["dispatched", "arrived", "odd"])],
)
async def test_receipts_find_their_text_in_any_order_on_any_worker(
    workers: Workers, order: tuple[str, ...]
) -> None:
    """A word that the plugin does not know changes nothing."""
    vendor = Vendor()
    kits = [await workers.start(texts(vendor)) for _ in range(2)]
    await kits[0].create_room("r1")
    await kits[0].attach_channel("r1", "texts", metadata={"recipient_id": ANN})
    await kits[0].send_event("r1", "system", TextContent(body="Ready."))
    for number, state in enumerate(order):
        await carrier_says(kits[number % 2], {"id": vendor.messages[0]["id"], "state": state})
    (row,) = await kits[1].list_deliveries("r1")
    assert (row.receipt, row.provider) == ("delivered", "first")


@pytest.mark.virtual_time
async def test_the_carrier_that_sent_is_in_the_ledger_and_its_receipts_match(workers: Workers) -> None:
    vendor = Vendor()
    providers = [CarrierProvider("first", refused), CarrierProvider("second", vendor.post)]
    kit = await workers.start(CarrierChannel("texts", providers))
    await kit.create_room("r1")
    await kit.attach_channel("r1", "texts", metadata={"recipient_id": ANN})
    await kit.send_event("r1", "system", TextContent(body="Ready."))
    receipt = {"id": vendor.messages[0]["id"], "state": "partially_delivered"}
    await carrier_says(kit, receipt, provider="second")
    (row,) = await kit.list_deliveries("r1")
    assert (row.state, row.provider, row.receipt) == ("sent", "second", "partial")


@pytest.mark.virtual_time
async def test_stop_holds_in_every_room_on_every_worker_while_a_gate_is_down(workers: Workers) -> None:
    """A campaign is pending behind the number's pace: the rest of it is skipped."""
    vendor = Vendor()
    kits = [await workers.start(texts(vendor, per_second=1)) for _ in range(2)]
    for room_id in ("r1", "r2"):
        await kits[0].create_room(room_id)
        await kits[0].attach_channel(room_id, "texts", metadata={"recipient_id": ANN, "from_": "+15550101"})

    @kits[1].hook(HookTrigger.BEFORE_BROADCAST)
    async def down(event: object, context: object) -> None:
        raise RuntimeError("the gate is down")

    campaign = [
        asyncio.create_task(kits[0].send_event(room_id, "system", TextContent(body=f"{room_id}: {number}")))
        for number in range(3)
        for room_id in ("r1", "r2")
    ]
    await vendor.sends(2)
    await carrier_says(kits[1], text("stop1", " Stop "))
    sent = len(vendor.texts)
    await asyncio.gather(*campaign)
    rows = [row for room_id in ("r1", "r2") for row in await kits[1].list_deliveries(room_id)]
    assert [row.reason for row in rows if row.state == "skipped"] == ["opted_out"] * (6 - sent)
    assert len(vendor.texts) == sent < 6
    await carrier_says(kits[0], text("start1", "START"))
    await kits[0].send_event("r2", "system", TextContent(body="Welcome back."))
    assert vendor.texts[-1] == "Welcome back."


@pytest.mark.virtual_time
async def test_a_picture_passes_the_filters_for_texts(workers: Workers) -> None:
    """A STOP filter that is made for texts must see it, and what it answers goes out."""
    vendor = Vendor()
    kit = await workers.start(texts(vendor), ScriptedIntelligence("agent", ["Nice lamp!"]))
    seen = []

    @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_types={ChannelType.SMS})
    async def of_texts(event: RoomEvent, context: RoomContext) -> HookResult:
        seen.append(event.source.channel_type)
        return HookResult.allow()

    await kit.create_room("r1")
    await kit.attach_channel("r1", "agent")
    await kit.attach_channel("r1", "texts", metadata={"recipient_id": ANN})
    await carrier_says(kit, {**text("in1", "look"), "picture": "https://example.org/lamp.jpg"})
    assert await vendor.sends(1) == ["Nice lamp!"]
    assert seen == ["mms"]


async def _send_and_die(folder: Path) -> None:
    vendor = Vendor(folder / "sent", dies_at=2)
    async with worker_on(folder, texts(vendor)) as kit:
        await kit.create_room("r1")
        await kit.attach_channel("r1", "texts", metadata={"recipient_id": ANN})
        vendor.answers.clear()
        for number in range(3):
            await kit.send_event("r1", "system", TextContent(body=f"{number}"), wait="committed")
        vendor.answers.set()
        await until_killed()


async def test_a_worker_that_dies_after_the_carrier_took_a_text_loses_and_repeats_none(
    tmp_path: Path,
) -> None:
    await killed(_send_and_die, tmp_path)
    vendor = Vendor(tmp_path / "sent")
    async with worker_on(tmp_path, texts(vendor)):
        assert await vendor.sends(3) == ["0", "1", "2"]
        assert len({message["key"] for message in vendor.messages}) == 3
