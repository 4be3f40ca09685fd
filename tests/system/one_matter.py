"""One worker of a desk whose customers come by many channels; a program of its own, so that it can be killed.

    python -m tests.system.one_matter '{"folder": "...", "twilio": "http://127.0.0.1:...", ...}'

It prints its port once it serves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn

from roomkit import (
    AgentsTeamsProvider,
    EmailChannel,
    HookResult,
    HookTrigger,
    RetryPolicy,
    RoomKit,
    SMSChannel,
    SMTPConfig,
    SMTPProvider,
    TeamsChannel,
    TeamsConfig,
    TelegramBotProvider,
    TelegramChannel,
    TelegramConfig,
    TelnyxConfig,
    TelnyxSMSProvider,
    TwilioConfig,
    TwilioSMSProvider,
    WhatsAppChannel,
    WhatsAppCloudConfig,
    WhatsAppCloudProvider,
)
from roomkit_plugins.server import ServerConfig, create_app
from roomkit_plugins.smtp import IMAPConfig, IMAPSource
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

__all__ = ["ANN", "BEN", "CHAT", "MAIL", "SITE"]

SITE = "https://chat.example.org"
ANN, MAIL, CHAT, BEN = "+14165550123", "ann@example.com", 7, "a:ben"
LEASE = 1.0
DESK = "desk@shop.example"


def kit_of(given: dict[str, Any]) -> RoomKit:
    """Return the kit: five channels, and the rule of who reads what."""
    store = SQLiteStore(SQLiteConfig(path=Path(given["folder"]) / "rooms.db", synchronous="normal"))
    retry = RetryPolicy(base_delay_seconds=0.05, max_delay_seconds=0.2, max_retries=50, jitter=0)
    kit = RoomKit(store=store, lease_seconds=LEASE, single_process=True, retry_policy=retry)
    twilio = TwilioSMSProvider(TwilioConfig(**given["twilio"]))
    telnyx = TelnyxSMSProvider(TelnyxConfig(**given["telnyx"]))
    whatsapp = WhatsAppCloudProvider(WhatsAppCloudConfig(**given["whatsapp"]))
    smtp = SMTPProvider(SMTPConfig(from_email=DESK, security="none", **given["smtp"]))
    for channel in (
        SMSChannel("sms", providers=[twilio, telnyx]),
        EmailChannel("email", provider=smtp),
        WhatsAppChannel("whatsapp", provider=whatsapp, template="hello_world", template_language="en_US"),
        TelegramChannel("telegram", provider=TelegramBotProvider(TelegramConfig(**given["telegram"]))),
        TeamsChannel("teams", provider=AgentsTeamsProvider(TeamsConfig(**given["teams"]))),
    ):
        kit.register_channel(channel)

    @kit.hook(HookTrigger.ON_ROOM_CREATED)
    async def gather(event: Any, _context: Any) -> HookResult:
        """Whoever writes first, by whatever channel: the matter is one room for all of Ann's, and for Ben."""
        ways: dict[str, dict[str, Any]] = {
            "sms": {"phone_number": ANN},
            "email": {"email_address": MAIL, "subject": "Your order"},
            "whatsapp": {"phone_number": ANN},
            "telegram": {"telegram_chat_id": str(CHAT)},
            "teams": {"teams_conversation_id": BEN},
        }
        for channel_id, metadata in ways.items():
            if await kit.store.get_binding(event.room_id, channel_id) is None:
                await kit.attach_channel(event.room_id, channel_id, metadata=metadata)
        return HookResult.allow()

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def keep_notes_inside(event: Any, _context: Any) -> HookResult:
        """What a colleague begins with "note:" is for colleagues."""
        body = getattr(event.content, "body", "")
        if event.source.channel_id == "teams" and body.lower().startswith("note:"):
            return HookResult.modify(event.replace(visibility="teams"))
        return HookResult.allow()

    return kit


async def main() -> None:
    given = json.loads(sys.argv[1])
    async with kit_of(given) as kit:
        mailbox = IMAPConfig(channel_id="email", username=DESK, security="none", begin="all", **given["imap"])
        await kit.attach_source("email", IMAPSource(mailbox))
        config = uvicorn.Config(
            create_app(kit, ServerConfig(public_url=SITE)), host="127.0.0.1", port=0, log_level="error"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # the library has no event for it
            await asyncio.sleep(0.01)  # other processes
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)  # noqa: T201  # what the test reads
        await serving


if __name__ == "__main__":
    asyncio.run(main())
