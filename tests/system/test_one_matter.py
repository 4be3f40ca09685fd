"""One matter over many channels: a customer by SMS, mail, WhatsApp and Telegram, a colleague in Teams.

Its worker is killed twice on the way, and a vendor fails in between; another worker goes on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roomkit.models import Delivery, DeliveryState, EventType, ReceiptState, RoomEvent, text_of
from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import (
    Failure,
    MailboxSimulator,
    MailServerSimulator,
    TeamsSimulator,
    TelegramSimulator,
    TelnyxSimulator,
    TwilioSimulator,
    WhatsAppSimulator,
)
from tests.system.one_matter import ANN, BEN, CHAT, DESK, MAIL, SITE

PNG = ("image/png", b"\x89PNG\r\n\x1a\n0")


class Town:
    """Every vendor, and the worker that they call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        users = {DESK: "p"}
        self.twilio = TwilioSimulator(webhook_url=f"{SITE}/webhooks/sms/twilio")
        self.telnyx = TelnyxSimulator()
        self.whatsapp = WhatsAppSimulator()
        self.telegram = TelegramSimulator()
        self.teams = TeamsSimulator()
        self.smtp = MailServerSimulator(users=users)
        self.imap = MailboxSimulator(users=users)
        self.worker: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def vendors(self) -> tuple[Any, ...]:
        return (self.twilio, self.telnyx, self.whatsapp, self.telegram, self.teams, self.smtp, self.imap)

    def settings(self) -> str:
        """Return what a worker is given."""
        mail: dict[str, Any] = {"username": DESK, "password": "p"}
        telnyx = {"api_key": self.telnyx.api_key, "from_number": self.telnyx.numbers[0]}
        return json.dumps(
            {
                "folder": str(self.folder),
                "twilio": {
                    "account_sid": self.twilio.account_sid,
                    "auth_token": self.twilio.auth_token,
                    "from_number": self.twilio.numbers[0],
                    "base_url": self.twilio.origin,
                    "status_callback_url": f"{SITE}/webhooks/sms/twilio",
                },
                "telnyx": {**telnyx, "base_url": self.telnyx.origin},
                "whatsapp": self.whatsapp.settings,
                "telegram": {
                    "bot_token": self.telegram.bot_token,
                    "webhook_secret": self.telegram.webhook_secret,
                    "base_url": self.telegram.origin,
                },
                "teams": {
                    "app_id": self.teams.app_id,
                    "app_password": self.teams.app_password,
                    "service_urls": [self.teams.origin],
                    "login_url": self.teams.origin,
                    "openid_url": self.teams.openid_url,
                },
                "smtp": {"host": self.smtp.host, "port": self.smtp.port, **mail},
                "imap": {"host": self.imap.host, "port": self.imap.port, "password": "p"},
            }
        )

    async def start(self) -> None:
        """Start a worker."""
        self.worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.system.one_matter", self.settings(), stdout=asyncio.subprocess.PIPE
        )
        assert self.worker.stdout is not None
        async with asyncio.timeout(60):
            self.port = int(await self.worker.stdout.readline())

    async def kill(self) -> None:
        """End the worker by SIGKILL."""
        assert self.worker is not None
        self.worker.kill()
        await self.worker.wait()

    async def takes(self, request: WebhookRequest) -> WebhookAnswer:
        """Hand a vendor's request to the worker, as often as the vendor repeats it."""
        path = request.url.removeprefix(SITE)
        async with asyncio.timeout(60), httpx2.AsyncClient() as client:
            while True:
                try:
                    answer = await client.request(
                        request.method,
                        f"http://127.0.0.1:{self.port}{path}",
                        headers=dict(request.headers),
                        content=request.body,
                    )
                except httpx2.HTTPError:
                    await asyncio.sleep(0.05)  # other processes
                    continue
                if answer.status_code < 500:
                    assert answer.status_code < 300, answer.text
                    return WebhookAnswer(status=answer.status_code, body=answer.content)
                await asyncio.sleep(0.05)  # other processes


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    town = Town(tmp_path)
    async with AsyncExitStack() as stack:
        for vendor in town.vendors:
            await stack.enter_async_context(vendor)
            if hasattr(vendor, "connect"):
                vendor.connect(town.takes)
        town.telegram.person("Ann", CHAT)
        yield town
        if town.worker is not None and town.worker.returncode is None:
            await town.kill()


def reply_to(mail: Any, text: str) -> bytes:
    """Return an answer of Ann's in the thread of a mail."""
    answer = EmailMessage()
    answer["From"], answer["To"], answer["Subject"] = MAIL, DESK, f"Re: {mail.message['Subject']}"
    answer["Message-ID"], answer["In-Reply-To"] = "<ann-1@example.com>", mail.message["Message-ID"]
    answer.set_content(text)
    return answer.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def test_one_matter_is_one_conversation_whatever_breaks(town: Town) -> None:
    """Nothing is lost, nothing said twice, and each reader sees what they may."""
    ann, ben = town.twilio.phone(ANN), town.teams.person("Ben", conversation_id=BEN)
    chat, business = town.telegram.person("Ann", CHAT), town.whatsapp.phone(ANN)

    # Ben installs the bot in Teams; Ann writes by SMS, with a picture.
    await town.start()
    await ben.send("conversationUpdate", membersAdded=[{"id": town.teams.bot_id}])
    await ann.write("My lamp came broken", files=[PNG])
    await until(lambda: chat.received)
    await ben.write("note: fragile goods, as always")
    await ben.write("We are sory. A new one is on its way")
    question = town.teams.webhooks[-1].request.json()["id"]
    await town.kill()  # while that goes out

    await town.start()
    await until(lambda: town.smtp.mails and business.received and len(chat.received) >= 2, 60)
    apology = "We are sory. A new one is on its way"
    await until(lambda: apology in ann.texts)
    assert {message.type for message in business.received} == {"template"}  # no window is open there
    assert chat.received[0].file is not None  # her picture, too

    # She answers by mail, from her thread; he corrects himself; she likes it, in Telegram.
    mail = next(each for each in town.smtp.mails if "sory" in each.text)
    town.imap.deliver(reply_to(mail, "Thank you. The blue one, please.\n"))
    await until(lambda: any("blue one" in text for text in ben.texts), 60)
    await ben.edit(question, "We are sorry. A new one is on its way")
    await until(lambda: "Correction: We are sorry. A new one is on its way" in ann.texts)
    await until(lambda: any(each.text and "sorry" in each.text for each in town.telegram.messages))
    await chat.react(_number(town, "sorry"), "👍")

    # Twilio fails and Telnyx carries the rest. The worker is killed once more; another goes on.
    town.twilio.play(*[Failure(503, {"code": 20503, "message": "busy"})] * 9)
    carried = town.telnyx.phone(ANN)
    await ben.write("Blue it is. It arrives on Monday")
    await until(lambda: carried.texts, 60)
    await town.kill()
    await town.start()
    await until(lambda: any("Monday" in mail.text for mail in town.smtp.mails), 60)
    await until(lambda: _settled(town), 60)

    # Receipts come last.
    await town.twilio.report(
        "delivered", message=[each for each in town.twilio.messages if "sory" in each.text][-1]
    )
    await town.whatsapp.report("delivered", "read")
    await until(lambda: _confirmed(town))
    await town.kill()

    events, rows = await _records(town)
    _check_timeline(events)
    carriers = {
        "sms": [*ann.texts, *carried.texts],
        "email": [mail.text for mail in town.smtp.mails],
        "telegram": [message.text for message in chat.received],
    }
    _check_carried(events, rows, carriers)


def _number(town: Town, words: str) -> int:
    found = next(each for each in town.telegram.messages if each.text and words in each.text)
    return int(found.number)


def _check_timeline(events: Sequence[RoomEvent]) -> None:
    """See that everything is there, once, in order, as corrected, and the reaction at what it is about."""
    messages = [event for event in events if event.type is EventType.MESSAGE]
    assert [text_of(message.content) for message in messages] == [
        "My lamp came broken",
        "note: fragile goods, as always",
        "We are sorry. A new one is on its way",
        "Thank you. The blue one, please.",
        "Blue it is. It arrives on Monday",
    ]
    (reaction,) = [event for event in events if event.type is EventType.REACTION]
    assert reaction.parent_event_id == messages[2].id


def _check_carried(
    events: Sequence[RoomEvent], rows: Sequence[Delivery], carriers: Mapping[str, Sequence[str]]
) -> None:
    """See that each channel carried what its reader may see: once more for each take-over at most."""
    failed = [row for row in rows if row.state is not DeliveryState.SENT]
    about = {event.id: event.type for event in events}
    # No window is open there: a template goes out for a message, and for nothing else.
    assert {row.channel_id for row in failed if row.state is DeliveryState.FAILED} <= {"whatsapp"}
    assert not [row for row in failed if about[row.event_id] is EventType.MESSAGE]
    for channel_id, texts in carriers.items():
        assert not [text for text in texts if "fragile" in text]
        for event in events:
            words = {2: "We are so", 4: "Blue it is"}.get(_place(events, event), "")
            row = next(
                (row for row in rows if (row.event_id, row.channel_id) == (event.id, channel_id)), None
            )
            if words:
                assert row is not None
                copies = [text for text in texts if words in text and "Correction:" not in text]
                assert 1 <= len(copies) <= 1 + row.claims


def _place(events: Sequence[RoomEvent], event: RoomEvent) -> int:
    messages = [each.id for each in events if each.type is EventType.MESSAGE]
    return messages.index(event.id) if event.id in messages else -1


async def _records(town: Town) -> tuple[Sequence[RoomEvent], Sequence[Delivery]]:
    store = await SQLiteStore(town.folder / "rooms.db").open()
    try:
        (room,) = await store.list_rooms()
        return await store.list_events(room.id, limit=100), await store.list_deliveries(room.id, limit=1000)
    finally:
        await store.close()


async def _settled(town: Town) -> bool:
    _, rows = await _records(town)
    return all(row.finished_at is not None for row in rows)


async def _confirmed(town: Town) -> bool:
    _, rows = await _records(town)
    found = {(row.channel_id, row.receipt) for row in rows if row.receipt is not None}
    return found == {("sms", ReceiptState.DELIVERED), ("whatsapp", ReceiptState.READ)}
