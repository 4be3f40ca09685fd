"""People on WhatsApp over several workers: which number and user id belong together is in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roomkit import RoomKit, TemplateContent, TextContent, text_of
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.simulators import WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppChannel, WhatsAppCloudConfig, WhatsAppCloudProvider

ANN, BEN = "+14165550123", "+14165550124"


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppSimulator]:
    """Return the vendor, running."""
    async with WhatsAppSimulator() as simulator:
        yield simulator


@asynccontextmanager
async def worker(whatsapp: WhatsAppSimulator, folder: Path) -> AsyncIterator[RoomKit]:
    """Run a kit on the file of all workers, which takes the webhooks from now on."""
    async with RoomKit(store=SQLiteStore(folder / "rooms.db"), single_process=True) as kit:
        provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**whatsapp.settings))
        kit.register_channel(WhatsAppChannel("whatsapp", provider=provider))
        whatsapp.connect(lambda request: kit.process_webhook(request, "whatsapp"))
        yield kit


async def said(kit: RoomKit, room_id: str) -> list[tuple[str | None, str]]:
    """Return who wrote what by WhatsApp."""
    return [
        (event.source.participant_id, text_of(event.content))
        for event in await kit.get_timeline(room_id)
        if event.type == "message" and event.source.channel_id == "whatsapp"
    ]


async def test_a_person_stays_one_over_a_restart(whatsapp: WhatsAppSimulator, tmp_path: Path) -> None:
    """Written to by number, known by both, then by the user id alone; the window is open for all workers."""
    ann = whatsapp.phone(ANN)
    async with worker(whatsapp, tmp_path) as kit:
        await kit.create_room("r1")
        await kit.attach_channel("r1", "whatsapp", metadata={"phone_number": ANN})
        await kit.send_event("r1", "system", TemplateContent(template_id="hello_world", body="Hello"))
        await ann.write("one")
    ann.hides_number = True
    async with worker(whatsapp, tmp_path) as kit:
        await ann.write("two")
        assert await said(kit, "r1") == [(ANN, "one"), (ANN, "two")]
        await kit.send_event("r1", "system", TextContent(body="Hello Ann"))
        assert ann.texts == ["hello_world", "Hello Ann"]
        assert [room.id for room in await kit.store.list_rooms()] == ["r1"]


async def test_a_new_number_is_followed_over_a_restart(whatsapp: WhatsAppSimulator, tmp_path: Path) -> None:
    ann, ben = whatsapp.phone(ANN), whatsapp.phone(BEN)
    async with worker(whatsapp, tmp_path) as kit:
        await ann.write("one")
        (room,) = await kit.store.list_rooms()
        await ann.change_number(BEN)
    async with worker(whatsapp, tmp_path) as kit:
        await ben.write("two")
        assert [text for _, text in await said(kit, room.id)] == ["one", "two"]
        await kit.send_event(room.id, "system", TextContent(body="Noted"))
        assert (ann.texts, ben.texts) == ([], ["Noted"])


async def test_an_erased_person_is_forgotten(whatsapp: WhatsAppSimulator, tmp_path: Path) -> None:
    """Which ids belonged together goes with the person."""
    ann = whatsapp.phone(ANN)
    async with worker(whatsapp, tmp_path) as kit:
        await ann.write("one")
        provider = kit.get_channel("whatsapp").provider  # type: ignore[union-attr]
        values = provider.services.values
        assert {value.key[1] async for value in values.scan("person")} == {ANN, ann.user_id}
        await kit.erase_person(participant_id=ann.user_id)
        assert [value async for value in values.scan("person")] == []
