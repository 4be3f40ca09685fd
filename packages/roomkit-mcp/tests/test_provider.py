"""Tools of a real MCP server: offered, called, changed, lost and found again."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from roomkit import MCPToolProvider, Room, compose_tool_handlers
from roomkit.abc import InvalidInputError, UnknownToolError
from roomkit_plugins.mcp import MCPConfig, MCPToolError, MCPUnavailableError
from roomkit_plugins.testing.contracts import ToolProviderContract

from .conftest import MORTAL, PROGRAM, Scripted, Shop, free_port, served

PATIENCE = 10.0


@pytest.fixture
async def tools(url):
    """Return a provider of the shop's tools."""
    async with asyncio.timeout(PATIENCE):
        provider = MCPToolProvider(url)
        yield provider
        await provider.close()


async def offered(provider: MCPToolProvider) -> dict[str, object]:
    offer = await provider.offer(Room(id="room"))
    return {each.definition.name: each for each in offer.tools}


class TestOverHTTP(ToolProviderContract):
    secrets = ("sk-canary-9c1f",)

    @pytest.fixture
    def factory(self, url):
        headers = {"Authorization": SecretStr("Bearer sk-canary-9c1f")}
        return lambda: MCPToolProvider(url, headers=headers)


class TestOverSSE(ToolProviderContract):
    @pytest.fixture
    async def factory(self, shop):
        async with served(shop.server.sse_app()) as endpoint:
            yield lambda: MCPToolProvider(endpoint.replace("/mcp", "/sse"), transport="sse")


async def test_tools_are_offered_as_the_server_describes_them(tools):
    found = await offered(tools)
    assert set(found) == {"add", "draw", "fail", "wait", "prices", "expand"} == set(tools.tool_names)
    add = found["add"]
    assert add.definition.description == "Add two numbers."
    assert add.definition.parameters["required"] == ["a", "b"]
    assert add.timeout == 60.0


async def test_a_filter_and_a_prefix_say_what_is_offered_and_how(url, shop):
    async with MCPToolProvider(url, tool_filter=("a*", "draw"), prefix="shop_") as tools:
        assert tools.tool_names == ["shop_add", "shop_draw"]
        assert await tools.handler("shop_add", {"a": 1, "b": 2}) == "3"
        assert shop.calls == ["add"]


async def test_the_handler_may_be_used_before_there_is_a_connection(url):
    """As in `compose_tool_handlers(mcp.handler, my_handler)`."""
    tools = MCPToolProvider(server_url=url)
    assert await tools.handler("add", {"a": 2, "b": 3}) == "5"
    with pytest.raises(UnknownToolError, match=r"has no tool 'subtract'"):
        await tools.handler("subtract", {})
    await tools.close()


async def test_composed_with_others_it_leaves_them_their_tools(url):
    """Also while the server cannot be reached."""

    async def mine(name, arguments):
        return f"mine: {name}"

    for endpoint, sum_of_two in ((url, "3"), (f"http://127.0.0.1:{free_port()}/mcp", "mine: add")):
        tools = MCPToolProvider(endpoint)
        handler = compose_tool_handlers(tools.handler, mine)
        assert await handler("add", {"a": 1, "b": 2}) == sum_of_two
        assert await handler("refund", {}) == "mine: refund"
        await tools.close()


async def test_images_errors_and_structured_content_are_results(tools):
    drawn = await tools.handler("draw", {})
    assert (drawn.text, [each.url for each in drawn.images]) == ("a dot", ["data:image/png;base64,ZG90"])
    failed = await tools.handler("fail", {})
    assert failed.is_error
    assert "the shop is closed" in failed.text
    assert '"tea": 3' in await tools.call_tool("prices", {})
    with pytest.raises(MCPToolError, match="the shop is closed"):
        await tools.call_tool("fail", {})


async def test_wrong_arguments_are_an_error_of_the_call(tools):
    failed = await tools.handler("add", {"a": "many"})
    assert failed.is_error


async def test_a_call_has_a_deadline_and_the_server_is_told(tools, shop):
    with pytest.raises(TimeoutError, match=r"no answer of http://127\.0\.0\.1:\d+/mcp in 0\.1 s"):
        await tools.call_tool("wait", {}, timeout=0.1)
    await shop.cancelled.wait()
    assert await tools.handler("add", {"a": 1, "b": 2}) == "3"


async def test_cancelling_a_call_cancels_it_on_the_server(tools, shop):
    call = asyncio.create_task(tools.handler("wait", {}))
    await shop.started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await shop.cancelled.wait()
    assert await tools.handler("add", {"a": 1, "b": 2}) == "3"


async def test_calls_run_at_the_same_time(tools, shop):
    waiting = asyncio.create_task(tools.handler("wait", {}))
    await shop.started.wait()
    sums = await asyncio.gather(*(tools.handler("add", {"a": n, "b": 1}) for n in range(20)))
    assert sums == [str(n + 1) for n in range(20)]
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_server_that_went_and_came_back_is_connected_to_again(shop, monkeypatch):
    """Its tools stay on offer, and a call of one fails."""
    monkeypatch.setattr("roomkit_plugins.mcp.connection.FIRST_DELAY", 0.0)
    async with served(shop.server.streamable_http_app()) as endpoint:
        tools = MCPToolProvider(endpoint)
        assert await tools.handler("add", {"a": 1, "b": 2}) == "3"
    with pytest.raises(MCPUnavailableError):
        await tools.handler("add", {"a": 1, "b": 2})
    assert "add" in await offered(tools)
    async with served(Shop().server.streamable_http_app(), urlsplit(endpoint).port):
        assert await tools.handler("add", {"a": 1, "b": 2}) == "3"
        await tools.close()


async def test_what_cannot_be_reached_says_why_and_when_it_is_tried_again(caplog):
    """Concurrent uses share one attempt; the next attempt waits."""
    tools = MCPToolProvider(f"http://127.0.0.1:{free_port()}/mcp?key=secret-in-a-query")
    with caplog.at_level(logging.WARNING):
        failures = await asyncio.gather(*(offered(tools) for _ in range(5)), return_exceptions=True)
    assert {type(each) for each in failures} == {MCPUnavailableError}
    assert "cannot be reached" in str(failures[0])
    with pytest.raises(MCPUnavailableError, match=r"next attempt in 0\.\d s"):
        await offered(tools)
    assert [each for each in caplog.messages if "cannot be reached" in each] == [caplog.messages[0]]
    assert "secret-in-a-query" not in caplog.text + repr(failures) + tools.name
    await tools.close()


async def test_a_changed_list_is_offered_at_the_next_turn(tools):
    assert "greet" not in await offered(tools)
    assert await tools.handler("expand", {}) == "expanded"
    async with asyncio.timeout(PATIENCE):
        while "greet" not in (found := await offered(tools)):  # noqa: ASYNC110 - the client is what changes
            await asyncio.sleep(0)
    assert (await found["greet"].handler("greet", {})).text == "hello"


async def test_a_turn_that_is_cancelled_while_the_server_lists_leaves_the_next_one_its_tools():
    server = Scripted({"name": "good", "inputSchema": {"type": "object"}})
    server.may_list.clear()
    async with served(server) as url:
        tools = MCPToolProvider(url)
        turn = asyncio.create_task(offered(tools))
        await server.listing.wait()
        turn.cancel()
        await asyncio.wait([turn])
        server.may_list.set()
        assert [*await offered(tools)] == ["good"]
        await tools.close()


@pytest.mark.parametrize("moment", ["while it connects", "during a call"])
async def test_closing_ends_what_is_under_way(tools, shop, moment):
    if moment == "while it connects":
        running = asyncio.create_task(tools.get_tools())
        await asyncio.sleep(0)
    else:
        running = asyncio.create_task(tools.handler("wait", {}))
        await shop.started.wait()
    await tools.close()
    with pytest.raises(MCPUnavailableError):
        await running


class TestAProgram:
    """A server on the standard streams of a process."""

    async def test_a_program_gets_its_own_variables_only(self, monkeypatch):
        monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
        async with MCPToolProvider(command=PROGRAM, env={"COLOUR": "green"}) as tools:
            assert tools.tool_names == ["variable"]
            assert await tools.handler("variable", {"name": "COLOUR"}) == "green"
            assert await tools.handler("variable", {"name": "DATABASE_PASSWORD"}) == "unset"

    async def test_one_that_ends_during_a_call_leaves_its_outcome_unknown(self):
        tools = MCPToolProvider(command=MORTAL)
        with pytest.raises(MCPUnavailableError, match="was lost while 'end' ran: its outcome is unknown"):
            await tools.handler("end", {})
        assert await tools.handler("look", {}) == "looked"
        await tools.close()

    async def test_one_that_cannot_be_started_is_unavailable(self):
        tools = MCPToolProvider(command=("no-such-program-here",))
        with pytest.raises(MCPUnavailableError, match="no-such-program-here cannot be reached"):
            await tools.get_tools()
        await tools.close()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "either a url or a command"),
        ({"url": "http://x/mcp", "command": ["x"]}, "either a url or a command"),
        ({"url": "ftp://x/mcp"}, r"not an http\(s\) URL"),
        ({"url": "http://ann:secret@x/mcp"}, "has credentials in it"),
        ({"url": "http://x/mcp", "headers": {"Authorization": "Bearer x"}}, "is a secret by its name"),
        ({"url": "http://x/mcp", "prefix": "a b"}, "prefix"),
        ({"url": "http://x/mcp", "call_timeout": 0}, "call_timeout"),
        ({"url": "http://x/mcp", "timeot": 1}, "timeot"),
        ({"command": []}, "command"),
    ],
    ids=["nothing", "both", "scheme", "credentials", "header", "prefix", "deadline", "slip", "no program"],
)
def test_settings_that_no_server_has_are_refused(options, problem):
    with pytest.raises(InvalidInputError, match=problem):
        MCPToolProvider(**options)


def test_a_config_leaves_no_room_for_other_settings():
    config = MCPConfig(url="http://127.0.0.1/mcp")
    with pytest.raises(InvalidInputError, match="config has all settings"):
        MCPToolProvider(config=config, prefix="x")
