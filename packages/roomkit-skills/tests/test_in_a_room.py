"""Skills in rooms: activated by the model, for the conversation, in that room alone."""

from __future__ import annotations

import asyncio

import pytest

from roomkit import (
    AIChannel,
    AIResponse,
    AITool,
    AIToolCall,
    AIToolResultPart,
    ChannelCategory,
    InboundMessage,
    MockAIProvider,
    Room,
    RoomKit,
    ScriptExecutor,
    ScriptResult,
    Skill,
    SkillMetadata,
    SkillRegistry,
    SQLiteStore,
    TextContent,
    ToolPolicy,
)
from roomkit.plugins import build_components, default_manager, load_config
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.contracts import ToolProviderContract

REFUNDS = "description: Refund orders.\nallowed-tools: refund_*"


class TestSkillRegistry(ToolProviderContract):
    @pytest.fixture
    def factory(self, make):
        folder = make("refunds", REFUNDS, references={"a.md": "A"}, scripts={"run": "x"})

        def new():
            registry = SkillRegistry(script_executor=Runner())
            registry.register(folder)
            registry.register(Skill(SkillMetadata(name="sum", description="Adds."), handler=answer))
            return registry

        return new


class Runner(ScriptExecutor):
    """Runs nothing, and keeps what it was asked to."""

    def __init__(self, result=None):
        self.result = result or ScriptResult(0, "done")
        self.ran = []
        self.is_closed = False

    async def execute(self, skill, script_name, arguments=None):
        self.ran.append((skill.name, script_name, arguments))
        return self.result

    async def close(self):
        self.is_closed = True


async def answer(name, arguments):
    return f"{name} of {dict(arguments)}"


def calling(name, /, **arguments):
    return AIResponse(content="", tool_calls=[AIToolCall(id="c1", name=name, arguments=arguments)])


class Play:
    """A kit with an agent that has skills, and what its model is asked."""

    def __init__(self, registry, *, store=None, **options):
        self.answers = []
        self.provider = MockAIProvider([lambda context: self.answers.pop(0)])
        self.kit = RoomKit() if store is None else RoomKit(store=store, single_process=True)
        self.kit.register_channel(RecordingChannel("ws"))
        tools = [(AITool(name="refund_order"), answer), (AITool(name="look"), answer)]
        agent = AIChannel("agent", self.provider, tools=tools, tool_providers=[registry], **options)
        self.kit.register_channel(agent)

    async def open(self, *rooms):
        for room_id in rooms:
            await self.kit.create_room(room_id=room_id)
            await self.kit.attach_channel(room_id, "ws")
            await self.kit.attach_channel(room_id, "agent", category=ChannelCategory.INTELLIGENCE)

    async def say(self, *answers, room_id="r1"):
        """Have a person say something and the model answer; return what it was asked, request by request."""
        self.provider.calls.clear()
        self.answers[:] = [*answers, AIResponse(content="ok")]
        message = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body="Please."))
        result = await self.kit.process_inbound(message, room_id=room_id)
        assert result.error is None
        return list(self.provider.calls)


def offered(request):
    return [tool.name for tool in request.tools]


def results(request):
    parts = [part for each in request.messages if each.role == "tool" for part in each.content]
    return [part for part in parts if isinstance(part, AIToolResultPart)]


@pytest.fixture
def registry(make):
    """Return a registry of one skill with all parts."""
    folder = make("refunds", REFUNDS, "Ask first.", references={"limits.md": "100 EUR"}, scripts={"run": "x"})
    found = SkillRegistry()
    found.register(folder)
    return found


async def test_a_skill_is_told_of_and_its_tools_are_withheld_until_it_is_activated(registry):
    """The next request of the same turn offers them, and so does every later turn."""
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        first, second, third, last = await play.say(
            calling("refund_order"), calling("activate_skill", name="refunds"), calling("refund_order")
        )
        assert offered(first) == offered(second) == ["look", "activate_skill", "read_skill_reference"]
        assert "<name>refunds</name><description>Refund orders.</description>" in first.system_prompt
        assert "Ask first." not in first.system_prompt
        assert offered(third)[0] == "refund_order"
        refused, activated, refunded = results(last)
        assert (refused.is_error, "call activate_skill with that name first" in refused.result) == (
            True,
            True,
        )
        assert '"instructions": "Ask first."' in activated.result
        assert '"references": ["limits.md"]' in activated.result
        assert refunded.result == "refund_order of {}"
        (later,) = await play.say()
        assert offered(later)[0] == "refund_order"
        assert '<skill name="refunds">\nAsk first.\n</skill>' in later.system_prompt


async def test_activation_is_of_one_room(registry):
    play = Play(registry)
    async with play.kit:
        await play.open("r1", "r2")
        await play.say(calling("activate_skill", name="refunds"))
        (other,) = await play.say(room_id="r2")
        assert "refund_order" not in offered(other)
        assert registry.active_skills(await play.kit.get_room("r1")) == ["refunds"]


async def test_rooms_that_activate_at_once_do_not_mix(make):
    """One registry, one agent, ten rooms, each with the skill that it asked for."""
    registry = SkillRegistry()
    for number in range(10):
        registry.register(make(f"skill{number}", "description: x"))
    play = Play(registry)
    async with play.kit:
        rooms = [f"r{number}" for number in range(10)]
        await play.open(*rooms)
        offers = [await registry.offer(Room(id=room_id)) for room_id in rooms]
        activate = [offer.tools[0].handler for offer in offers]
        await asyncio.gather(
            *(handler("activate_skill", {"name": f"skill{n}"}) for n, handler in enumerate(activate))
        )
        for number, room_id in enumerate(rooms):
            assert registry.active_skills(await play.kit.get_room(room_id)) == [f"skill{number}"]


async def test_what_was_activated_is_active_after_a_restart(registry, tmp_path):
    for start in (True, False):
        play = Play(registry, store=SQLiteStore(tmp_path / "rooms.db"))
        async with play.kit:
            if start:
                await play.open("r1")
                await play.say(calling("activate_skill", name="refunds"))
            else:
                (request,) = await play.say()
                assert "refund_order" in offered(request)


async def test_references_are_read_and_no_other_files(registry):
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        *_, last = await play.say(
            calling("read_skill_reference", skill_name="refunds", filename="limits.md"),
            calling("read_skill_reference", skill_name="refunds", filename="../SKILL.md"),
            calling("read_skill_reference", skill_name="other", filename="limits.md"),
        )
        read, refused, unknown = results(last)
        assert read.result == "100 EUR"
        assert "there is no file '../SKILL.md' in references; there are: limits.md" in refused.result
        assert (unknown.is_error, "invalid arguments" in unknown.result) == (True, True)


async def test_scripts_run_by_the_hosts_executor_once_their_skill_is_active(make):
    runner = Runner()
    registry = SkillRegistry(script_executor=runner)
    registry.register(make("refunds", REFUNDS, scripts={"run": "x"}))
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        run = calling("run_skill_script", skill_name="refunds", script_name="run", arguments={"a": "1"})
        outside = calling("run_skill_script", skill_name="refunds", script_name="../../run")
        *_, last = await play.say(run, calling("activate_skill", name="refunds"), run, outside)
        too_early, _, ran, refused = results(last)
        assert "is not active: call activate_skill" in too_early.result
        assert ran.result == '{"exit_code": 0, "stdout": "done", "stderr": ""}'
        assert "there is no file '../../run' in scripts; there are: run" in refused.result
        assert runner.ran == [("refunds", "run", {"a": "1"})]
    assert runner.is_closed


async def test_a_script_that_fails_is_an_error_of_the_call(make):
    registry = SkillRegistry(script_executor=Runner(ScriptResult(3, "", "no money", success=False)))
    registry.register(make("refunds", REFUNDS, scripts={"run": "x"}))
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        run = calling("run_skill_script", skill_name="refunds", script_name="run")
        *_, last = await play.say(calling("activate_skill", name="refunds"), run)
        assert (results(last)[1].is_error, "no money" in results(last)[1].result) == (True, True)


async def test_without_an_executor_there_are_no_scripts_to_run(registry):
    assert "run_skill_script" not in [
        each.definition.name for each in (await registry.offer(Room(id="r"))).tools
    ]


async def test_a_policy_cannot_hide_skills_but_it_decides_on_scripts_and_their_tools(make):
    registry = SkillRegistry(script_executor=Runner())
    registry.register(make("refunds", REFUNDS, scripts={"run": "x"}))
    play = Play(registry, tool_policy=ToolPolicy(allow=["look"]))
    async with play.kit:
        await play.open("r1")
        *_, last = await play.say(calling("activate_skill", name="refunds"))
        assert offered(last) == ["look", "activate_skill", "read_skill_reference"]


async def test_a_skill_in_code_is_a_tool(make):
    """At once without instructions, on activation with them."""
    registry = SkillRegistry()
    registry.register(Skill(SkillMetadata(name="weather", description="Get forecasts."), handler=answer))
    registry.register(
        Skill(
            SkillMetadata(name="maps", description="Draw maps."),
            "Draw small ones.",
            handler=answer,
            tools=[AITool(name="draw_map")],
        )
    )
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        first, *_, last = await play.say(
            calling("weather", city="Bern"), calling("activate_skill", name="maps"), calling("draw_map")
        )
        assert offered(first) == ["refund_order", "look", "activate_skill", "weather"]
        assert offered(last) == ["refund_order", "look", "activate_skill", "weather", "draw_map"]
        assert results(last)[0].result == "weather of {'city': 'Bern'}"
        assert results(last)[2].result == "draw_map of {}"


async def test_a_tool_of_two_skills_is_there_when_one_of_them_is_active(make):
    registry = SkillRegistry()
    registry.register(make("refunds", "description: x\nallowed-tools: refund_order"))
    registry.register(make("everything", "description: x\nallowed-tools: '*'"))
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        first, last = await play.say(calling("activate_skill", name="refunds"))
        assert offered(first) == ["activate_skill", "read_skill_reference"]
        assert offered(last) == ["refund_order", "activate_skill", "read_skill_reference"]


async def test_a_skill_that_was_removed_is_forgotten(registry):
    play = Play(registry)
    async with play.kit:
        await play.open("r1")
        await play.say(calling("activate_skill", name="refunds"))
        assert SkillRegistry().active_skills(await play.kit.get_room("r1")) == []


async def test_skills_are_found_from_a_configuration_file(make, tmp_path):
    make("refunds", REFUNDS)
    file = tmp_path / "roomkit.toml"
    folders = f'tool_providers = [{{ plugin = "skills", folders = ["{tmp_path}"] }}]\n'
    file.write_text(f'[agents.front]\nplugin = "ai"\nprovider = "mock"\n{folders}')
    parts = await build_components(load_config(file), default_manager())
    (found,) = parts.agents["front"].tool_providers
    assert found.skill_names == ["refunds"]
