"""A turn whose model another process asks is one trace of OpenTelemetry, over PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from roomkit import (
    AIChannel,
    InboundMessage,
    InboundResult,
    OpenTelemetryProvider,
    RoomKit,
    TelemetryConfig,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit_plugins.ai import RemoteModel
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.polling import until
from tests.system.traced_model import executor_of

PATIENCE = 30.0
QUESTION = "canary of a person"


class Served:
    """The process with the model: what it said, and the spans that it exported."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.spans: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, *arguments: str) -> Self:
        """Start it, and wait until it serves."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.system.traced_model", *arguments, stdin=pipe, stdout=pipe
        )
        served = cls(process)
        await served.line("serving")
        return served

    async def line(self, wanted: str) -> None:
        """Read until a line, and keep the spans before it; "" is the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while (line := (await self.process.stdout.readline()).decode().strip()) != wanted:
                assert line.startswith("span "), f"the process wrote {line!r} instead of {wanted!r}"
                self.spans.append(json.loads(line.removeprefix("span ")))

    async def end(self) -> None:
        """Let it close, and read the rest."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.line("")
        async with asyncio.timeout(PATIENCE):
            assert await self.process.wait() == 0


class Traced:
    """The worker with the room, and what it exported."""

    def __init__(self, service: str, url: str, script: str) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.kit = RoomKit(telemetry=TelemetryConfig(provider=OpenTelemetryProvider(tracer_provider=tracers)))
        self.web = RecordingChannel("web", streaming=True)
        self.agent = AIChannel("agent", RemoteModel("orders"), executor=executor_of(service, url, script))

    async def ask(self) -> tuple[InboundResult, str]:
        """Put the question; return the result and the last words in the room."""
        async with self.kit as kit:
            kit.register_channel(self.web)
            kit.register_channel(self.agent)
            await kit.create_room("r1")
            for channel_id in ("web", "agent"):
                await kit.attach_channel("r1", channel_id)
            said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=QUESTION))
            async with asyncio.timeout(PATIENCE):
                result = await kit.process_inbound(said, room_id="r1")
            return result, text_of((await kit.get_timeline("r1"))[-1].content) or ""

    def spans(self) -> list[dict[str, Any]]:
        """Return the spans as the other process writes them."""
        return [json.loads(span.to_json()) for span in self.exporter.get_finished_spans()]


@pytest.fixture(params=["postgres", "redis"])
def service(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a queue's service, and where it is."""
    fixture = {"postgres": "postgres_dsn", "redis": "redis_url"}[request.param]
    return request.param, request.getfixturevalue(fixture)


@pytest.fixture
async def processes() -> AsyncIterator[list[Served]]:
    """Return a list whose processes are ended after the test."""
    started: list[Served] = []
    yield started
    for each in started:
        if each.process.returncode is None:
            each.process.kill()
            await each.process.wait()


def paths(spans: list[dict[str, Any]]) -> list[list[str]]:
    """Return the names of the spans above each one, and its own."""
    known = {span["context"]["span_id"]: span for span in spans}

    def path(span: dict[str, Any]) -> list[str]:
        return [*(path(known[span["parent_id"]]) if span["parent_id"] else []), span["name"]]

    return [path(span) for span in spans]


TURN = ["roomkit.framework.inbound", "roomkit.framework.broadcast", "invoke_agent agent", "chat orders"]


async def test_one_trace_over_two_processes(service: tuple[str, str], processes: list[Served]) -> None:
    """From the message to the calls of the agent that the other process runs, as its own library has them."""
    served = await Served.start(*service, "answers")
    processes.append(served)
    traced = Traced(*service, "answers")
    result, answer = await traced.ask()
    await served.end()
    assert result.error is None
    assert answer == "It was shipped."
    here = [span for span in traced.spans() if span["name"] != "roomkit.store.load" or span["parent_id"]]
    message = next(span for span in here if span["name"] == TURN[0])
    trace_id = message["context"]["trace_id"]
    whole = [span for span in (*here, *served.spans) if span["context"]["trace_id"] == trace_id]
    found = paths(whole)
    serve = [*TURN, "roomkit.turn.serve"]
    assert [*TURN, "roomkit.turn.wait"] in found
    assert serve in found
    assert {span["context"]["trace_id"] for span in served.spans} == {trace_id}
    below = [path[len(serve) :] for path in found if path[: len(serve)] == serve and path != serve]
    assert ["invoke_agent orders"] in below
    assert sum(path[-1].startswith("chat ") for path in below) == 2
    assert sum(path[-1] == "execute_tool look_up" for path in below) == 1
    waited, ran = (
        next(span for span in whole if span["name"] == f"roomkit.turn.{name}") for name in ("wait", "serve")
    )
    assert waited["attributes"]["roomkit.turn.id"] == ran["attributes"]["roomkit.turn.id"]
    assert ran["attributes"]["roomkit.turn.outcome"] == "completed"
    assert "canary" not in json.dumps(whole)


async def test_a_killed_process_leaves_the_error_in_the_trace(
    service: tuple[str, str], processes: list[Served]
) -> None:
    """Its own span dies with it; the request in the room's worker ends with the error."""
    served = await Served.start(*service, "stuck")
    processes.append(served)
    traced = Traced(*service, "stuck")
    asking = asyncio.ensure_future(traced.ask())
    await until(lambda: any(traced.web.streams))
    served.process.kill()
    result, _ = await asking
    assert result.error is not None
    spans = {span["name"]: span for span in traced.spans()}
    assert spans["chat orders"]["status"]["status_code"] == "ERROR"
    assert spans["chat orders"]["attributes"]["error.type"] == "ProviderError"
    assert spans["invoke_agent agent"]["status"]["status_code"] == "ERROR"
    assert spans["roomkit.turn.wait"]["status"]["status_code"] == "UNSET"
    assert TURN in paths(traced.spans())
