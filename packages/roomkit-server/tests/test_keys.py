"""Keys, scopes and limits; two organizations that cannot detect each other; secrets that stay secret."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256

import pytest
from pydantic import ValidationError
from websockets.exceptions import InvalidStatus

from roomkit import RateLimit, RoomKit
from roomkit.abc import InvalidInputError
from roomkit_plugins.server import KeyConfig, Scope, ServerConfig, create_app
from roomkit_plugins.server.api import ENDPOINTS

from .conftest import BODIES, Site, key_of, keys, records

OF_A_RECORD = [each for each in ENDPOINTS if "{" in each.path]
FURTHER = [
    ("POST", "/v1/rooms/{room_id}/tickets", {"channel_id": "desk", "participant_id": "ann"}),
    ("GET", "/v1/rooms/{room_id}/stream?channel_id=desk", None),
]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [(each.method, each.path, BODIES.get(each.name)) for each in OF_A_RECORD] + FURTHER,
)
async def test_another_organizations_record_is_answered_as_a_missing_one(
    site: Site, method: str, path: str, body: object
) -> None:
    """By every operation: the same status, headers and words but for the id that was asked for."""
    names = await records(site)
    made_up = {name: f"no-{name}" for name in names} | {"channel_id": "desk"}
    client = await site.client("globex")
    given = {} if body is None else {"json": body}
    real = await client.request(method, path.format(**names), **given)
    missing = await client.request(method, path.format(**made_up), **given)
    assert real.status_code == missing.status_code == 404
    first, second = real.text, missing.text
    for name, value in reversed(names.items()):
        if name != "channel_id":
            first, second = first.replace(value, "ID"), second.replace(made_up[name], "ID")
    assert first == second
    without = ("content-length", "date")
    assert {k: v for k, v in real.headers.items() if k not in without} == {
        k: v for k, v in missing.headers.items() if k not in without
    }


async def test_lists_have_an_organizations_own_records_and_the_operators_all(site: Site) -> None:
    names = await records(site)
    for name, rooms in (("acme", 1), ("globex", 0), ("operator", 1)):
        client = await site.client(name)
        assert len((await client.get("/v1/rooms")).json()["items"]) == rooms
        rows = (await client.get("/v1/deliveries", params={"room_id": names["room_id"]})).json()["items"]
        assert bool(rows) is bool(rooms)
    stale = await (await site.client("globex")).get("/v1/rooms", params={"after": names["room_id"]})
    assert stale.status_code == 410


async def test_a_socket_to_another_organizations_room_is_refused_as_to_a_missing_one(site: Site) -> None:
    await site.serve()
    room = await site.room("acme", "ws")
    bodies = []
    for each in (room, "no-room"):
        with pytest.raises(InvalidStatus) as refused:
            async with site.socket(
                f"/v1/rooms/{each}/socket?participant_id=ann", Authorization=f"Bearer {key_of('globex')}"
            ):
                pass
        assert refused.value.response.status_code == 404
        bodies.append(refused.value.response.body.decode().replace(each, "ID"))
    assert bodies[0] == bodies[1]


async def test_only_a_key_of_all_organizations_chooses_ids(site: Site) -> None:
    operator, acme = await site.client("operator"), await site.client()
    made = await operator.post("/v1/rooms", json={"room_id": "lobby", "organization_id": "acme"})
    assert (made.status_code, made.json()["organization_id"]) == (201, "acme")
    assert (await operator.post("/v1/rooms", json={"room_id": "lobby"})).status_code == 409
    for body in ({"room_id": "lobby"}, {"organization_id": "globex"}):
        assert (await acme.post("/v1/rooms", json=body)).status_code == 400
    assert (await acme.get("/v1/rooms/lobby")).status_code == 200


# -- keys and scopes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Basic {key_of('acme')}", f"Bearer {key_of('acme')}x", "Bearer \udcff"],
)
async def test_without_a_valid_key_nothing_is_answered(site: Site, header: str | None) -> None:
    client = await site.client(None)
    headers = {} if header is None else {"Authorization": header.encode("utf-8", "surrogateescape")}
    answer = await client.get("/v1/rooms", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_refused")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_server_without_keys_refuses_everyone() -> None:
    async with RoomKit() as kit:
        site = Site(kit, ServerConfig())
        assert (await (await site.client()).get("/v1/rooms")).status_code == 401
        await site.close()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
async def test_an_operation_needs_its_scope(endpoint) -> None:
    others = tuple(scope for scope in Scope if scope is not endpoint.scope)
    async with RoomKit() as kit:
        site = Site(kit, ServerConfig(keys=keys(some=others, one=(endpoint.scope,))))
        path = endpoint.path.replace("{", "no-").replace("}", "")
        body = BODIES.get(endpoint.name)
        answers = [
            await (await site.client(name)).request(endpoint.method, path, json=body)
            for name in ("some", "one")
        ]
        assert (answers[0].status_code, answers[0].json()["code"]) == (403, "scope_missing")
        assert answers[1].status_code in (200, 201, 404)
        await site.close()


async def test_a_key_may_be_configured_by_its_hash() -> None:
    key = key_of("hashed")
    config = ServerConfig(keys={"h": KeyConfig(sha256=sha256(key.encode()).hexdigest())})
    async with RoomKit() as kit:
        site = Site(kit, config)
        assert (await (await site.client("hashed")).get("/v1/rooms")).status_code == 200
        await site.close()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"secret": "x" * 16, "sha256": "0" * 64},
        {"secret": "canary"},
        {"sha256": "x"},
        {"secret": "x" * 16, "scopes": ()},
    ],
)
def test_a_key_that_cannot_be_one_is_refused_without_being_quoted(fields) -> None:
    with pytest.raises(ValidationError) as refused:
        KeyConfig(**fields)
    assert "canary" not in str(refused.value)


async def test_two_names_for_one_key_are_refused() -> None:
    key = KeyConfig(secret="x" * 16)
    async with RoomKit() as kit:
        with pytest.raises(InvalidInputError, match="keys 'a' and 'b' of the server are the same"):
            create_app(kit, ServerConfig(keys={"a": key, "b": key}))


# -- limits -----------------------------------------------------------------------------------


async def test_a_key_that_asks_too_often_is_told_when_to_come_back() -> None:
    config = ServerConfig(
        keys={
            name: KeyConfig(secret=key_of(name), rate_limit=RateLimit(max_per_minute=1, burst=2))
            for name in ("acme", "globex")
        }
    )
    async with RoomKit() as kit:
        site = Site(kit, config)
        client = await site.client()
        statuses = [(await client.get("/v1/rooms")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = await client.get("/v1/rooms")
        assert 50 < int(refused.headers["retry-after"]) <= 60
        assert refused.json()["code"] == "rate_limited"
        assert (await (await site.client("globex")).get("/v1/rooms")).status_code == 200
        assert (await client.get("/health/live")).status_code == 200
        await site.close()


async def test_an_address_has_a_limit_of_its_own_and_webhooks_none() -> None:
    config = ServerConfig(keys=keys(), address_rate_limit=RateLimit(max_per_minute=1, burst=2))
    async with RoomKit() as kit:
        site = Site(kit, config)
        clients = [await site.client(name) for name in ("acme", "globex", "operator")]
        assert [(await each.get("/v1/rooms")).status_code for each in clients] == [200, 200, 429]
        assert (await clients[0].post("/webhooks/sms", content=b"")).status_code == 401
        await site.close()


async def test_who_guesses_keys_is_stopped_even_with_the_right_one() -> None:
    config = ServerConfig(keys=keys(), refusal_rate_limit=RateLimit(max_per_minute=1, burst=3))
    async with RoomKit() as kit:
        site = Site(kit, config)
        stranger = await site.client(None)
        statuses = [(await stranger.get("/v1/rooms")).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert (await (await site.client()).get("/v1/rooms")).status_code == 429
        await site.close()


@pytest.mark.parametrize("content", ["length", "pieces"])
async def test_a_body_beyond_the_limit_is_refused(content: str) -> None:
    async def pieces():
        for _ in range(5):
            yield b"x" * 50

    async with RoomKit() as kit:
        site = Site(kit, ServerConfig(keys=keys(), max_body_bytes=100))
        headers = {"Content-Type": "application/json"}
        data = b"x" * 101 if content == "length" else pieces()
        answer = await (await site.client()).post("/v1/rooms", content=data, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        await site.close()


@pytest.mark.virtual_time
async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def never():
        yield b"{"
        await asyncio.Event().wait()

    async with RoomKit() as kit:
        site = Site(kit, ServerConfig(keys=keys(), body_timeout=30))
        client = await site.client()
        received = never()
        sent: list = []

        async def receive():
            return {"type": "http.request", "body": await anext(received), "more_body": True}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/rooms",
            "raw_path": b"/v1/rooms",
            "query_string": b"",
            "headers": [
                (b"authorization", f"Bearer {key_of('acme')}".encode()),
                (b"content-type", b"application/json"),
            ],
            "client": ("127.0.0.1", 1),
        }
        await client.get("/health/live")
        async with asyncio.timeout(31):
            await site.app(scope, receive, send)
        assert sent[0]["status"] == 408
        await site.close()


# -- secrets ----------------------------------------------------------------------------------


async def test_keys_and_tickets_are_in_no_log_and_no_answer(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "roomkit")
    caplog.set_level(logging.WARNING, "httpx2")  # the client is the test's
    await site.serve()
    client = await site.remote()
    room = await site.room("acme", "ws")
    asked = await client.post(f"/v1/rooms/{room}/tickets", json={"channel_id": "ws", "participant_id": "ann"})
    ticket = asked.json()["ticket"]
    async with site.socket(f"/v1/rooms/{room}/socket?ticket={ticket}") as ann:
        await ann.recv()
    with pytest.raises(InvalidStatus):
        async with site.socket(f"/v1/rooms/{room}/socket?ticket={ticket}"):
            pass
    answers = [
        await client.get("/v1/rooms", params={"x": key_of("acme")}),
        await client.post("/v1/rooms", json={"x": key_of("acme")}),
        await (await site.remote(None)).get("/v1/rooms", headers={"Authorization": "Bearer canary-guess"}),
    ]
    shown = caplog.text + "".join(answer.text for answer in answers) + repr(site.config) + repr(site.app)
    for secret in (key_of("acme"), ticket, "canary-guess"):
        assert secret not in shown
    stored = [value.model_dump_json() async for value in site.kit.services_of("server").values.scan("ticket")]
    assert all(ticket not in each for each in stored)
