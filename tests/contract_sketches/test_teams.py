"""A Teams plugin in small."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    ChannelType,
    HookResult,
    HookTrigger,
    Invoke,
    RoomContext,
    RoomKit,
    TextContent,
    WebhookRequest,
)
from tests.contract_sketches.stage import Vendor, Workers, killed, until_killed, worker_on
from tests.contract_sketches.teams import BotProvider, TeamsBotChannel


def teams(vendor: Vendor, conversations: Vendor) -> TeamsBotChannel:
    return TeamsBotChannel("teams", BotProvider(conversations.post, vendor.post))


async def activity(kit: RoomKit, kind: str, **fields: Any) -> tuple[int, Any]:
    facts = {"type": kind, "id": "a1", "from": "ann", "conversation": "c7", "tenant": "acme", **fields}
    headers = {"Authorization": "Bearer token"}
    body = json.dumps(facts).encode()
    request = WebhookRequest(method="POST", url="https://example.org", headers=headers, body=body)
    answer = (await kit.process_webhook(request, "teams")).answer
    return answer.status, answer.body


@pytest.mark.virtual_time
async def test_an_invoke_is_answered_by_the_app_on_whichever_worker_it_reaches(workers: Workers) -> None:
    """The gate knows the room; the invoke is in the timeline whatever was answered."""
    kits = [await workers.start(teams(Vendor(), Vendor())) for _ in range(2)]
    asked: list[str | None] = []
    for kit in kits:

        @kit.hook(HookTrigger.ON_INVOKE, channel_types={ChannelType.TEAMS})
        async def balance(invoke: Invoke, context: RoomContext) -> HookResult:
            asked.append(invoke.room_id)
            return HookResult.modify(invoke.answered({"balance": 42}))

    assert await activity(kits[0], "message", text="hello") == (200, b"")
    for number, kit in enumerate((*kits, kits[0])):
        invoke = {"id": f"i{number % 2}", "name": "balance", "value": {}}
        assert await activity(kit, "invoke", **invoke) == (200, '{"balance": 42}')
    (room,) = await kits[0].for_organization("acme").find_rooms()
    assert asked == [room.id] * 3
    texts = [getattr(event.content, "body", "") for event in await kits[1].get_timeline(room.id)]
    assert texts.count("[balance]") == 2


@pytest.mark.virtual_time
async def test_an_invoke_that_the_app_answers_too_late_has_its_default_answer(workers: Workers) -> None:
    kit = await workers.start(teams(Vendor(), Vendor()))

    @kit.hook(HookTrigger.ON_INVOKE, timeout=60)
    async def slow(invoke: Invoke, context: RoomContext) -> HookResult:
        await asyncio.sleep(20)
        return HookResult.modify(invoke.answered({"balance": 42}))

    began = asyncio.get_running_loop().time()
    answer = await activity(kit, "invoke", name="balance", value={})
    assert answer == (200, '{"statusCode": 202}')
    assert asyncio.get_running_loop().time() - began == 8
    assert await activity(kit, "validation", token="t1") == (200, "t1")
    assert await activity(kit, "installationUpdate") == (200, b"")


@pytest.mark.virtual_time
async def test_a_burst_to_a_new_contact_opens_one_conversation_that_every_worker_keeps(
    workers: Workers,
) -> None:
    vendor, conversations = Vendor(), Vendor()
    kits = [await workers.start(teams(vendor, conversations)) for _ in range(2)]
    await kits[0].create_room("r1", organization_id="acme")
    await kits[0].attach_channel("r1", "teams", metadata={"teams_user": "ann"})
    said = [kits[number % 2].send_event("r1", "system", TextContent(body=f"{number}")) for number in range(6)]
    await asyncio.gather(*said)
    assert conversations.texts == ["ann"]
    assert {sent["conversation"] for sent in vendor.messages} == {"m1"}
    assert len(vendor.messages) == 6
    binding = await kits[1].get_binding("r1", "teams")
    assert "conversation" not in json.dumps(binding.client_view())


async def _contact_and_die(folder: Path) -> None:
    vendor, conversations = Vendor(folder / "sent", dies_at=1), Vendor(folder / "conversations")
    async with worker_on(folder, teams(vendor, conversations)) as kit:
        await kit.create_room("r1")
        await kit.attach_channel("r1", "teams", metadata={"teams_user": "ann"})
        await kit.send_event("r1", "system", TextContent(body="hello"))
        await until_killed()


async def test_a_conversation_that_its_worker_died_of_is_found_again(tmp_path: Path) -> None:
    """Between the vendor's answer and the binding's state: the delivery is re-run under its key."""
    await killed(_contact_and_die, tmp_path)
    vendor, conversations = Vendor(tmp_path / "sent"), Vendor(tmp_path / "conversations")
    async with worker_on(tmp_path, teams(vendor, conversations)) as kit:
        await vendor.is_asked(1)
        await kit.send_event("r1", "system", TextContent(body="are you there?"))
        assert vendor.texts == ["hello", "are you there?"]
        assert {sent["conversation"] for sent in vendor.messages} == {"m1"}
        assert len(conversations.messages) == 1
