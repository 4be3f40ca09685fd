"""A vendor's requests reach any of two workers, on every store: stored once, and answered alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit.abc.provider import WebhookPart
from roomkit.models.channel import RateLimit
from roomkit.models.content import CustomContent, TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit.models.invoke import Invoke, InvokeAnswer, WebhookInvoke
from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from tests.system.workers import in_memory, on_postgres, on_sqlite

type Workers = tuple[RoomKit, RoomKit]


class Vendor:
    """A provider of batches: texts, contents of its own, and commands that the app answers."""

    name = "acme"

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        return [self.read(part, channel_id) for part in request.json()]

    def read(self, part: Mapping[str, Any], channel_id: str) -> WebhookPart:
        content: Any = TextContent(body=part["id"])
        if "ticket" in part:
            content = CustomContent(kind="acme.ticket", body="a ticket", data=part["ticket"])
        message = InboundMessage(
            channel_id=channel_id, sender_id="+1", content=content, idempotency_key=part["id"]
        )
        if "command" in part:
            return WebhookInvoke(
                message=message,
                name="command",
                value=part["command"],
                default=InvokeAnswer(status=202),
                render=lambda answer: WebhookAnswer(status=answer.status, body=str(answer.body)),
            )
        return message


def batch(*parts: Mapping[str, Any]) -> WebhookRequest:
    return WebhookRequest(
        method="POST", url="https://example.org", headers={}, body=json.dumps(parts).encode()
    )


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    """Two started workers on one store, with a channel that has a vendor, and an agent."""
    make = request.param(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    kits = make(), make()
    for kit in kits:
        sms = RecordingChannel("sms")
        sms.provider = Vendor()  # type: ignore[attr-defined]
        kit.register_channel(sms)
        kit.register_channel(ScriptedIntelligence("bot", ["ok"] * 20))
        await kit.start()
    room = await kits[0].create_room()
    for name in ("sms", "bot"):
        await kits[0].attach_channel(room.id, name)
    yield kits
    for kit in kits:
        await kit.close()


async def messages(kit: RoomKit) -> list[RoomEvent]:
    """Return what the vendor's people said, as a worker reads it."""
    (room,) = await kit.store.list_rooms()
    timeline = await kit.get_timeline(room.id, limit=1000)
    return [each for each in timeline if each.type is EventType.MESSAGE and each.source.channel_id == "sms"]


async def test_a_request_that_both_workers_get_is_stored_once(workers: Workers) -> None:
    """Also at the same moment: each message by its key, in the vendor's order."""
    given = batch({"id": "a"}, {"id": "b"}, {"id": "c"})
    outcomes = await asyncio.gather(*(kit.process_webhook(given, "sms") for kit in workers))
    assert [outcome.status for outcome in outcomes] == [200, 200]
    for kit in workers:
        assert [text_of(each.content) for each in await messages(kit)] == ["a", "b", "c"]


async def test_a_message_beyond_the_limit_is_marked_for_every_worker(workers: Workers) -> None:
    """No agent is asked to answer it, on whichever worker, and it stays marked."""
    first, second = workers
    limit = RateLimit(max_per_hour=1)
    first._kernel.entry.inbound._settings = first.settings.model_copy(update={"inbound_rate_limit": limit})
    outcome = await first.process_webhook(batch({"id": "one"}, {"id": "two"}), "sms", wait="settled")
    assert outcome.status == 200
    seen = await messages(second)
    assert [(text_of(each.content), each.limited) for each in seen] == [("one", None), ("two", True)]
    (room,) = await second.store.list_rooms()
    asked = {row.event_id for row in await second.list_deliveries(room.id, channel_id="bot", limit=100)}
    assert asked == {seen[0].id}


async def test_an_invoke_is_answered_by_either_worker_and_stored_once(workers: Workers) -> None:
    """With the room that it is committed to, as each worker locates it."""
    rooms = set()

    async def answer(invoke: Invoke, context: Any) -> HookResult:
        rooms.add(invoke.room_id)
        return HookResult.modify(invoke.answered(f"did {invoke.value}"))

    command = batch({"id": "m1", "command": "BALANCE"})
    answers = []
    for kit in workers:
        kit.hook(HookTrigger.ON_INVOKE)(answer)
        answers.append((await kit.process_webhook(command, "sms")).answer)
    assert answers == [WebhookAnswer(body="did BALANCE")] * 2
    (room,) = await workers[0].store.list_rooms()
    assert rooms == {room.id}
    assert [text_of(each.content) for each in await messages(workers[1])] == ["m1"]


async def test_content_of_a_plugins_own_is_kept_whole(workers: Workers) -> None:
    """As it was given, with what JSON can carry in it."""
    first, second = workers
    data = {"id": 7, "tags": ["a", None, True], "nested": {"x": 1.5}}
    await first.process_webhook(batch({"id": "t", "ticket": data}), "sms")
    (kept,) = await messages(second)
    assert kept.content == CustomContent(kind="acme.ticket", body="a ticket", data=data)
