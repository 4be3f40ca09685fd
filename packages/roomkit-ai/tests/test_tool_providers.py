"""Tools from elsewhere: what an agent's tool providers bring to its turns."""

from __future__ import annotations

import asyncio
import base64
import logging

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.models.ai import AIImagePart, AITool
from roomkit.models.room import Room
from roomkit.models.tool import ToolResult
from roomkit_plugins.ai import AIChannel, ToolPolicy
from roomkit_plugins.testing import MockAIProvider

PIXEL = f"data:image/png;base64,{base64.b64encode(b'pixel').decode()}"


class Shelf(ToolProvider):
    """Offers what it is given; `open` opens the door that withholds `vault_*`."""

    def __init__(self, *tools: str, instructions: tuple[str, ...] = (), answer: object = "done") -> None:
        self.names = tools
        self.instructions = instructions
        self.answer = answer
        self.is_open = False
        self.life: list[str] = []

    async def offer(self, room: Room) -> ToolOffer:
        opener = ProvidedTool(AITool(name="open"), self._open, changes_offer=True, exempt=True)
        tools = [ProvidedTool(AITool(name=name), self._run) for name in self.names]
        withheld = {} if self.is_open else {"vault_*": "call `open` first"}
        return ToolOffer([opener, *tools], self.instructions, withheld, granted=["vault_door"])

    async def _open(self, name, arguments):
        self.is_open = True
        return "opened"

    async def _run(self, name, arguments):
        return self.answer

    def bind(self, services):
        super().bind(services)
        self.life.append("bind")

    async def start(self):
        self.life.append("start")

    async def close(self):
        self.life.append("close")


def offered(context) -> list[str]:
    return [tool.name for tool in context.tools]


async def test_an_agent_offers_its_own_tools_first_and_then_the_providers(stage, script):
    """Of two tools of one name the agent's own is kept; instructions follow the system prompt."""
    provider = stage.provider(script.calls("look"), script.says("ok"))
    shelf = Shelf("look", "far", instructions=("Use tools.",), answer="seen")
    other = Shelf("near", instructions=("Be quick.",))

    async def own(name, arguments):
        return "own"

    agent = stage.agent(
        provider,
        system_prompt="Be kind.",
        tools=[(script.tool("look"), own)],
        tool_providers=[shelf, other],
    )
    heard = await stage.ask(agent, "hello")
    first, second = provider.calls
    assert offered(first) == ["look", "open", "far", "near"]
    assert first.system_prompt == "Be kind.\n\nUse tools.\n\nBe quick."
    assert [each.result for each in script.results(second)] == ["own"]
    assert heard.text == "ok"


async def test_a_withheld_tool_is_neither_shown_nor_run_until_its_offer_changes(stage, script):
    """Of any origin; and the next request of the same turn offers it."""
    provider = stage.provider(
        script.calls("vault_read"), script.calls("open"), script.calls("vault_read"), script.says("ok")
    )

    async def read(name, arguments):
        return "gold"

    own = [(script.tool("vault_read"), read), (script.tool("vault_door"), read)]
    agent = stage.agent(provider, tools=own, tool_providers=[Shelf("look")])
    agent.services.rooms = Rooms()
    await stage.ask(agent, "hello")
    assert [offered(each) for each in provider.calls] == [
        ["vault_door", "open", "look"],
        ["vault_door", "open", "look"],
        ["vault_read", "vault_door", "open", "look"],
        ["vault_read", "vault_door", "open", "look"],
    ]
    results = script.results(provider.calls[-1])
    assert [(each.result, each.is_error) for each in results] == [
        ('{"error": "call `open` first"}', True),
        ("opened", False),
        ("gold", False),
    ]


class Rooms:
    async def read_room(self, room_id):
        return Room(id=room_id)


async def test_a_policy_filters_all_but_exempt_tools(stage, script):
    provider = stage.provider(script.says("ok"))
    agent = stage.agent(
        provider, tool_policy=ToolPolicy(allow=["look"]), tool_providers=[Shelf("look", "far")]
    )
    await stage.ask(agent, "hello")
    assert offered(provider.calls[0]) == ["open", "look"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("fault", ["raises", "hangs", "nonsense"])
async def test_a_provider_that_fails_costs_its_tools_and_not_the_answer(stage, script, caplog, fault):
    """The log names it; the tools of the others are there."""

    class Faulty(ToolProvider):
        async def offer(self, room):
            if fault == "raises":
                raise ConnectionError("no route to the server")
            if fault == "hangs":
                await asyncio.Event().wait()
            return "nonsense"

    provider = stage.provider(script.says("ok"))
    agent = stage.agent(provider, tool_providers=[Faulty(), Shelf("look")])
    with caplog.at_level(logging.WARNING):
        heard = await stage.ask(agent, "hello")
    assert heard.text == "ok"
    assert offered(provider.calls[0]) == ["open", "look"]
    assert "the tools of 'Faulty' are not offered to agent in this turn" in caplog.text


@pytest.mark.parametrize("vision", [True, False])
async def test_the_images_of_a_result_follow_it_or_leave_a_note(stage, script, legal, vision):
    """A model that takes images sees them, after all results of the round; another one reads of them."""
    answer = ToolResult(text="the chart", images=(AIImagePart(url=PIXEL),))
    provider = stage.provider(script.calls("draw", "look"), script.says("ok"), vision=vision)
    agent = stage.agent(provider, tool_providers=[Shelf("draw", "look", answer=answer)])
    await stage.ask(agent, "hello")
    messages = provider.calls[-1].messages
    legal(messages)
    assert script.results(provider.calls[-1])[0].result == "the chart\n[image: image/png]"
    images = [
        part
        for each in messages
        if each.role == "user"
        for part in each.content
        if isinstance(part, AIImagePart)
    ]
    assert len(images) == (2 if vision else 0)


async def test_a_result_can_say_that_it_is_an_error(stage, script):
    provider = stage.provider(script.calls("look"), script.says("ok"))
    agent = stage.agent(
        provider, tool_providers=[Shelf("look", answer=ToolResult(text="no such order", is_error=True))]
    )
    await stage.ask(agent, "hello")
    (result,) = script.results(provider.calls[-1])
    assert (result.result, result.is_error) == ("no such order", True)


async def test_an_agent_binds_starts_and_closes_its_providers(stage, script):
    shelf = Shelf("look")
    agent = stage.agent(stage.provider(script.says("ok")), tool_providers=[shelf])
    await agent.start()
    await agent.close()
    assert shelf.life == ["bind", "start", "close"]


def test_what_is_no_provider_is_refused():
    with pytest.raises(InvalidInputError, match="is not a tool provider: pass a single tool in tools="):
        AIChannel("agent", MockAIProvider(), tool_providers=[AITool(name="look")])
