"""Files that people send: fetched after the commit, by the guarded fetch, with the account's credentials."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.memory import InMemoryMediaStore
from roomkit.models import RoomEvent
from roomkit_plugins.media import FetchConfig, PinnedFetch
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider

ANN = "+14165550123"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@asynccontextmanager
async def imported(
    twilio: TwilioSimulator, config: TwilioConfig, fetch: PinnedFetch
) -> AsyncIterator[tuple[RoomKit, RoomEvent, Any]]:
    """Have a person send a picture, import it; yield the event and the kit's report of the import."""
    async with RoomKit(media=InMemoryMediaStore(), fetch=fetch) as kit:
        reported: asyncio.Queue[Any] = asyncio.Queue(1)
        for kind in ("media_imported", "media_import_failed"):
            kit.on(kind)(reported.put)
        kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
        twilio.connect(lambda request: kit.process_webhook(request, "sms"))
        await twilio.phone(ANN).write("the receipt", files=[("image/png", PNG)])
        (room,) = await kit.store.list_rooms()
        event = next(each for each in await kit.get_timeline(room.id) if each.type == "message")
        assert twilio.requests == []  # neither parsing nor committing fetches anything
        await kit.media.import_later(event.id, types=["image/*"])
        async with asyncio.timeout(10):
            yield kit, event, await reported.get()


async def test_a_picture_is_kept_with_its_message(
    twilio: TwilioSimulator, configure: Callable[..., TwilioConfig]
) -> None:
    """Twilio gives it to the account alone; the operator of this test allows the simulator's address."""
    fetch = PinnedFetch(FetchConfig(allow_hosts=(twilio.origin.removeprefix("http://"),)))
    async with imported(twilio, configure(), fetch) as (kit, event, report):
        assert (event.source.channel_type, event.content.caption) == ("mms", "the receipt")
        assert report.type == "media_imported"
        stored = await kit.store.get_event(event.id)
        data = b"".join([piece async for piece in kit.media.open(stored.content.url)])
        assert (data, stored.content.caption, stored.content.mime_type) == (PNG, "the receipt", "image/png")
    given = twilio.requests[0].headers["authorization"].split()[1]
    assert b64decode(given).decode() == f"{twilio.account_sid}:{twilio.auth_token}"


async def test_the_vendors_urls_are_no_exception_to_the_guard(
    twilio: TwilioSimulator, configure: Callable[..., TwilioConfig]
) -> None:
    """A URL to this machine is refused, whatever the webhook's signature; nothing is requested from there."""
    async with imported(twilio, configure(), PinnedFetch()) as (kit, event, report):
        assert (report.type, report.data["code"]) == ("media_import_failed", "fetch_refused")
        assert (await kit.store.get_event(event.id)).content == event.content
    assert twilio.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://api.twilio.com.evil.example/x",
        "https://evil.example/https://api.twilio.com/x",
        "https://api.twilio.com@evil.example/x",
        "http://api.twilio.com/x",
        "https://api.twilio.com:8443/x",
        "//api.twilio.com/x",
        "not a url",
        "https://[",
    ],
)
def test_credentials_are_for_twilio_alone(url: str, configure: Callable[..., TwilioConfig]) -> None:
    """A webhook can name any URL: another host, port or scheme gets none."""
    channel = SMSChannel("sms", provider=TwilioSMSProvider(configure(base_url="https://api.twilio.com")))
    assert channel.file_headers("https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1")
    assert channel.file_headers(url) == {}
