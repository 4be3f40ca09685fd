"""One application, built in Python, from a configuration file, and mounted in FastAPI, does the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from roomkit import AIChannel, MockAIProvider, RoomKit, TextContent
from roomkit_plugins.server import KeyConfig, Scope, ServerConfig, create_app
from roomkit_plugins.sms import SMSChannel
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider
from roomkit_plugins.websocket import WebSocketChannel

ANN = "+14165550123"
KEY = "the-key-of-the-back-end"
SITE = "https://chat.example.org"
FILE = """
[kit]
process_timeout = 20

[channels.sms]
plugin = "sms"
[channels.sms.provider]
plugin = "twilio"
account_sid = "{sid}"
auth_token = "{token}"
from_number = "{number}"
base_url = "{url}"

[channels.web]
plugin = "websocket"

[agents.bot]
plugin = "ai"
provider = {{ plugin = "mock" }}

[server]
public_url = "{site}"
[server.keys.backend]
secret = "{key}"
organization = "shop"
scopes = ["rooms:read", "rooms:write", "messages:send"]
"""

type Build = Callable[[TwilioSimulator, Path], AbstractAsyncContextManager[tuple[RoomKit, ASGIApp, str]]]
"""Makes a kit, the application that serves it, and the path under which it is."""


def _config() -> ServerConfig:
    scopes = (Scope.ROOMS_READ, Scope.ROOMS_WRITE, Scope.MESSAGES_SEND)
    key = KeyConfig(secret=KEY, organization="shop", scopes=scopes)
    return ServerConfig(public_url=SITE, keys={"backend": key})


def _kit(twilio: TwilioSimulator) -> RoomKit:
    kit = RoomKit(process_timeout=20)
    config = TwilioConfig(
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        from_number=twilio.numbers[0],
        base_url=twilio.origin,
    )
    kit.register_channel(SMSChannel("sms", provider=TwilioSMSProvider(config)))
    kit.register_channel(WebSocketChannel("web"))
    kit.register_channel(AIChannel("bot", MockAIProvider()))
    return kit


@asynccontextmanager
async def in_python(twilio: TwilioSimulator, folder: Path) -> AsyncIterator[tuple[RoomKit, ASGIApp, str]]:
    async with _kit(twilio) as kit:
        yield kit, create_app(kit, _config()), ""


@asynccontextmanager
async def from_file(twilio: TwilioSimulator, folder: Path) -> AsyncIterator[tuple[RoomKit, ASGIApp, str]]:
    file = folder / "roomkit.toml"
    said = {"sid": twilio.account_sid, "token": twilio.auth_token, "number": twilio.numbers[0]}
    file.write_text(FILE.format(**said, url=twilio.origin, site=SITE, key=KEY))
    async with await RoomKit.from_config(file) as kit:
        yield kit, create_app(kit), ""


@asynccontextmanager
async def in_fastapi(twilio: TwilioSimulator, folder: Path) -> AsyncIterator[tuple[RoomKit, ASGIApp, str]]:
    async with _kit(twilio) as kit:
        outer = FastAPI()
        config = _config().model_copy(update={"public_url": f"{SITE}/chat"})
        outer.mount("/chat", create_app(kit, config))
        yield kit, outer, "/chat"


async def _story(build: Build, folder: Path) -> list[Any]:
    """Lead a conversation by REST and webhooks; return answers and messages sent, without random parts."""
    seen: list[Any] = []
    async with TwilioSimulator() as twilio, build(twilio, folder) as (kit, app, base):
        twilio.webhook_url = f"{SITE}{base}/webhooks/sms"
        headers = {"Authorization": f"Bearer {KEY}"}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=SITE, headers=headers) as client:

            async def ask(method: str, path: str, **options: Any) -> Any:
                answer = await client.request(method, f"{base}{path}", **options)
                seen.append((method, answer.status_code, answer.text, sorted(answer.headers)))
                is_json = "json" in answer.headers.get("content-type", "")
                return answer.json() if is_json else None

            async def webhook(text: str, *, token: str = "") -> None:
                form = {
                    "MessageSid": f"SM{len(text):032x}",
                    "From": ANN,
                    "To": twilio.numbers[0],
                    "Body": text,
                }
                form |= {"AccountSid": twilio.account_sid, "NumMedia": "0", "SmsStatus": "received"}
                sent = twilio.signed(form.items())
                signature = token or sent.headers["X-Twilio-Signature"]
                await ask(
                    "POST",
                    "/webhooks/sms",
                    content=sent.body,
                    headers={**sent.headers, "X-Twilio-Signature": signature},
                )

            room = (await ask("POST", "/v1/rooms", json={"metadata": {"name": "support"}}))["id"]
            for channel, metadata in (("sms", {"phone_number": ANN}), ("web", {}), ("bot", {})):
                await ask("PUT", f"/v1/rooms/{room}/channels/{channel}", json={"metadata": metadata})
            for token in ("", "", "forged"):  # the second is a redelivery
                await webhook("Is anyone there?", token=token)
            await kit.send_event(room, "system", TextContent(body="Ann waits."))  # settles work under way
            for path in ("", "/events", "/channels", "/participants", "/tasks"):
                await ask("GET", f"/v1/rooms/{room}{path}")
            await ask("GET", f"/v1/deliveries?room_id={room}")
            await ask("GET", "/v1/channels")
            await ask("GET", "/v1/rooms/none")
            await ask("POST", f"/v1/rooms/{room}/events", json={"text": "wrong"})
            await ask("GET", "/openapi.json")
            await ask("GET", "/health/ready")
        seen.append([(each.to, each.text) for each in twilio.messages])
        return [_plain(each, room, base) for each in seen]


def _plain(said: object, room: str, base: str) -> str:
    """Return the messages, without ids and times, nor the path where it is mounted."""
    text = repr(said).replace(room, "ROOM")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r'"duration_ms":[\d.e-]+', "DURATION", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
    return re.sub(r"\b[0-9a-f]{32}\b|\b(SM|MM)[0-9a-f]{32}\b", "ID", text)


@pytest.mark.parametrize("build", [from_file, in_fastapi])
async def test_an_application_does_the_same_however_it_is_built(build: Build, tmp_path: Path) -> None:
    """Answers by status, headers and text, the ledger, and what reached the telephone."""
    expected, found = await _story(in_python, tmp_path), await _story(build, tmp_path)
    assert found == expected
    assert "Ann waits." in found[-1]
    assert found[-1].count("Hello from AI") == 2, "the agent answers the message, once, and the note"
    assert sum("401" in each for each in found) == 1, "a forged webhook is refused"
