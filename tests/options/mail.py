"""Mail: what providers are handed, and which words of a person opt out."""

from __future__ import annotations

from roomkit import TextContent
from tests.options.channels import made
from tests.options.kit import a_kit, say
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["MAIL"]

_ANN = "ann@example.com"
_URL = "https://shop.example/webhooks/email/unsubscribe"


async def _handed(settings: Settings) -> object:
    """Return what a provider is handed for two messages, and what became of them."""
    channel = await made("email", settings, "email")
    async with a_kit({}) as kit:
        kit.register_channel(channel)
        await kit.attach_channel("r", "email", metadata={"email_address": _ANN})
        await kit.set_consent("email", _ANN, "revoked", purpose="marketing")
        await kit.send_event("r", "system", TextContent(body="hello"))
        rows = await kit.list_deliveries("r")
        sent = [] if channel.provider is None else channel.provider.sent
        shown = [(each["event"].content.body, each["hints"]) for each in sent]
        return shown, [(str(row.state), row.reason) for row in rows], sorted(channel.webhooks())


async def _opting_out(settings: Settings) -> object:
    channel = await made("email", settings, "email")
    async with a_kit({}) as kit:
        kit.register_channel(channel)
        await kit.attach_channel("r", "email", metadata={"email_address": _ANN})
        found = []
        for word in ("baja", "ruhe bitte"):
            await kit.set_consent("email", _ANN, "granted")
            await say(kit, word, "email", sender_id=_ANN)
            consent = await kit.consent("email", _ANN)
            found.append(None if consent is None else str(consent.state))
        return found


_MOCK: Settings = {"provider": "mock"}
_SIGNED: Settings = {**_MOCK, "secret": "s"}
EMAIL = Subject(
    "channel:email",
    {
        "from_address": Change("desk@shop.example", _MOCK),
        "subject": Change("Your order", _MOCK),
        "reply_address": Change("reply@in.shop.example", _SIGNED),
        "unsubscribe_url": Change(_URL, _SIGNED),
        "secret": Change("other", {**_SIGNED, "reply_address": "reply@in.shop.example"}),
        "purpose": Change("marketing", _MOCK),
        "provider": Change("mock"),
        "providers": Change(["mock"]),
        "languages": Change(["fr"], _MOCK, _opting_out),
        "stop_words": Change(["Ruhe, bitte"], _MOCK, _opting_out),
    },
    _handed,
)

MAIL = (EMAIL,)
