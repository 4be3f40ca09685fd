"""What users were promised of several agents runs unchanged; only what the text leaves open is supplied."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import roomkit
from roomkit_plugins.testing import MockAIProvider, RecordingChannel, VirtualTimeLoop
from tests.seeds.test_snippets import Page

ROOT = Path(__file__).parents[2]
PLACES = [folder / "shared" / "seeds" / "README.md" for folder in ROOT.parents]
SEED = next((place for place in PLACES if place.is_file()), PLACES[0])
"""It lies beside the checkout where the project is made."""

STATE = """\
from roomkit import ConversationState, get_conversation_state, set_conversation_state

state = get_conversation_state(room)
print(state.phase, state.active_agent_id, state.handoff_count)

for t in state.phase_history:
    print(f"{t.from_phase} -> {t.to_phase} ({t.reason})")
"""
INSTALL = """\
from roomkit import ConversationPipeline, PipelineStage

pipeline = ConversationPipeline(stages=[
    PipelineStage(phase="intake", agent_id="agent-triage", next="handling"),
    PipelineStage(phase="handling", agent_id="agent-advisor", next=None),
])

# Wires routing hook + handoff tool on all agents
router, handler = pipeline.install(
    kit, [triage, advisor],
    greet_on_handoff=True,         # send agent greeting on handoff
    voice_channel_id="voice",      # voice channel for spoken greetings
)
"""
AGENT = """\
from roomkit import Agent, GeminiAIProvider, GeminiConfig

triage = Agent(
    "agent-triage",
    provider=GeminiAIProvider(config),
    role="Triage receptionist",
    description="Routes callers to the right specialist",
    scope="Financial advisory services only",
    voice="21m00Tcm4TlvDq8ikWAM",     # TTS voice ID
    greeting="Greet the caller warmly and ask how you can help.",
    language="French",                  # language hint injected into prompt
    system_prompt="You triage incoming requests.",
    memory=HandoffMemoryProvider(SlidingWindowMemory(max_events=20)),
)
"""
CONFIG_ONLY = """\
triage = Agent(
    "agent-triage",
    role="Triage receptionist",
    voice="Zephyr",
    system_prompt="Greet callers warmly.",
)
"""
LANGUAGE = 'await handler.set_language("room-1", "French", channel_id="voice")\n'
MEMORY = """\
from roomkit import SlidingWindowMemory, HandoffMemoryProvider

# Recent N messages
memory = SlidingWindowMemory(max_events=50)

# Handoff-aware: injects handoff context (reason, summary) from previous agent
memory = HandoffMemoryProvider(SlidingWindowMemory(max_events=50))

agent = Agent("agent", provider=my_provider, memory=memory, system_prompt="...")
"""
QUICKSTART = """\
import asyncio
from roomkit import (
    Agent, ChannelCategory, ConversationPipeline, ConversationState,
    HandoffMemoryProvider, InboundMessage, MockAIProvider, PipelineStage,
    RoomKit, SlidingWindowMemory, TextContent, WebSocketChannel,
    set_conversation_state,
)

async def main():
    kit = RoomKit()

    # Transport channel for user messages
    ws = WebSocketChannel("ws-user")
    kit.register_channel(ws)

    # AI agents with identity metadata
    triage = Agent(
        "agent-triage",
        provider=MockAIProvider(responses=["I'll transfer you to our specialist."]),
        role="Triage agent",
        description="Routes incoming requests",
        system_prompt="You triage incoming requests.",
        memory=HandoffMemoryProvider(SlidingWindowMemory(max_events=50)),
    )
    handler = Agent(
        "agent-handler",
        provider=MockAIProvider(responses=["Let me help you with that."]),
        role="Support specialist",
        description="Handles customer requests",
        system_prompt="You handle requests.",
        memory=HandoffMemoryProvider(SlidingWindowMemory(max_events=50)),
    )
    kit.register_channel(triage)
    kit.register_channel(handler)

    # Define a pipeline: triage -> handling
    pipeline = ConversationPipeline(stages=[
        PipelineStage(phase="triage", agent_id="agent-triage", next="handling"),
        PipelineStage(phase="handling", agent_id="agent-handler", next=None),
    ])
    router, handoff = pipeline.install(kit, [triage, handler])

    # Create room and attach channels
    await kit.create_room(room_id="room-1")
    await kit.attach_channel("room-1", "ws-user")
    await kit.attach_channel("room-1", "agent-triage", category=ChannelCategory.INTELLIGENCE)
    await kit.attach_channel("room-1", "agent-handler", category=ChannelCategory.INTELLIGENCE)

    # Initialize conversation state
    room = await kit.get_room("room-1")
    room = set_conversation_state(room, ConversationState(phase="triage", active_agent_id="agent-triage"))
    await kit.store.update_room(room)

    # Process a message — routed to the active agent
    await kit.process_inbound(
        InboundMessage(channel_id="ws-user", sender_id="user-1", content=TextContent(body="I need help"))
    )

    # Handoff to the next agent
    result = await handoff.handle(
        room_id="room-1",
        calling_agent_id="agent-triage",
        arguments={"target": "agent-handler", "reason": "User needs support"},
    )
    print(f"Handoff accepted: {result.accepted}")

asyncio.run(main())
"""
PROMISED = {
    "quickstart": QUICKSTART,
    "pipeline": INSTALL,
    "agent": AGENT,
    "config only": CONFIG_ONLY,
    "state": STATE,
    "language": LANGUAGE,
    "memory": MEMORY,
}


@pytest.fixture
def page() -> Any:
    """A page that has a kit and a room with a person, a call's channel and two agents."""
    made = Page()
    made.names.update({name: getattr(roomkit, name) for name in ("RoomKit", "Agent")})
    made.names["web"], made.names["voice"] = RecordingChannel("ws"), RecordingChannel("voice")
    made.names["my_provider"] = MockAIProvider(["Hello."])
    made.run(
        "kit = RoomKit()\n"
        "triage = Agent('agent-triage', my_provider, greeting='Greet them.')\n"
        "advisor = Agent('agent-advisor', my_provider)\n"
        "await kit.create_room('room-1')\n"
        "for channel in (web, voice, triage, advisor):\n"
        "    kit.register_channel(channel)\n"
        "    await kit.attach_channel('room-1', channel.channel_id)\n"
        "room = await kit.get_room('room-1')\n"
    )
    yield made
    made.close()


def test_the_whole_quickstart(capsys: pytest.CaptureFixture[str]) -> None:
    """Triage answers, hands over, and the specialist answers at once."""
    kits: list[Any] = []

    class Watched(roomkit.RoomKit):
        def __init__(self) -> None:
            super().__init__()
            kits.append(self)

    code = QUICKSTART.replace("asyncio.run(main())", "")
    names: dict[str, Any] = {}
    exec(code, names)
    names["RoomKit"] = Watched
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(names["main"]())
        events = runner.run(kits[0].get_timeline("room-1"))
        runner.run(kits[0].close())
    assert capsys.readouterr().out == "Handoff accepted: True\n"
    said = [roomkit.text_of(event.content) for event in events if event.visibility == "all"]
    answers = ["I'll transfer you to our specialist.", "Let me help you with that."]
    assert said[-3:] == ["I need help", *answers]


def test_the_pipeline_and_the_language_of_a_room(page: Page) -> None:
    """The channel of the call reads both in its binding."""
    page.run(INSTALL)
    page.run(LANGUAGE)
    page.run("await handler.handle('room-1', 'agent-triage', {'target': 'agent-advisor'})")
    page.run("binding = await kit.get_binding('room-1', 'voice')")
    assert (page["binding"].metadata["language"], page["binding"].metadata["agent"]) == (
        "French",
        "agent-advisor",
    )
    page.run("room = await kit.get_room('room-1')")
    page.run(STATE)
    assert page.printed == ["handling agent-advisor 1", "intake -> handling ()"]


def test_an_agent_with_an_identity(page: Page) -> None:
    """Its instructions say who it is, and in which language it answers."""
    page.names["config"] = roomkit.GeminiConfig(api_key="key", model="gemini-2.5-flash")
    page.names["HandoffMemoryProvider"] = roomkit.HandoffMemoryProvider
    page.names["SlidingWindowMemory"] = roomkit.SlidingWindowMemory
    page.run(AGENT)
    assert page["triage"].build_identity_block().splitlines() == [
        "--- Agent Identity ---",
        "Role: Triage receptionist",
        "Description: Routes callers to the right specialist",
        "Scope: Financial advisory services only",
        "Language: always respond in French, whatever language you are addressed in.",
    ]
    assert page["triage"].voice == "21m00Tcm4TlvDq8ikWAM"


def test_an_agent_without_a_provider_is_configuration(page: Page) -> None:
    """It is never asked, and says why if it is."""
    page.run(CONFIG_ONLY)
    assert page["triage"].is_config_only
    assert page["triage"].responds_to == frozenset()


def test_the_memory_of_a_handoff(page: Page) -> None:
    page.run(MEMORY)
    assert page["agent"].memory is page["memory"]


@pytest.mark.skipif(not SEED.is_file(), reason="the promises do not lie beside this checkout")
@pytest.mark.parametrize("promised", PROMISED)
def test_the_text_is_as_it_was_promised(promised: str) -> None:
    """Each snippet above is one of the text, so what runs here is what users were shown."""
    blocks = re.findall(r"```python\n(.*?)```", SEED.read_text(encoding="utf-8"), re.DOTALL)
    assert PROMISED[promised] in blocks
