"""A process that serves an agent, and writes the spans it made to standard output: one JSON text a line.

`python -m tests.system.traced_model SERVICE URL SCRIPT`. The model is a Pydantic AI agent with a tool of its
own, instrumented by its library; the script `stuck` never ends its answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings

from roomkit import OpenTelemetryProvider
from roomkit.abc.executor import TurnExecutor
from roomkit_plugins.postgres import PostgresTurnConfig, PostgresTurnExecutor
from roomkit_plugins.pydantic_ai import PydanticAIProvider
from roomkit_plugins.redis import RedisTurnConfig, RedisTurnExecutor

__all__ = ["executor_of"]

_LEASES = {"answers": 15, "stuck": 2}
"""Seconds by script: the process of one is killed, and a busy machine may pause that of the other."""


def executor_of(service: str, url: str, script: str) -> TurnExecutor:
    """Return an executor on a service of the test."""
    lease = {"lease_seconds": _LEASES[script]}
    if service == "postgres":
        return PostgresTurnExecutor(PostgresTurnConfig.model_validate({"dsn": url, **lease}))
    return RedisTurnExecutor(RedisTurnConfig.model_validate({"url": url, **lease}))


def say(line: str) -> None:
    """Write a line to the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def model(script: str, tracers: TracerProvider) -> PydanticAIProvider:
    """Return an agent that looks an order up and then answers."""

    async def play(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        if isinstance(messages[-1], ModelResponse) or len(messages) == 1:
            yield {0: DeltaToolCall(name="look_up", json_args='{"order": 7}', tool_call_id="c1")}
            return
        yield "It "
        yield "was "
        if script == "stuck":
            await asyncio.Event().wait()
        yield "shipped."

    settings = InstrumentationSettings(tracer_provider=tracers, include_content=False)
    agent = Agent(FunctionModel(stream_function=play), name="orders")
    agent.instrument = settings

    @agent.tool_plain
    def look_up(order: int) -> str:
        return "canary of a tool"

    return PydanticAIProvider(agent=agent)


def line_of(span: ReadableSpan) -> str:
    """Return a span as the exporter writes it."""
    return f"span {span.to_json(indent=None)}\n"


async def main(service: str, url: str, script: str) -> None:
    """Serve until standard input ends."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout, formatter=line_of)))
    executor = executor_of(service, url, script)
    await executor.open()
    served = asyncio.ensure_future(
        executor.serve(
            {"agent": model(script, tracers)}, telemetry=OpenTelemetryProvider(tracer_provider=tracers)
        )
    )
    say("serving")
    await asyncio.to_thread(sys.stdin.readline)
    await executor.close()
    await served
    tracers.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
