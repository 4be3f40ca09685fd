"""Counts what a message costs: statements, tasks, validated models and calls of our own functions.

Counts do not depend on the machine, so they can guard where times cannot. `cost.toml` holds the most that
each scenario may cost; `python -m tests.tree.cost` prints what it costs now, `--write` stores that.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import cache
from inspect import iscoroutinefunction
from itertools import cycle
from pathlib import Path
from types import CodeType
from typing import Any

from pydantic_core import SchemaValidator

from roomkit.abc.ai import AIProvider
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.ai import AITool, AIToolCall, StreamDone, StreamEvent, StreamTextDelta
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import ChannelCategory, DeliveryState, HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import VirtualClock, run_virtual
from roomkit_plugins.websocket import StreamMessage, WebSocketChannel
from tests.tree.plan import code_lines
from tools.source import Tree

__all__ = ["FILE", "MESSAGES", "SCENARIOS", "Meter", "limits", "measured", "metered", "said", "say"]

FILE = Path(__file__).with_name("cost.toml")
MESSAGES = 10
"""How many messages are counted together, so that work done for every few messages shows."""
_WARM_UP = 6
_ROOM = "support-4711"
_TOOL = 4  # one of the ids that sys.monitoring leaves to programs
_OURS = re.compile(r"/(?:roomkit|roomkit_plugins/(?!testing/)[a-z_]+)/[^/].*\.py$")
_LATE = 3600.0
_ANSWER = "It left our warehouse this morning and arrives tomorrow."
_SAID = AIResponse(content=_ANSWER, finish_reason="stop", usage={"input_tokens": 10, "output_tokens": 5})
_NO_PLUGINS = PluginManager(entry_points=())

type Costs = dict[str, int]


class Meter:
    """Counts calls, tasks and models while it is on; a store counts its `statements`, unless it is `bare`."""

    def __init__(self, *, bare: bool = False) -> None:
        self.bare = bare
        self.functions = self.tasks = self.models = self.statements = 0
        self._files: set[str] = set()  # bound: our modules

    def entered(self, code: CodeType, _offset: int) -> object:
        """Count a function of ours, and ask for no more events of others."""
        if _OURS.search(code.co_filename) is None:
            return sys.monitoring.DISABLE
        self.functions += 1
        self._files.add(code.co_filename)
        return None

    def called(self, _code: CodeType, _offset: int, callee: object, _argument: object) -> None:
        """Count new tasks, and validations of records."""
        if callee is asyncio.Task:
            self.tasks += 1
        elif _validates(callee):
            self.models += 1

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count what happens inside."""
        monitoring = sys.monitoring
        events = monitoring.events
        monitoring.use_tool_id(_TOOL, "cost")
        monitoring.register_callback(_TOOL, events.PY_START, self.entered)
        monitoring.register_callback(_TOOL, events.CALL, self.called)
        monitoring.set_events(_TOOL, events.PY_START | events.CALL)
        before = self.statements
        try:
            yield
        finally:
            self.statements -= before
            monitoring.set_events(_TOOL, events.NO_EVENTS)
            monitoring.free_tool_id(_TOOL)

    @property
    def lines(self) -> int:
        """The code lines of the core's modules that were entered."""
        return sum(lines for path, lines in _core_lines().items() if path in self._files)

    @property
    def costs(self) -> Costs:
        """The counts, by the names that `cost.toml` gives them."""
        return {
            "functions": self.functions,
            "models": self.models,
            "statements": self.statements,
            "tasks": self.tasks,
        }


@cache
def _core_lines() -> Mapping[str, int]:
    """Return the code lines of the core's modules, by their paths."""
    return {str(module.path): code_lines(module) for module in Tree().core}


def _validates(callee: object) -> bool:
    name = getattr(callee, "__name__", "")
    if name not in ("validate_python", "validate_json"):
        return False
    owner = getattr(callee, "__objclass__", None) or type(getattr(callee, "__self__", None))
    return owner is SchemaValidator


class _Sink:
    """The far end of a socket: it has the JSON made."""

    async def send(self, connection_id: str, event: RoomEvent) -> None:
        assert event.json_bytes

    async def send_frame(self, connection_id: str, frame: StreamMessage) -> None:
        assert frame.json_bytes


class _CountingStore(InMemoryStore):
    """Counts what the kernel asks it for: each is a statement in a store that has some."""

    meter: Meter

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("_") and iscoroutinefunction(found) and hasattr(ConversationStore, name):
            object.__getattribute__(self, "meter").statements += 1
        return found


class _SharedStore(_CountingStore):
    """Says that it outlives its workers, and gathers outcomes for the next commit."""

    write_delay = _LATE

    @property
    def is_process_local(self) -> bool:
        return False


async def _allow(event: RoomEvent, context: RoomContext) -> HookResult:
    return HookResult.allow()


async def _observe(event: RoomEvent, context: RoomContext) -> None:
    return None


async def _lookup(name: str, arguments: Mapping[str, Any]) -> str:
    return "arrives tomorrow"


def _calling(number: int) -> AIResponse:
    call = AIToolCall(id=f"call{number}", name="lookup", arguments={})
    return AIResponse(content="", finish_reason="tool_calls", tool_calls=[call])


@asynccontextmanager
async def _kit(
    meter: Meter, store: ConversationStore | None = None, *, sockets: int = 2
) -> AsyncIterator[RoomKit]:
    if store is None:
        store = InMemoryStore() if meter.bare else _CountingStore()
    if isinstance(store, _CountingStore):
        store.meter = meter
    kit = RoomKit(store=store, plugins=_NO_PLUGINS, clock=VirtualClock(), single_process=True)
    async with kit:
        await kit.create_room(room_id=_ROOM)
        for number in range(sockets):
            channel = WebSocketChannel(f"ws{number}")
            kit.register_channel(channel)
            await kit.attach_channel(_ROOM, channel.channel_id)
            name = f"socket {number}"
            channel.register_connection(name, _Sink().send, room_id=_ROOM, participant_id=name)
        yield kit


def _plain(meter: Meter) -> AbstractAsyncContextManager[RoomKit]:
    return _kit(meter)


@asynccontextmanager
async def _gated(meter: Meter) -> AsyncIterator[RoomKit]:
    async with _kit(meter) as kit:
        kit.hook(HookTrigger.BEFORE_BROADCAST)(_allow)
        yield kit


@asynccontextmanager
async def _observed(meter: Meter) -> AsyncIterator[RoomKit]:
    async with _kit(meter) as kit:
        kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(_observe)
        yield kit


def _wide(meter: Meter) -> AbstractAsyncContextManager[RoomKit]:
    return _kit(meter, sockets=12)


def _shared(meter: Meter) -> AbstractAsyncContextManager[RoomKit]:
    return _kit(meter, _SharedStore())


class _Model(AIProvider):
    """A model whose own work is not counted; text comes whole, or streamed by five characters."""

    def __init__(self, answers: Sequence[AIResponse], *, streaming: bool) -> None:
        self._answers = cycle(answers)
        self._streaming = streaming

    @property
    def name(self) -> str:
        return "model"

    @property
    def model_name(self) -> str:
        return "model"

    @property
    def supports_vision(self) -> bool:
        return False

    @property
    def supports_response_schema(self) -> bool:
        return False

    @property
    def supports_streaming(self) -> bool:
        return self._streaming

    @property
    def supports_structured_streaming(self) -> bool:
        return self._streaming

    async def generate(self, context: AIContext) -> AIResponse:
        return next(self._answers)

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        answer = next(self._answers)
        for start in range(0, len(answer.content), 5):
            yield StreamTextDelta(answer.content[start : start + 5])
        yield StreamDone(answer.finish_reason, answer.usage)


@asynccontextmanager
async def _answered(
    meter: Meter,
    answers: Sequence[AIResponse] = (),
    tools: Sequence[Any] = (),
    *,
    streaming: bool = False,
) -> AsyncIterator[RoomKit]:
    async with _kit(meter, sockets=1) as kit:
        provider = _Model(answers or [_SAID], streaming=streaming)
        kit.register_channel(AIChannel("bot", provider=provider, tools=tools))
        await kit.attach_channel(_ROOM, "bot", category=ChannelCategory.INTELLIGENCE)
        yield kit


def _streamed(meter: Meter) -> AbstractAsyncContextManager[RoomKit]:
    return _answered(meter, streaming=True)


def _tools(meter: Meter) -> AbstractAsyncContextManager[RoomKit]:
    tool = AITool(name="lookup", description="Find a parcel.")
    return _answered(
        meter,
        [_calling(1), _calling(2), AIResponse(content=_ANSWER, finish_reason="stop")],
        [(tool, _lookup)],
    )


@asynccontextmanager
async def _in_sqlite(meter: Meter) -> AsyncIterator[RoomKit]:
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(f"{folder}/rooms.db")
        store.write_delay = _LATE

        def count(_statement: str) -> None:
            meter.statements += 1

        def watch(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(count)

        async with _kit(meter, store) as kit:
            database = store._database
            for connection in (database._writer, *database._readers):
                assert connection is not None
                await connection.run(watch)
            yield kit


SCENARIOS: dict[str, Callable[[Meter], AbstractAsyncContextManager[RoomKit]]] = {
    "message": _plain,
    "message-gated": _gated,
    "message-observed": _observed,
    "message-twelve-channels": _wide,
    "message-shared-store": _shared,
    "message-sqlite": _in_sqlite,
    "agent": _answered,
    "agent-streamed": _streamed,
    "agent-two-tool-rounds": _tools,
}

_THREADED = {"message-sqlite"}
"""Scenarios with threads, which need real time: how calls interleave there is chance, statements are not."""


def measured(name: str) -> Costs:
    """Return what ten messages of a scenario cost, in a room in use."""
    meter = metered(name)
    return {"statements": meter.statements} if name in _THREADED else meter.costs


def metered(name: str) -> Meter:
    """Return the meter of ten messages of a scenario, in a room in use."""
    meter = Meter()
    run = asyncio.run if name in _THREADED else run_virtual
    run(_measure(meter, SCENARIOS[name]))
    return meter


async def _measure(meter: Meter, scenario: Callable[[Meter], AbstractAsyncContextManager[RoomKit]]) -> None:
    async with scenario(meter) as kit:
        await say(kit, _WARM_UP)
        with meter.on():
            await say(kit, MESSAGES)


async def say(kit: RoomKit, messages: int) -> None:
    """Have one of the sockets say something, that many times; it has to arrive."""
    async for result in said(kit, messages):
        assert result.event is not None
        assert result.error is None
        assert all(one.state is not DeliveryState.FAILED for one in result.delivery_results.values())


async def said(kit: RoomKit, messages: int) -> AsyncIterator[InboundResult]:
    """Have one of the sockets say something, that many times; return what became of each."""
    for _ in range(messages):
        message = InboundMessage(
            channel_id="ws0",
            sender_id="socket 0",
            connection_id="socket 0",
            content=TextContent(body="Is my parcel on its way?"),
        )
        yield await kit.process_inbound(message, room_id=_ROOM)


def limits() -> dict[str, Costs]:
    """Return what `cost.toml` allows."""
    return tomllib.loads(FILE.read_text())


_HEAD = """\
# The most that ten messages of each scenario of `cost.py` may cost: calls of our own functions, validations
# of records, statements of the store, tasks. A count is raised only in the commit that needs it, and its
# message says why; lower ones are stored by `uv run nox -s cost -- --write`, so that a gain is kept.
"""


def _table(name: str, counts: Costs) -> str:
    return f"\n[{name}]\n" + "".join(f"{what} = {count}\n" for what, count in counts.items())


def main(arguments: Sequence[str]) -> None:
    """Print what each scenario costs now; with `--write`, into `cost.toml`."""
    text = _HEAD + "".join(_table(name, measured(name)) for name in SCENARIOS)
    if "--write" in arguments:
        FILE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
