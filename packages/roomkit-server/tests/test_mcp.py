"""The API over MCP, with the client of the official SDK."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Tool

from roomkit import RateLimit, RoomKit, TextContent
from roomkit.abc import InvalidInputError
from roomkit_plugins.server import Scope, ServerConfig, create_app
from roomkit_plugins.server.api import ENDPOINTS

from .conftest import BODIES, Site, key_of, keys, records

MODES = ["auto", "legacy"]
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture
def config() -> ServerConfig:
    return ServerConfig(port=0, keys=keys(reader=(Scope.ROOMS_READ,), blind=(Scope.METRICS_READ,)), mcp=True)


@asynccontextmanager
async def assistant(site: Site, name: str = "acme", mode: str = "auto") -> AsyncIterator[Client]:
    http = await site.client(name)
    transport = streamable_http_client("http://kit.test/mcp", http_client=http)
    async with Client(transport, mode=mode) as client:
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> Any:
    """What a tool answers; it may not fail."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The problem of a call that is refused."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    problem: dict[str, Any] = json.loads(result.content[0].text)
    return problem


# -- tools ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_every_operation_is_a_tool(site: Site, mode: str) -> None:
    async with assistant(site, mode=mode) as client:
        offered = {each.name: each for each in (await client.list_tools()).tools}
    assert offered.keys() == {each.name for each in ENDPOINTS}
    for endpoint in ENDPOINTS:
        tool = offered[endpoint.name]
        assert tool.description == f"{endpoint.summary}."
        assert (tool.output_schema is None) is (endpoint.answer is None)
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (endpoint.method == "GET")
        assert endpoint.method != "DELETE" or tool.annotations.destructive_hint


async def test_a_tool_takes_the_fields_of_its_operation_side_by_side(site: Site) -> None:
    async with assistant(site) as client:
        offered = {each.name: each for each in (await client.list_tools()).tools}
    for endpoint in ENDPOINTS:
        schema = offered[endpoint.name].input_schema
        fields = {*endpoint.query.model_fields, *endpoint.body.model_fields}
        in_path = {part.strip("{}") for part in endpoint.path.split("/") if part.startswith("{")}
        assert schema["properties"].keys() == fields | in_path
        assert in_path <= set(schema["required"])
        assert not schema["additionalProperties"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_is_led_by_tools_and_answered_as_by_rest(site: Site, mode: str) -> None:
    rest = await site.client()
    async with assistant(site, mode=mode) as client:
        room = await told(client, "create_room", metadata={"name": "support"})
        path = f"/v1/rooms/{room['id']}"
        await told(client, "attach_channel", room_id=room["id"], channel_id="desk")
        await told(client, "put_participant", room_id=room["id"], channel_id="desk", participant_id="ann")
        event = await told(
            client, "send_event", room_id=room["id"], content={"type": "text", "body": "hello"}
        )
        taken = await told(
            client,
            "take_message",
            room_id=room["id"],
            channel_id="desk",
            sender_id="ann",
            content={"type": "text", "body": "hi"},
        )
        task = await told(client, "add_task", room_id=room["id"], title="call back")
        assert (await told(client, "get_event", room_id=room["id"], event_id=event["id"]))["index"] == (
            event["index"]
        )
        assert taken["event"]["content"]["body"] == "hi"
        assert task["title"] == "call back"
        await site.kit.send_event(room["id"], "system", TextContent(body="bye"))  # after its deliveries
        for tool, arguments, url in (
            ("list_rooms", {}, "/v1/rooms"),
            ("get_room", {"room_id": room["id"]}, path),
            ("list_events", {"room_id": room["id"], "limit": 2}, f"{path}/events?limit=2"),
            ("list_participants", {"room_id": room["id"]}, f"{path}/participants"),
            ("list_tasks", {"room_id": room["id"]}, f"{path}/tasks"),
            ("list_observations", {"room_id": room["id"]}, f"{path}/observations"),
            ("list_bindings", {"room_id": room["id"]}, f"{path}/channels"),
            ("list_deliveries", {"room_id": room["id"]}, f"/v1/deliveries?room_id={room['id']}"),
            ("list_channels", {}, "/v1/channels"),
        ):
            assert await told(client, tool, **arguments) == (await rest.get(url)).json()
        assert await told(client, "delete_room", room_id=room["id"]) is None
        assert (await refused(client, "get_room", room_id=room["id"]))["code"] == "room_not_found"


async def test_arguments_that_do_not_fit_are_named(site: Site) -> None:
    room = await site.room()
    async with assistant(site) as client:
        for arguments, place in (
            ({}, "arguments.room_id"),
            ({"room_id": ""}, "arguments.room_id"),
            ({"room_id": 7}, "arguments.room_id"),
            ({"room_id": room, "limit": 0}, "arguments.limit"),
            ({"room_id": room, "limt": 1}, "arguments.limt"),
        ):
            problem = await refused(client, "list_events", **arguments)
            assert (problem["status"], problem["code"]) == (400, "invalid_request")
            assert place in [each["place"] for each in problem["problems"]]
        with pytest.raises(MCPError, match="there is no such tool"):
            await client.call_tool("no_such_tool", {})


# -- keys -------------------------------------------------------------------------------------


async def test_another_organizations_record_is_answered_as_a_missing_one(site: Site) -> None:
    names = await records(site)
    made_up = {name: f"no-{name}" for name in names} | {"channel_id": "desk"}
    async with assistant(site, "globex") as client:
        for endpoint in ENDPOINTS:
            wanted = [part.strip("{}") for part in endpoint.path.split("/") if part.startswith("{")]
            if not wanted:
                continue
            texts = []
            for ids in (names, made_up):
                given = {**BODIES.get(endpoint.name, {}), **{each: ids[each] for each in wanted}}
                text = json.dumps(await refused(client, endpoint.name, **given))
                for each in sorted(set(wanted) - {"channel_id"}, key=lambda name: -len(ids[name])):
                    text = text.replace(ids[each], "ID")
                texts.append(text)
            assert texts[0] == texts[1]
            assert json.loads(texts[0])["status"] == 404


async def test_lists_have_an_organizations_own_records(site: Site) -> None:
    names = await records(site)
    for name, count in (("acme", 1), ("globex", 0), ("operator", 1)):
        async with assistant(site, name) as client:
            assert len((await told(client, "list_rooms"))["items"]) == count
            rows = (await told(client, "list_deliveries", room_id=names["room_id"]))["items"]
            assert bool(rows) is bool(count)


async def test_a_key_is_offered_what_it_may_use_and_refused_the_rest(site: Site) -> None:
    room = await site.room()
    async with assistant(site, "reader") as client:
        offered: list[Tool] = (await client.list_tools()).tools
        assert {each.name for each in offered} == {
            each.name for each in ENDPOINTS if each.scope is Scope.ROOMS_READ
        }
        assert (await told(client, "get_room", room_id=room))["id"] == room
        problem = await refused(client, "close_room", room_id=room)
        assert (problem["status"], problem["code"]) == (403, "scope_missing")
    async with assistant(site, "blind") as client:
        assert (await client.list_tools()).tools == []
    assert (await site.kit.get_room(room)).status.value == "active"


@pytest.mark.parametrize("message", [LIST, {**LIST, "method": "initialize"}, {}])
async def test_without_a_valid_key_nothing_is_answered(site: Site, message: dict[str, Any]) -> None:
    stranger = await site.client(None)
    for headers in (HEADERS, {**HEADERS, "Authorization": "Bearer wrong"}):
        answer = await stranger.post("/mcp", json=message, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "key_refused")


async def test_limits_hold_as_for_rest_and_together_with_it(config: ServerConfig) -> None:
    slow = {"acme": keys()["acme"].model_copy(update={"rate_limit": RateLimit(max_per_minute=1, burst=2)})}
    async with RoomKit() as kit:
        site = Site(kit, config.model_copy(update={"keys": slow}))
        client = await site.client()
        assert (await client.get("/v1/rooms")).status_code == 200
        assert (await client.post("/mcp", json=LIST, headers=HEADERS)).status_code == 200
        answer = await client.post("/mcp", json=LIST, headers=HEADERS)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 50
        await site.close()


# -- requests sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}', 400),
        (json.dumps([LIST, LIST]).encode(), 400),
        (b"[" * 100_000, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":' + b'{"a":' * 100_000, 400),
        (b"1" * 100_000, 400),
        (b'{"jsonrpc": "1.0"}', 400),
        (b"{}", 400),
        (b" " * (1024 * 1024 + 1), 413),
    ],
    ids=lambda each: repr(each[:24]) if isinstance(each, bytes) else str(each),
)
async def test_what_is_no_message_is_refused(site: Site, body: bytes, status: int) -> None:
    answer = await (await site.client()).post("/mcp", content=body, headers=HEADERS)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_messages_are_posted_and_no_stream_is_opened(site: Site, method: str) -> None:
    answer = await (await site.client()).request(method, "/mcp", headers=HEADERS)
    assert answer.status_code == 405


async def test_a_page_that_is_not_named_is_refused(config: ServerConfig) -> None:
    async with RoomKit() as kit:
        site = Site(kit, config.model_copy(update={"origins": ("https://shop.example",)}))
        client = await site.client()
        for origin, status in (("https://shop.example", 200), ("https://evil.example", 403)):
            answer = await client.post("/mcp", json=LIST, headers={**HEADERS, "Origin": origin})
            assert answer.status_code == status
        await site.close()


async def test_a_stopping_server_takes_no_more_messages(site: Site) -> None:
    client = await site.client()
    await client.get("/health/live")
    site.app.stopping.begin()
    answer = await client.post("/mcp", json=LIST, headers=HEADERS)
    assert (answer.status_code, answer.json()["code"]) == (503, "server_stopping")


async def test_neither_keys_nor_arguments_are_in_the_log(site: Site, caplog) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "httpx2")  # the client is the test's
    room = await site.room()
    async with assistant(site, mode="legacy") as client:
        await told(client, "send_event", room_id=room, content={"type": "text", "body": "canary-text"})
        await refused(client, "get_room", room_id="canary-room")
        await refused(client, "get_room", room_id=room, canary="canary-argument")
    http = await site.client()
    for body in (
        {**LIST, "params": {"canary": 1}},
        {"jsonrpc": "2.0", "id": {"canary": 1}},
        {"jsonrpc": "2.0", "method": "canary"},
        {**LIST, "method": "tools/call", "params": {"name": ["canary"]}},
    ):
        await http.post("/mcp", json=body, headers=HEADERS)
    assert "canary" not in caplog.text
    assert key_of("acme") not in caplog.text


# -- where it runs ----------------------------------------------------------------------------


async def test_it_is_served_only_where_the_configuration_says_so() -> None:
    async with RoomKit() as kit:
        site = Site(kit, ServerConfig(keys=keys()))
        answer = await (await site.client()).post("/mcp", json=LIST, headers=HEADERS)
        assert answer.status_code == 404
        await site.close()


async def test_without_the_sdk_the_server_says_what_to_install(config, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "roomkit_plugins.server.mcp", raising=False)
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    async with RoomKit() as kit:
        with pytest.raises(InvalidInputError, match=r"pip install 'roomkit-server\[mcp\]'"):
            await create_app(kit, config).build()


async def test_by_a_real_socket_it_ends_with_its_server_and_kit(site: Site) -> None:
    url = await site.serve()
    http = await site.remote()
    async with Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
        room = await told(client, "create_room")
        assert (await told(client, "list_rooms"))["items"] == [room]
        assert site.server is not None
        await site.server.close()
        await site.kit.close()
