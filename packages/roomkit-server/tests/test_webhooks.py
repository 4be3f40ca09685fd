"""Vendors' requests: verified, committed and answered, whatever else happens."""

from __future__ import annotations

import asyncio
import json

import pytest

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit_plugins.server import ServerConfig
from roomkit_plugins.testing import Hang, ScriptedIntelligence

from .conftest import Site, keys, signature, signed


async def test_a_genuine_message_is_committed_and_then_answered(site: Site) -> None:
    client = await site.client(None)
    answer = await client.post("/webhooks/sms", **signed("hello"))
    assert (answer.status_code, answer.text) == (200, "")
    assert await site.texts() == ["hello"]
    assert (await client.post("/webhooks/sms/carrier", **signed("x", url="other"))).status_code == 401


async def test_a_redelivery_gets_the_first_result_and_is_stored_once(site: Site) -> None:
    client = await site.client(None)
    answers = await asyncio.gather(*(client.post("/webhooks/sms", **signed("hello")) for _ in range(20)))
    assert {each.status_code for each in answers} == {200}
    assert await site.texts() == ["hello"]


@pytest.mark.parametrize("broken", ["flipped", "no header", "cut", "empty", "other url"])
async def test_what_is_not_genuine_is_refused_and_nothing_of_it_is_parsed(site: Site, broken: str) -> None:
    client = await site.client(None)
    request = signed(
        "hello", url="http://kit.test/other" if broken == "other url" else "http://kit.test/webhooks/sms"
    )
    body = request["content"]
    match broken:
        case "flipped":
            request["content"] = bytes([body[0] ^ 1]) + body[1:]
        case "no header":
            request["headers"] = {}
        case "cut":
            request["content"] = body[:-1]
        case "empty":
            request["content"] = b""
    assert (await client.post("/webhooks/sms", **request)).status_code == 401
    assert site.carrier.parsed == 0
    assert await site.texts() == []


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"id": "m1"}', b"\xff", b""])
async def test_a_signed_body_of_another_format_is_answered_with_400(site: Site, body: bytes) -> None:
    client = await site.client(None)
    headers = {"X-Signature": signature("http://kit.test/webhooks/sms", body)}
    answer = await client.post("/webhooks/sms", content=body, headers=headers)
    assert answer.status_code == 400
    assert await site.texts() == []


@pytest.mark.parametrize("path", ["/webhooks/fax", "/webhooks/sms/other", "/webhooks/desk"])
async def test_a_channel_without_such_a_provider_is_not_found(site: Site, path: str) -> None:
    client = await site.client(None)
    assert (await client.post(path, **signed("hello"))).status_code == 404


async def test_a_body_beyond_the_limit_is_refused_however_it_is_sent() -> None:
    async with RoomKit(max_webhook_bytes=100) as kit:
        site = Site(kit, ServerConfig(port=0))
        client = await site.client(None)

        async def pieces():  # type: ignore[no-untyped-def]  # an async generator of bytes
            for _ in range(5):
                yield b"x" * 50

        for content in (b"x" * 101, pieces()):
            answer = await client.post("/webhooks/sms", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert site.carrier.parsed == 0
        await site.close()


async def test_an_agent_that_never_answers_holds_up_no_vendor(site: Site) -> None:
    hang = Hang()
    agent = ScriptedIntelligence("bot", [hang])
    site.kit.register_channel(agent)
    client = await site.client(None)
    await client.post("/webhooks/sms", **signed("first"))
    (room,) = await site.kit.find_rooms()
    await site.kit.attach_channel(room.id, "bot")
    for number in range(5):
        body = json.dumps({"id": f"n{number}", "from": "+15550000001", "text": f"text {number}"}).encode()
        headers = {"X-Signature": signature("http://kit.test/webhooks/sms", body)}
        async with asyncio.timeout(10):
            assert (await client.post("/webhooks/sms", content=body, headers=headers)).status_code == 200
    assert len(await site.texts()) == 6
    hang.release()


async def test_a_message_that_a_gate_blocks_was_decided_and_is_not_sent_again(site: Site) -> None:
    @site.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def no(event: object, context: object) -> HookResult:
        return HookResult.block("no")

    client = await site.client(None)
    assert (await client.post("/webhooks/sms", **signed("hello"))).status_code == 200


async def test_a_kit_that_closes_asks_the_vendor_to_come_back(site: Site) -> None:
    client = await site.client(None)
    await client.get("/health/live")
    await site.kit.close()
    answer = await client.post("/webhooks/sms", **signed("hello"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


class TestBehindAProxy:
    """The vendor signs the public URL, which the server does not see."""

    @pytest.fixture
    def config(self) -> ServerConfig:
        return ServerConfig(port=0, keys=keys(), public_url="https://bot.example/chat")

    async def test_the_public_url_is_what_is_verified(self, site: Site) -> None:
        client = await site.client(None)
        request = signed("hello", url="https://bot.example/chat/webhooks/sms?a=%2F")
        assert (await client.post("/webhooks/sms?a=%2F", **request)).status_code == 200
        request = signed("again", 2, url="http://kit.test/webhooks/sms")
        assert (await client.post("/webhooks/sms", **request)).status_code == 401

    async def test_browsers_are_told_to_stay_with_https(self, site: Site) -> None:
        answer = await (await site.client(None)).get("/health/live")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_url_is_verified_as_it_was_written(site: Site) -> None:
    """Percent signs of the path are as the vendor signed them, by a real server too."""
    url = await site.serve()
    client = await site.remote(None)
    request = signed("hello", url=f"{url}/webhooks/s%6Ds?x=%41&y=")
    assert (await client.post("/webhooks/s%6Ds?x=%41&y=", **request)).status_code == 200
    assert await site.texts() == ["hello"]
