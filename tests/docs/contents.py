"""The page of which content goes by which channel: tried with the suites' contents and simulators."""

from __future__ import annotations

import asyncio
import logging
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from roomkit import (
    HTTPChannel,
    MessengerChannel,
    RCSChannel,
    RoomKit,
    SMSChannel,
    TeamsChannel,
    TelegramChannel,
    WhatsAppChannel,
)
from roomkit.models import (
    CompositeContent,
    DeleteContent,
    DeliveryState,
    EditContent,
    EventContent,
    EventType,
    TemplateContent,
    TextContent,
)
from roomkit.plugins import default_manager
from roomkit_plugins.email import EmailChannel
from roomkit_plugins.testing.contracts.providers import EVERY_CONTENT
from roomkit_plugins.testing.simulators import (
    MailServerSimulator,
    MessengerSimulator,
    SinchSimulator,
    TeamsSimulator,
    TelegramSimulator,
    TelnyxSimulator,
    TwilioSimulator,
    VoiceMeUpSimulator,
    WebhookSimulator,
    WhatsAppSimulator,
)

ANN = "+14165550123"
PNG = ("image/png", b"\x89PNG\r\n\x1a\n0")
OUT: Sequence[str] = (
    "text",
    "buttons, cards, quick replies",
    "HTML",
    "picture with words",
    "file without a URL",
    "place",
    "audio",
    "video",
    "words and a picture",
    "template",
    "system line",
    "edit",
    "deletion",
)
"""What each of the suite's contents is."""

type Act = Callable[[Any, RoomKit], Awaitable[object]]


@dataclass(frozen=True)
class Cell:
    """What becomes of a content, and why it is refused."""

    said: str
    why: str = ""


@dataclass(frozen=True)
class _Room:
    kit: RoomKit
    id: str
    vendor: Any
    handed: list[EventContent]
    """What the vendor's provider is handed."""


@dataclass(frozen=True)
class Way:
    """A channel with a provider, and what people can do there."""

    name: str
    channel: Callable[..., Any]
    vendor: Callable[[], Any]
    provider: tuple[str, str]
    settings: Callable[[Any], Mapping[str, Any]]
    recipient: Mapping[str, Any] = field(default_factory=lambda: {"phone_number": ANN})
    comes: Mapping[str, Act] = field(default_factory=dict)
    template: str = "welcome"
    """The id of a template that the vendor has."""

    @asynccontextmanager
    async def room(self) -> AsyncIterator[_Room]:
        """Open a room by the channel."""
        async with AsyncExitStack() as stack:
            vendor = await stack.enter_async_context(self.vendor())
            made: Any = await default_manager().acreate(*self.provider, dict(self.settings(vendor)))
            handed: list[EventContent] = []
            send = made.send

            async def recording(event: Any, to: str, **options: Any) -> Any:
                handed.append(event.content)
                return await send(event, to, **options)

            made.send = recording
            kit = await stack.enter_async_context(RoomKit())
            kit.register_channel(self.channel("by", provider=made))
            if hasattr(vendor, "connect"):
                vendor.connect(lambda request: kit.process_webhook(request, "by"))
            if isinstance(vendor, TelegramSimulator):
                vendor.person("Ann", 7)
            if "text" in self.comes:
                await self.comes["text"](vendor, kit)  # it opens the room, and the vendor's window
            else:
                await kit.create_room("r")
                await kit.attach_channel("r", "by", metadata=self.recipient)
            (room,) = await kit.store.list_rooms()
            yield _Room(kit, room.id, vendor, handed)

    async def outbound(self) -> list[Cell]:
        """Return what becomes of each content."""
        found = []
        for given in EVERY_CONTENT:
            async with self.room() as room:
                content = given
                first = await room.kit.send_event(room.id, "system", TextContent(body="first"))
                room.handed.clear()
                if isinstance(content, EditContent | DeleteContent):
                    content = content.replace(target_event_id=first.id)
                elif isinstance(content, TemplateContent):
                    content = content.replace(template_id=self.template)
                kind = _type_of(content)
                event = await room.kit.send_event(room.id, "system", content, event_type=kind)
                (row,) = await room.kit.list_deliveries(room.id, event_id=event.id)
                found.append(_became(content, room.handed, row))
        return found

    async def inbound(self, what: str) -> str:
        """Return what a thing that a person does becomes."""
        if what not in self.comes:
            return ""
        async with self.room() as room:
            await self.comes[what](room.vendor, room.kit)
            events = [each for each in await room.kit.get_timeline(room.id) if each.source.channel_id == "by"]
        return _came(events[-1])


def _type_of(content: EventContent) -> EventType:
    match content:
        case EditContent():
            return EventType.EDIT
        case DeleteContent():
            return EventType.DELETE
        case _:
            return EventType.MESSAGE


def _became(content: EventContent, handed: Sequence[EventContent], row: Any) -> Cell:
    if row.state is DeliveryState.FAILED:
        return Cell("refused", row.error.message)
    assert row.state is DeliveryState.SENT, row
    if len(handed) == 1 and type(handed[0]) is type(content):
        return Cell("native")
    if all(isinstance(each, TextContent) for each in handed):
        return Cell("as text")
    return Cell(f"{len(handed)} messages" if len(handed) > 1 else f"as {handed[0].type}")


def _came(event: Any) -> str:
    if event.type is not EventType.MESSAGE:
        return str(event.type)
    content = event.content
    parts = content.parts if isinstance(content, CompositeContent) else (content,)
    return ", ".join(dict.fromkeys(str(part.type) for part in parts))


def _writes(text: str, files: int = 0, **fields: str) -> Act:
    async def act(vendor: Any, kit: RoomKit) -> None:
        await vendor.phone(ANN).write(text, files=[PNG] * files, **fields)

    return act


def _says(**body: Any) -> Act:
    return lambda vendor, kit: vendor.rcs(ANN, **body)


def _telegram(**fields: Any) -> Act:
    return lambda vendor, kit: vendor.person("Ann", 7).send(**fields)


async def _answers(vendor: Any, kit: RoomKit) -> None:
    """React to the newest message of ours."""
    (room,) = await kit.store.list_rooms()
    await kit.send_event(room.id, "system", TextContent(body="first"))
    newest = vendor.messages[-1]
    if isinstance(vendor, TeamsSimulator):
        await vendor.person("Ann").react(newest.id, "like")
        return
    if isinstance(vendor, TelegramSimulator):
        await vendor.person("Ann", 7).react(newest.number, "👍")
    else:
        await vendor.phone(ANN).react(newest.id, "👍")


async def _reacts(vendor: Any, kit: RoomKit) -> None:
    """React to the newest message of a page."""
    (room,) = await kit.store.list_rooms()
    await kit.send_event(room.id, "system", TextContent(body="first"))
    await vendor.person(_PSID).react(vendor.messages[-1].id, "👍")


_PSID = "7012345678901234"
_PICTURE = {"type": "image", "payload": {"url": "https://files.example.org/a.png"}}
_SMS = {"text": _writes("hello"), "picture with words": _writes("look", 1), "several files": _writes("", 2)}
_STOP = {"STOP": _writes("STOP")}
_PLACE = {"latitude": 45.5, "longitude": -73.6}
_TAP = {"text": "Yes", "postback_data": "eWVz"}
_FILE = {"payload": {"file_uri": "https://files.example.org/a.png", "mime_type": "image/png"}}
_FIELDS: dict[str, Any] = {"Latitude": "45.5", "Longitude": "-73.6"}
_TWILIO = {**_SMS, "place": _writes("", **_FIELDS), "tap": _writes("", ButtonText="Yes", ButtonPayload="yes")}


def _account(vendor: Any) -> dict[str, Any]:
    return {"account_sid": vendor.account_sid, "auth_token": vendor.auth_token, "base_url": vendor.origin}


WAYS = (
    Way(
        "SMS, Twilio",
        SMSChannel,
        TwilioSimulator,
        ("sms", "twilio"),
        lambda vendor: {**_account(vendor), "from_number": vendor.numbers[0]},
        comes={**_SMS, **_STOP},
    ),
    Way(
        "SMS, Telnyx",
        SMSChannel,
        TelnyxSimulator,
        ("sms", "telnyx"),
        lambda vendor: {
            "api_key": vendor.api_key,
            "public_key": vendor.public_key,
            "from_number": vendor.numbers[0],
            "base_url": vendor.origin,
        },
        comes={**_SMS, **_STOP},
    ),
    Way(
        "SMS, Sinch",
        SMSChannel,
        SinchSimulator,
        ("sms", "sinch"),
        lambda vendor: {
            "service_plan_id": vendor.service_plan_id,
            "api_token": vendor.api_token,
            "webhook_secret": vendor.webhook_secret,
            "from_number": vendor.numbers[0],
            "base_url": vendor.origin,
        },
        comes={**_SMS, **_STOP},
    ),
    Way(
        "SMS, VoiceMeUp",
        SMSChannel,
        lambda: VoiceMeUpSimulator(numbers=("+14375550999",)),
        ("sms", "voicemeup"),
        lambda vendor: {
            "username": vendor.username,
            "auth_token": vendor.auth_token,
            "webhook_token": vendor.webhook_token,
            "from_number": vendor.numbers[0],
            "base_url": vendor.origin,
        },
        comes={"text": _SMS["text"], **_STOP},
    ),
    Way(
        "RCS, Telnyx",
        RCSChannel,
        TelnyxSimulator,
        ("rcs", "telnyx"),
        lambda vendor: {
            "api_key": vendor.api_key,
            "public_key": vendor.public_key,
            "agent_id": vendor.agents[0],
            "messaging_profile_id": vendor.profiles[0],
            "base_url": vendor.origin,
        },
        comes={
            "text": _says(text="hello"),
            "picture with words": _says(user_file=_FILE),
            "place": _says(location=_PLACE),
            "tap": _says(suggestion_response=_TAP),
            "STOP": _says(text="STOP"),
        },
    ),
    Way(
        "RCS, Twilio",
        RCSChannel,
        TwilioSimulator,
        ("rcs", "twilio"),
        lambda vendor: {**_account(vendor), "messaging_service_sid": vendor.messaging_services[0]},
        comes={**_TWILIO, **_STOP},
        template=f"HX{'0' * 32}",
    ),
    Way(
        "E-mail, SMTP",
        EmailChannel,
        MailServerSimulator,
        ("email", "smtp"),
        lambda vendor: {
            "host": vendor.host,
            "port": vendor.port,
            "security": "none",
            "from_email": "desk@shop.example",
        },
        recipient={"email_address": "ann@example.com"},
    ),
    Way(
        "Telegram",
        TelegramChannel,
        TelegramSimulator,
        ("telegram", "bot"),
        lambda vendor: {
            "bot_token": vendor.bot_token,
            "webhook_secret": vendor.webhook_secret,
            "base_url": vendor.origin,
        },
        recipient={"telegram_chat_id": "7"},
        comes={
            "text": lambda vendor, kit: vendor.person("Ann", 7).write("hello"),
            "picture with words": lambda vendor, kit: vendor.person("Ann", 7).send_file(
                "photo", PNG[1], caption="look"
            ),
            "place": _telegram(location=_PLACE),
            "reaction": _answers,
        },
    ),
    Way(
        "WhatsApp",
        WhatsAppChannel,
        WhatsAppSimulator,
        ("whatsapp", "cloud"),
        lambda vendor: vendor.settings,
        comes={
            "text": lambda vendor, kit: vendor.phone(ANN).write("hello"),
            "picture with words": lambda vendor, kit: vendor.phone(ANN).send_file(
                "image", *PNG, caption="look"
            ),
            "place": lambda vendor, kit: vendor.phone(ANN).send("location", _PLACE),
            "tap": lambda vendor, kit: vendor.phone(ANN).send("button", {"text": "Yes", "payload": "y"}),
            "reaction": _answers,
        },
    ),
    Way(
        "Messenger",
        MessengerChannel,
        MessengerSimulator,
        ("messenger", "facebook"),
        lambda vendor: vendor.settings,
        comes={
            "text": lambda vendor, kit: vendor.person(_PSID).write("hello"),
            "picture with words": lambda vendor, kit: vendor.person(_PSID).write(
                "look", attachments=[_PICTURE]
            ),
            "several files": lambda vendor, kit: vendor.person(_PSID).write(attachments=[_PICTURE, _PICTURE]),
            "place": lambda vendor, kit: vendor.person(_PSID).attach(
                "location", coordinates={"lat": 52.5, "long": 13.4}
            ),
            "tap": lambda vendor, kit: vendor.person(_PSID).act("postback", {"title": "Yes", "payload": "y"}),
            "reaction": _reacts,
        },
        template="order_update",
    ),
    Way(
        "Teams",
        TeamsChannel,
        TeamsSimulator,
        ("teams", "agents"),
        lambda vendor: {
            "app_id": vendor.app_id,
            "app_password": vendor.app_password,
            "service_urls": (vendor.origin,),
            "login_url": vendor.origin,
            "openid_url": vendor.openid_url,
        },
        comes={
            "text": lambda vendor, kit: vendor.person("Ann").write("hello"),
            "picture with words": lambda vendor, kit: vendor.person("Ann").write(
                "look",
                attachments=[{"contentType": "image/png", "contentUrl": "https://files.example.org/a"}],
            ),
            "tap": lambda vendor, kit: vendor.person("Ann").write("Yes", value={"payload": "yes"}),
            "reaction": _answers,
        },
    ),
    Way(
        "HTTP",
        HTTPChannel,
        WebhookSimulator,
        ("http", "webhook"),
        lambda vendor: {"webhook_url": vendor.url, "secret": vendor.secret, "allow_private_hosts": True},
        recipient={"recipient_id": "user-1"},
        comes={"text": lambda vendor, kit: vendor.write("user-1", "hello")},
    ),
)
IN = ("text", "picture with words", "several files", "place", "tap", "reaction", "STOP")
"""What people do."""


async def _tried() -> tuple[list[list[Cell]], list[list[str]]]:
    out = [await way.outbound() for way in WAYS]
    return out, [[await way.inbound(what) for what in IN] for way in WAYS]


def contents() -> Iterator[str]:
    """Yield the lines of the page."""
    log = logging.getLogger("roomkit")
    level = log.level
    log.setLevel(logging.CRITICAL)  # refusals are what is looked for
    try:
        out, came = asyncio.run(_tried())
    finally:
        log.setLevel(level)
    yield "# Content by channel"
    yield from _OF_OUTBOUND
    yield from _table("content", OUT, [[cell.said for cell in cells] for cells in out])
    yield ""
    yield from _reasons(out)
    yield from _OF_INBOUND
    yield from _table("a person's", IN, came)


_OF_OUTBOUND = """
What becomes of each kind of content on its way to each vendor, tried with the contents of the contract
suites on the vendors' simulators. *Native* is handed to the vendor as it is. What a channel does not carry
is said in words (*as text*), sent as a file with its words (*as media*), or in several messages. Nothing is
dropped: what cannot be said is refused, for the reasons below the table.
""".splitlines()
_OF_INBOUND = """
## Inbound content

The content, or the type, of the event that is made of what a person does. An empty cell is what the vendor
has no way to say, or what was not tried: mail comes in by other means than SMTP, and the parts of an MMS by
VoiceMeUp are joined some seconds later.
""".splitlines()


def _table(what: str, kinds: Sequence[str], columns: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {what} | {' | '.join(way.name for way in WAYS)} |"
    yield "|---" * (len(WAYS) + 1) + "|"
    for at, kind in enumerate(kinds):
        yield f"| {kind} | {' | '.join(column[at] for column in columns)} |"


def _reasons(out: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Yield why contents are refused, each reason once with the ways that give it."""
    found: dict[str, list[str]] = {}
    for way, cells in zip(WAYS, out, strict=True):
        for kind, cell in zip(OUT, cells, strict=True):
            if cell.why:
                found.setdefault(f"{kind}: {cell.why}", []).append(way.name)
    for reason, names in found.items():
        yield from wrapped_item(f"{reason} ({'; '.join(names)})")


def wrapped_item(text: str) -> list[str]:
    """Return the lines of one item of a list."""
    return textwrap.wrap(text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False)
