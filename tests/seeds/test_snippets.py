"""The snippets users were promised run unchanged; those of packages that are not built yet say so.

Only what a snippet leaves to the reader (`...`, "my_provider") is supplied, before it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

import roomkit
from roomkit_plugins.testing import MockAIProvider, RecordingChannel, VirtualTimeLoop


class Page:
    """A namespace in which snippets run one after the other, on one loop."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed: list[str] = []
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.names["print"] = lambda *words: self.printed.append(" ".join(map(str, words)))

    def run(self, snippet: str) -> None:
        code = compile(snippet, "<snippet>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

        async def here() -> None:
            answer = eval(code, self.names)
            if inspect.isawaitable(answer):
                await answer

        self._runner.run(here())

    def close(self) -> None:
        for kit in [each for each in self.names.values() if isinstance(each, roomkit.RoomKit)]:
            self._runner.run(kit.close())
        self._runner.close()

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


@pytest.fixture
def kit_page(page: Page) -> Page:
    """A page that has a kit, a room with a socket in it, and the names a reader has imported by then."""
    page.names.update({name: getattr(roomkit, name) for name in IMPORTED})
    page.names["sms"] = RecordingChannel("sms-out", channel_type=roomkit.ChannelType.SMS)
    page.run(
        "kit = RoomKit()\n"
        "kit.register_channel(sms)\n"
        "kit.register_channel(WebSocketChannel('ws-user'))\n"
        "await kit.create_room(room_id='room-1')\n"
        "await kit.attach_channel('room-1', 'ws-user')\n"
        "async def say(channel='ws-user', body='I need help', room_id='room-1'):\n"
        "    said = TextContent(body=body)\n"
        "    message = InboundMessage(channel_id=channel, sender_id='user-1', content=said)\n"
        "    return await kit.process_inbound(message, room_id=room_id)\n"
    )
    return page


IMPORTED = (
    "AIChannel",
    "AIContext",
    "AIMessage",
    "ChannelCategory",
    "ChannelDirection",
    "ChannelType",
    "HookResult",
    "HookTrigger",
    "InboundMessage",
    "RoomContext",
    "RoomEvent",
    "RoomKit",
    "RoomLockManager",
    "TextContent",
    "WebSocketChannel",
)


def test_the_quickstart_without_orchestration(page: Page) -> None:
    """Kit, socket, agent, room, message, in the words of the quickstart."""
    page.run("""\
from roomkit import (
    AIChannel, ChannelCategory, InboundMessage, MockAIProvider,
    RoomKit, SlidingWindowMemory, TextContent, WebSocketChannel,
)

async def main():
    kit = RoomKit()

    # Transport channel for user messages
    ws = WebSocketChannel("ws-user")
    kit.register_channel(ws)

    handler = AIChannel(
        "agent-handler",
        provider=MockAIProvider(responses=["Let me help you with that."]),
        system_prompt="You handle requests.",
        memory=SlidingWindowMemory(max_events=50),
    )
    kit.register_channel(handler)

    # Create room and attach channels
    await kit.create_room(room_id="room-1")
    await kit.attach_channel("room-1", "ws-user")
    await kit.attach_channel("room-1", "agent-handler", category=ChannelCategory.INTELLIGENCE)

    room = await kit.get_room("room-1")
    await kit.store.update_room(room)

    # Process a message — routed to the active agent
    await kit.process_inbound(
        InboundMessage(channel_id="ws-user", sender_id="user-1", content=TextContent(body="I need help"))
    )
    print((await kit.get_timeline("room-1"))[-1].content.body)
    await kit.close()

await main()
""")
    assert page.printed == ["Let me help you with that."]


def test_hooks(kit_page: Page) -> None:
    """The compliance check sees all messages, the other one only those by SMS."""
    kit_page.run("""\
@kit.hook(HookTrigger.BEFORE_BROADCAST, name="compliance_check")
async def check(event: RoomEvent, ctx: RoomContext) -> HookResult:
    return HookResult.allow()
""")
    kit_page.run("""\
@kit.hook(HookTrigger.BEFORE_BROADCAST, channel_types={ChannelType.SMS}, directions={ChannelDirection.INBOUND})
async def sms_only_hook(event, ctx):
    return HookResult.allow()
""")  # noqa: E501 - as it was promised
    kit_page.run("result = await say()")
    assert not kit_page["result"].blocked
    engine = kit_page["kit"].hook_engine
    names = [
        hook.name for hook in engine.select("before_broadcast", "room-1", kit_page["result"].event.source)
    ]
    assert names == ["compliance_check"]


PROMISED_TRIGGERS = (
    "BEFORE_BROADCAST AFTER_BROADCAST ON_ROOM_CREATED ON_ROOM_PAUSED ON_ROOM_CLOSED ON_CHANNEL_ATTACHED "
    "ON_CHANNEL_DETACHED ON_CHANNEL_MUTED ON_CHANNEL_UNMUTED ON_IDENTITY_AMBIGUOUS ON_IDENTITY_UNKNOWN "
    "ON_PARTICIPANT_IDENTIFIED ON_SPEECH_START ON_SPEECH_END ON_TRANSCRIPTION ON_PARTIAL_TRANSCRIPTION "
    "ON_VAD_SILENCE ON_VAD_AUDIO_LEVEL ON_INPUT_AUDIO_LEVEL ON_OUTPUT_AUDIO_LEVEL BEFORE_TTS AFTER_TTS "
    "ON_TTS_CANCELLED ON_BARGE_IN ON_SPEAKER_CHANGE ON_DTMF ON_TURN_COMPLETE ON_TURN_INCOMPLETE "
    "ON_BACKCHANNEL ON_RECORDING_STARTED ON_RECORDING_STOPPED ON_REALTIME_TOOL_CALL "
    "ON_REALTIME_TEXT_INJECTED ON_PHASE_TRANSITION ON_HANDOFF ON_HANDOFF_REJECTED ON_TASK_CREATED "
    "ON_DELIVERY_STATUS ON_ERROR ON_OBSERVATION ON_PROTOCOL_TRACE "
)


@pytest.mark.parametrize("trigger", PROMISED_TRIGGERS.split())
def test_every_trigger_can_be_registered(kit_page: Page, trigger: str) -> None:
    """Also those that packages to come will fire."""
    kit_page.run(
        f"@kit.hook(HookTrigger.{trigger})\nasync def hook(event, ctx):\n    return HookResult.allow()\n"
    )
    assert kit_page["kit"].hook_engine.has_hooks(roomkit.HookTrigger[trigger])


def test_per_room_ai_configuration(kit_page: Page) -> None:
    """The agents of that room are told it, and offered its tools."""
    kit_page.names["provider"] = provider = MockAIProvider(["It was shipped."])
    kit_page.run("""\
from roomkit import AIConfig, AITool

room = await kit.create_room(
    room_id="support-room",
    ai_config=AIConfig(
        system_prompt="You are a helpful support agent.",
        temperature=0.7,
        tools=[AITool(name="lookup_order", description="Look up order status", parameters={"type": "object"})],
    ),
)
""")  # noqa: E501 - as it was promised
    kit_page.run("""\
kit.register_channel(AIChannel("bot", provider, tool_handler=lambda name, arguments: None))
await kit.attach_channel("support-room", "ws-user")
await kit.attach_channel("support-room", "bot")
await say(room_id="support-room")
""")
    (context,) = provider.calls
    assert context.system_prompt is not None
    assert context.system_prompt.startswith("You are a helpful support agent.")
    assert (context.temperature, [tool.name for tool in context.tools]) == (0.7, ["lookup_order"])


def test_function_calling(kit_page: Page) -> None:
    """By hand, without a channel."""
    call = roomkit.AIToolCall(id="1", name="lookup", arguments={"order": 7})
    ran: list[Any] = []

    async def execute_tool(name: str, arguments: Any) -> str:
        ran.append((name, dict(arguments)))
        return "shipped"

    kit_page.names["ai_provider"] = MockAIProvider(
        ai_responses=[roomkit.AIResponse(content="", tool_calls=[call])]
    )
    kit_page.names["execute_tool"] = execute_tool
    kit_page.run("context = AIContext(messages=[AIMessage(role='user', content='Where is it?')])")
    kit_page.run("""\
response = await ai_provider.generate(context)
if response.tool_calls:
    for call in response.tool_calls:
        result = await execute_tool(call.name, call.arguments)
""")
    assert ran == [("lookup", {"order": 7})]


def test_realtime_events(kit_page: Page) -> None:
    """Typing is seen by who subscribed."""
    kit_page.run("""\
from roomkit import EphemeralEvent, EphemeralEventType

async def handle_realtime(event: EphemeralEvent):
    if event.type == EphemeralEventType.TYPING_START:
        print(f"{event.user_id} is typing...")

sub_id = await kit.subscribe_room("room-1", handle_realtime)
await kit.publish_typing("room-1", "user-1")
await kit.publish_presence("room-1", "user-1", "online")
await kit.publish_read_receipt("room-1", "user-1", "event-123")
""")
    kit_page.run("import asyncio; await asyncio.sleep(1)")
    assert kit_page.printed == ["user-1 is typing..."]


def test_identity_resolution(kit_page: Page) -> None:
    """A known sender speaks under their identity."""

    class User:
        id, name = "ann", "Ann"

    async def lookup(sender_id: str) -> User | None:
        return User() if sender_id == "user-1" else None

    kit_page.names["lookup"] = lookup
    kit_page.run("""\
from roomkit import IdentityResolver, IdentityResult, IdentificationStatus, Identity

class MyResolver(IdentityResolver):
    async def resolve(self, message, context):
        user = await lookup(message.sender_id)
        if user:
            return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=Identity(id=user.id, display_name=user.name))
        return IdentityResult(status=IdentificationStatus.UNKNOWN)

kit = RoomKit(identity_resolver=MyResolver())
""")  # noqa: E501 - as it was promised
    kit_page.run("""\
kit.register_channel(WebSocketChannel("ws-user"))
await kit.create_room("room-1")
await kit.attach_channel("room-1", "ws-user")
result = await say()
""")
    assert kit_page["result"].event.source.participant_id == "ann"


def test_sources(kit_page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on this machine stands for the one that the block names; what that sends is received."""
    from websockets.asyncio import client
    from websockets.asyncio.server import ServerConnection, serve

    async def talk(connection: ServerConnection) -> None:
        await connection.send('{"sender_id": "ann", "text": "Hello"}')
        await connection.wait_closed()

    class Here(client.connect):
        def __init__(self, uri: str, *, ssl: object, **options: Any) -> None:
            assert uri == "wss://chat.example.com/events"
            assert ssl is not None
            super().__init__(f"ws://127.0.0.1:{kit_page['port']}", **options)

    monkeypatch.setattr(client, "connect", Here)
    kit_page.names.update(serve=serve, talk=talk, asyncio=asyncio)
    kit_page.run("""\
server = await serve(talk, "127.0.0.1", 0)
port = server.sockets[0].getsockname()[1]
""")
    kit_page.run("""\
from roomkit.sources import WebSocketSource

source = WebSocketSource(url="wss://chat.example.com/events", channel_id="websocket-chat")
await kit.attach_source("websocket-chat", source, auto_restart=True, max_restart_attempts=10)

health = await kit.source_health("websocket-chat")
print(f"Status: {health.status}, Messages: {health.messages_received}")
""")
    (shown,) = kit_page.printed
    assert re.fullmatch(r"Status: (connecting|connected), Messages: [01]", shown)
    kit_page.run("""\
async with asyncio.timeout(30):
    while not (await kit.source_health("websocket-chat")).messages_received:
        await asyncio.sleep(0)
await kit.detach_source("websocket-chat")
server.close()
""")


def test_resilience(kit_page: Page) -> None:
    """The binding has the given values."""
    kit_page.run("""\
from roomkit import RetryPolicy, RateLimit

await kit.attach_channel("room-1", "sms-out",
    retry_policy=RetryPolicy(max_retries=3, base_delay_seconds=1.0),
    rate_limit=RateLimit(max_per_second=5.0),
)
""")
    kit_page.run("binding = await kit.get_binding('room-1', 'sms-out')")
    assert (kit_page["binding"].retry_policy.max_retries, kit_page["binding"].rate_limit.max_per_second) == (
        3,
        5.0,
    )


def test_scaling(kit_page: Page) -> None:
    """Another lock manager takes the default's place."""
    kit_page.run("""\
from contextlib import asynccontextmanager

class MyRedisLockManager(RoomLockManager):
    taken = []

    @asynccontextmanager
    async def locked(self, room_id):
        self.taken.append(room_id)
        yield
""")
    kit_page.run("""\
kit = RoomKit()                                    # default in-memory
kit = RoomKit(lock_manager=MyRedisLockManager())   # distributed
""")
    kit_page.run("""\
kit.register_channel(WebSocketChannel("ws-user"))
await kit.create_room("room-1")
await kit.attach_channel("room-1", "ws-user")
""")
    assert kit_page["MyRedisLockManager"].taken == ["room-1"]


def test_room_lifecycle(kit_page: Page) -> None:
    """Nothing is due right after."""
    kit_page.run("""\
from roomkit import RoomTimers

await kit.create_room(
    room_id="support-123",
    timers=RoomTimers(inactive_after_seconds=300, closed_after_seconds=3600),
)
transitioned = await kit.sweep_room_timers()
""")
    assert kit_page["transitioned"] == []


def test_storage(kit_page: Page) -> None:
    """In memory by default; PostgreSQL with the address of a database, and locks that go with it."""
    kit_page.run("kit = RoomKit()                          # uses InMemoryStore by default")
    assert isinstance(kit_page["kit"].store, roomkit.InMemoryStore)
    kit_page.run("from roomkit import PostgresStore")
    line = "kit = RoomKit(store=PostgresStore(...))   # PostgreSQL"
    kit_page.run(line.replace("...", '"postgresql://ann@127.0.0.1/rooms"'))
    assert isinstance(kit_page["kit"].store, roomkit.PostgresStore)
    assert isinstance(kit_page["kit"].lock_manager, roomkit.PostgresLockManager)


def test_telemetry(kit_page: Page, caplog: pytest.LogCaptureFixture) -> None:
    """To the log at once, or to whatever the OpenTelemetry SDK exports to."""
    kit_page.run("""\
from roomkit import TelemetryConfig, ConsoleTelemetryProvider

kit = RoomKit(telemetry=TelemetryConfig(provider=ConsoleTelemetryProvider()))
""")
    with caplog.at_level(logging.INFO, "roomkit.telemetry"):
        kit_page.run("""\
kit.register_channel(WebSocketChannel("ws-user"))
await kit.create_room("room-1")
await kit.attach_channel("room-1", "ws-user")
await say()
""")
    assert "span framework.inbound framework.inbound ok" in caplog.text
    kit_page.run("""\
# Or use OpenTelemetry for production
from roomkit import OpenTelemetryProvider
kit = RoomKit(telemetry=TelemetryConfig(provider=OpenTelemetryProvider()))
""")
    kit_page.run("await kit.start()")
    assert isinstance(kit_page["kit"].telemetry, roomkit.TelemetryProvider)


def test_mcp_tools(page: Page) -> None:
    """The handler is there before the server is: nothing runs on port 3000, and the others answer."""

    async def my_custom_handler(name: str, arguments: dict[str, Any]) -> str:
        return f"{name} is mine"

    page.names["my_custom_handler"] = my_custom_handler
    page.run("""\
from roomkit import MCPToolProvider, compose_tool_handlers

mcp = MCPToolProvider(server_url="http://localhost:3000")
handler = compose_tool_handlers(mcp.handler, my_custom_handler)
""")
    page.run("answer = await handler('lookup_order', {})\nawait mcp.close()")
    assert page["answer"] == "lookup_order is mine"


def test_skills(page: Page) -> None:
    """A skill in code is a tool of the agents that have the registry."""

    async def my_weather_handler(name: str, arguments: dict[str, Any]) -> str:
        return "sunny"

    page.names["my_weather_handler"] = my_weather_handler
    page.run("""\
from roomkit import Skill, SkillMetadata, SkillRegistry

registry = SkillRegistry()
registry.register(Skill(
    metadata=SkillMetadata(name="weather", description="Get weather forecasts"),
    handler=my_weather_handler,
))
""")
    page.names["room"] = roomkit.Room(id="room-1")
    page.run("offer = await registry.offer(room)")
    (tool,) = page["offer"].tools
    assert (tool.definition.name, tool.definition.description) == ("weather", "Get weather forecasts")
    assert tool.handler is my_weather_handler


def test_ai_assistant_support(page: Page) -> None:
    """Three texts."""
    page.run("""\
from roomkit import get_llms_txt, get_agents_md, get_ai_context

llms_content = get_llms_txt()
agents_content = get_agents_md()
combined = get_ai_context()
""")
    assert page["llms_content"] in page["combined"]
    assert page["agents_content"] in page["combined"]


LATER: dict[str, str] = {
    "from roomkit import VoiceChannel": "roomkit-voice",
    "from roomkit.voice.pipeline import AudioPipelineConfig, VADConfig": "roomkit-voice",
}


@pytest.mark.parametrize("line", LATER)
def test_what_is_not_built_says_what_to_install(page: Page, line: str) -> None:
    with pytest.raises(ImportError, match=f"comes with {LATER[line]}, which is not installed"):
        page.run(line)
