"""The contract of turn executors: one trace on both sides of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.telemetry import Attr, Span, SpanKind
from roomkit.models.tracing import TracePosition
from roomkit_plugins.testing.contracts.turns.scripts import (
    PATIENCE,
    PIECES,
    ScriptedModel,
    asking,
    collect,
    fails,
    failure,
    read,
    says,
    serving,
    waits,
)
from roomkit_plugins.testing.contracts.turns.suite import TurnSuite
from roomkit_plugins.testing.mocks.telemetry import MockTelemetryProvider
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.served import LEASE

__all__ = ["TurnTracesContract"]

PLACE = TracePosition("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
CANARY = "my pin is 1234"


def traced(place: TracePosition = PLACE) -> AIContext:
    """Return a request that is part of a trace."""
    return replace(asking(CANARY), trace_parent=place.trace_parent)


def bound(executor: Any) -> MockTelemetryProvider:
    """Bind an executor to a kit with telemetry; return that."""
    telemetry = MockTelemetryProvider()
    executor.bind(RoomKit(telemetry=telemetry).services)
    return telemetry


def only(telemetry: MockTelemetryProvider, kind: SpanKind) -> Span:
    """Return the one span there is; it is over."""
    (span,) = telemetry.spans
    assert span.kind is kind
    assert telemetry.completed_spans == [span]
    return span


class TurnTracesContract(TurnSuite):
    """Spans of both processes are at the request's place in the room's trace, and end as the turn does."""

    @pytest.fixture
    def serving_spans(self) -> MockTelemetryProvider:
        """Return the telemetry of the process that serves."""
        return MockTelemetryProvider()

    @pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "streamed"])
    async def test_the_process_that_answers_is_in_the_rooms_trace(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider, is_whole: bool
    ) -> None:
        """And its provider gets the place below its span, for what that one does elsewhere again."""
        model = ScriptedModel(says(*PIECES), whole=AIResponse(content=CANARY))
        async with serving(server, {agent: model}, telemetry=serving_spans), asyncio.timeout(PATIENCE):
            if is_whole:
                await asker.generate(agent, traced())
            else:
                await read(asker, agent, traced())
            await until(lambda: serving_spans.completed_spans)
        span = only(serving_spans, SpanKind.TURN_SERVE)
        assert (span.parent_id, span.attributes[Attr.TRACE_ID]) == (PLACE.span_id, PLACE.trace_id)
        assert (span.status, span.channel_id, span.attributes[Attr.TURN_OUTCOME]) == (
            "ok",
            agent,
            "completed",
        )
        assert span.attributes[Attr.MODEL] == model.model_name
        assert [context.trace_parent for context in model.asked] == [
            replace(PLACE, span_id=span.id).trace_parent
        ]
        assert CANARY not in repr(serving_spans.spans)

    async def test_the_wait_for_a_process_is_a_span(self, asker: Any, server: Any, agent: str) -> None:
        """In the room's worker, which may have telemetry where the process has none."""
        asked, model = bound(asker), ScriptedModel(says(*PIECES))
        async with asyncio.timeout(PATIENCE):
            call = asyncio.ensure_future(read(asker, agent, traced()))
            await until(lambda: asked.spans)
            assert not asked.completed_spans
            async with serving(server, {agent: model}):
                await call
        span = only(asked, SpanKind.TURN_WAIT)
        assert (span.parent_id, span.attributes[Attr.TRACE_ID]) == (PLACE.span_id, PLACE.trace_id)
        assert (span.status, span.channel_id) == ("ok", agent)
        assert [context.trace_parent for context in model.asked] == [PLACE.trace_parent]
        assert CANARY not in repr(asked.spans)

    async def test_both_spans_name_one_turn(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider
    ) -> None:
        asked = bound(asker)
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}, telemetry=serving_spans):
            await read(asker, agent, traced())
            await until(lambda: serving_spans.completed_spans)
        turns = {span.attributes[Attr.TURN_ID] for span in (*asked.spans, *serving_spans.spans)}
        assert len(turns) == 1

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (ProviderError(CANARY, error_code=ErrorCode.RATE_LIMIT), "rate_limit"),
            (RuntimeError(CANARY), "RuntimeError"),
        ],
        ids=["provider", "foreign"],
    )
    async def test_a_failed_answer_fails_the_span(
        self,
        asker: Any,
        server: Any,
        agent: str,
        serving_spans: MockTelemetryProvider,
        error: Exception,
        code: str,
    ) -> None:
        """By its code, never its text."""
        model = ScriptedModel(fails(error, StreamTextDelta("Half")))
        async with serving(server, {agent: model}, telemetry=serving_spans), asyncio.timeout(PATIENCE):
            await failure(read(asker, agent, traced()))
            await until(lambda: serving_spans.completed_spans)
        span = only(serving_spans, SpanKind.TURN_SERVE)
        assert (span.status, span.error_message) == ("error", code)
        assert CANARY not in repr(serving_spans.spans)

    async def test_a_cancelled_turn_ends_its_spans(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider
    ) -> None:
        asked, model = bound(asker), ScriptedModel(waits(asyncio.Event(), StreamTextDelta("Half")))
        async with serving(server, {agent: model}, telemetry=serving_spans), asyncio.timeout(PATIENCE):
            async with aclosing(asker.stream(agent, traced())) as stream:
                await anext(stream)
            await until(lambda: serving_spans.completed_spans)
        span = only(serving_spans, SpanKind.TURN_SERVE)
        assert (span.status, span.error_message) == ("error", "cancelled")
        assert only(asked, SpanKind.TURN_WAIT).status == "ok"

    async def test_a_turn_that_nobody_takes_ends_its_wait(self, made: Callable[..., Any], agent: str) -> None:
        asker = made(claim_seconds=LEASE)
        asked = bound(asker)
        async with asyncio.timeout(PATIENCE):
            assert (await failure(read(asker, agent, traced()))).error_code is ErrorCode.OVERLOADED
        span = only(asked, SpanKind.TURN_WAIT)
        assert (span.status, span.error_message) == ("error", "failed")

    async def test_a_process_that_hands_back_its_turn_ends_its_span(
        self, made: Callable[..., Any], agent: str, serving_spans: MockTelemetryProvider
    ) -> None:
        """And the process that answers has one of its own, in the same place."""
        server, after = made(drain_seconds=0.0), MockTelemetryProvider()
        silent = ScriptedModel(waits(asyncio.Event()))
        model = ScriptedModel(says(*PIECES))
        async with asyncio.timeout(PATIENCE):
            async with serving(server, {agent: silent}, telemetry=serving_spans):
                call = asyncio.ensure_future(read(made(), agent, traced()))
                await silent.is_asked.wait()
                await server.close()
            async with serving(made(), {agent: model}, telemetry=after):
                await call
                await until(lambda: after.completed_spans)
        first, second = only(serving_spans, SpanKind.TURN_SERVE), only(after, SpanKind.TURN_SERVE)
        assert (first.status, first.error_message) == ("error", "released")
        assert second.status == "ok"
        assert (first.parent_id, second.parent_id) == (PLACE.span_id, PLACE.span_id)

    async def test_a_trace_that_is_not_sampled_has_no_spans(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider
    ) -> None:
        """On either side; the decision goes on to the provider."""
        asked, model = bound(asker), ScriptedModel(says(*PIECES))
        unsampled = replace(PLACE, sampled=False)
        async with serving(server, {agent: model}, telemetry=serving_spans):
            assert await read(asker, agent, traced(unsampled)) == [*PIECES]
        assert not asked.spans
        assert not serving_spans.spans
        assert [context.trace_parent for context in model.asked] == [unsampled.trace_parent]

    @pytest.mark.parametrize(
        "given",
        [None, "", "00-x-y-01", "00-" + "0" * 4000, f"{PLACE.trace_parent}-more", "\ud83d\x00"],
        ids=["none", "empty", "letters", "long", "more", "broken"],
    )
    async def test_what_is_no_place_in_a_trace_is_no_obstacle(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider, given: str | None
    ) -> None:
        """The turn is answered, outside any trace."""
        asked, context = bound(asker), replace(asking(), trace_parent=given)
        async with serving(server, {agent: ScriptedModel(says(*PIECES))}, telemetry=serving_spans):
            assert await read(asker, agent, context) == [*PIECES]
        assert not asked.spans
        assert not serving_spans.spans

    async def test_concurrent_turns_keep_their_places(
        self, asker: Any, server: Any, agent: str, serving_spans: MockTelemetryProvider
    ) -> None:
        """Of one process and one agent."""
        places = [replace(PLACE, trace_id=f"{number:032x}") for number in range(1, 9)]
        model = ScriptedModel(says(*PIECES))
        answers: list[list[StreamEvent]] = [[] for _ in places]
        async with serving(server, {agent: model}, telemetry=serving_spans), asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as group:
                for place, pieces in zip(places, answers, strict=True):
                    group.create_task(collect(asker, agent, pieces, traced(place)))
            await until(lambda: len(serving_spans.completed_spans) == len(places))
        assert answers == [[*PIECES]] * len(places)
        below = {
            replace(place, span_id=span.id).trace_parent
            for span in serving_spans.spans
            for place in places
            if place.trace_id == span.attributes[Attr.TRACE_ID]
        }
        assert below == {context.trace_parent for context in model.asked}
        assert len(below) == len(places)

    async def test_without_telemetry_a_place_passes_on(self, asker: Any, server: Any, agent: str) -> None:
        """Through a process that has none."""
        model = ScriptedModel(says(StreamDone("stop")))
        async with serving(server, {agent: model}):
            await read(asker, agent, traced())
        assert [context.trace_parent for context in model.asked] == [PLACE.trace_parent]
