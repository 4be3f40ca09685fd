"""Files that people send by WhatsApp: asked for by their id at the import, with the token for Meta alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.memory import InMemoryMediaStore
from roomkit.models import RoomEvent
from roomkit_plugins.media import FetchConfig, PinnedFetch
from roomkit_plugins.testing.simulators import WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppChannel, WhatsAppCloudConfig, WhatsAppCloudProvider

ANN = "+14165550123"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
async def whatsapp() -> AsyncIterator[WhatsAppSimulator]:
    """Return the vendor, running."""
    async with WhatsAppSimulator() as simulator:
        yield simulator


@asynccontextmanager
async def imported(
    whatsapp: WhatsAppSimulator, fetch: PinnedFetch, *, expires: bool = False
) -> AsyncIterator[tuple[RoomKit, RoomEvent, Any]]:
    """Have a person send a picture, import it; yield the event and the kit's report of the import."""
    async with RoomKit(media=InMemoryMediaStore(), fetch=fetch) as kit:
        reported: asyncio.Queue[Any] = asyncio.Queue(1)
        for kind in ("media_imported", "media_import_failed"):
            kit.on(kind)(reported.put)
        provider = WhatsAppCloudProvider(WhatsAppCloudConfig(**whatsapp.settings))
        kit.register_channel(WhatsAppChannel("whatsapp", provider=provider))
        whatsapp.connect(lambda request: kit.process_webhook(request, "whatsapp"))
        await whatsapp.phone(ANN).send_file("image", "image/png", PNG, caption="the receipt")
        (room,) = await kit.store.list_rooms()
        event = next(each for each in await kit.get_timeline(room.id) if each.type == "message")
        assert whatsapp.requests == []  # neither parsing nor committing fetches anything
        if expires:
            whatsapp.expire_files()
        await kit.media.import_later(event.id, types=["image/*"])
        async with asyncio.timeout(10):
            yield kit, event, await reported.get()


def allowing(whatsapp: WhatsAppSimulator) -> PinnedFetch:
    return PinnedFetch(FetchConfig(allow_hosts=(whatsapp.origin.removeprefix("http://"),)))


async def test_a_picture_is_kept_with_its_message(whatsapp: WhatsAppSimulator) -> None:
    """The place of the file is asked for first, which is valid for minutes; it is in no event."""
    async with imported(whatsapp, allowing(whatsapp)) as (kit, event, report):
        assert report.type == "media_imported"
        stored = await kit.store.get_event(event.id)
        assert stored is not None
        data = b"".join([piece async for piece in kit.media.open(stored.content.url)])
        assert (data, stored.content.caption, stored.content.mime_type) == (PNG, "the receipt", "image/png")
    asked, fetched = whatsapp.requests
    assert asked.query["phone_number_id"] == whatsapp.phone_number_id
    assert fetched.path.startswith("/files/")
    assert fetched.headers["authorization"] == f"Bearer {whatsapp.access_token}"


async def test_a_file_that_expired_is_reported(whatsapp: WhatsAppSimulator) -> None:
    async with imported(whatsapp, allowing(whatsapp), expires=True) as (kit, event, report):
        assert (report.type, report.data["code"]) == ("media_import_failed", "not_found")
        stored = await kit.store.get_event(event.id)
        assert stored is not None
        assert stored.content == event.content


async def test_the_guard_holds_for_where_the_vendor_says_a_file_is(whatsapp: WhatsAppSimulator) -> None:
    async with imported(whatsapp, PinnedFetch()) as (_, _, report):
        assert (report.type, report.data["code"]) == ("media_import_failed", "fetch_refused")
    assert len(whatsapp.requests) == 1
