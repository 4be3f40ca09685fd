"""RoomKit's spans and measurements, handed to OpenTelemetry."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, override

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SDKTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from roomkit.abc.log import get_logger
from roomkit.abc.telemetry import TelemetryProvider
from roomkit.models.telemetry import Attr, SpanKind
from roomkit_plugins.opentelemetry.conventions import (
    CHAT,
    EXECUTE_TOOL,
    INVOKE_AGENT,
    attributes_of,
    code_of,
    name_of,
    operation_of,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import Attributes

__all__ = ["OpenTelemetryProvider"]

type _Place = tuple[str | None, str | None]

logger = get_logger("roomkit.telemetry")

SCOPE = "roomkit"
MAX_OPEN_SPANS = 10_000
MAX_INSTRUMENTS = 500
FLUSH_MILLIS = 10_000
_SPAN_ID, _TRACE_ID = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{32}")
_KINDS = {
    SpanKind.INBOUND_PIPELINE: trace.SpanKind.CONSUMER,
    SpanKind.DELIVERY: trace.SpanKind.PRODUCER,
    SpanKind.LLM_GENERATE: trace.SpanKind.CLIENT,
    SpanKind.TURN_SERVE: trace.SpanKind.CONSUMER,
    SpanKind.STORE_QUERY: trace.SpanKind.CLIENT,
}
_TOKENS = (
    Attr.LLM_INPUT_TOKENS,
    Attr.LLM_OUTPUT_TOKENS,
    Attr.LLM_CACHE_READ_TOKENS,
    Attr.LLM_CACHE_CREATION_TOKENS,
)
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_wanted_trace: ContextVar[int | None] = ContextVar("roomkit_wanted_trace", default=None)


class OpenTelemetryProvider(TelemetryProvider):
    """Hands spans and measurements to OpenTelemetry: to the providers given, else to the global ones.

    Exporters, sampling and resources are configured there, as for any library. A message is one trace
    over all workers, whose id is that of `RoomEvent.trace_parent`; if OpenTelemetry has a current span
    when it comes in, such as that of a web framework, its first span has a link to that. Turns of agents,
    requests to models and calls of tools have the names of the GenAI semantic conventions, everything else
    begins with `roomkit.`.

    No text that people, models or tools said is recorded, and no address; with `record_text` transcripts and
    attributes of your own are. `flush` exports buffered data. `close` does that too and leaves the
    providers running: they are their maker's.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        record_text: bool = False,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._record_text = record_text
        self._tracer: trace.Tracer | None = None
        self._open: dict[str, _OpenSpan] = {}  # bound: MAX_OPEN_SPANS; the oldest is ended, counted
        self._turns: dict[_Place, _OpenSpan] = {}  # bound: the open spans
        """The turns under way: an agent has one in a room at a time."""
        self._instruments: dict[tuple[str, str], Histogram] = {}  # bound: MAX_INSTRUMENTS
        self.dropped_spans = 0
        """How many spans were ended because too many were open."""

    @override
    def start_span(
        self,
        kind: SpanKind,
        name: str,
        *,
        parent_id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        room_id: str | None = None,
        session_id: str | None = None,
        channel_id: str | None = None,
    ) -> str:
        """Open a span; return its id, "" for one that the sampler leaves out."""
        known = {Attr.ROOM_ID: room_id, Attr.SESSION_ID: session_id, Attr.CHANNEL_ID: channel_id}
        given = {key: value for key, value in {**known, **(attributes or {})}.items() if value is not None}
        operation = operation_of(kind, given)
        span = self._start(kind, operation, name_of(operation, name, given), parent_id, given)
        if not span.is_recording():
            return ""
        if len(self._open) >= MAX_OPEN_SPANS:
            self._drop_oldest()
        span_id = trace.format_span_id(span.get_span_context().span_id)
        self._open[span_id] = opened = _OpenSpan(span, kind, operation, given, perf_counter())
        if operation == INVOKE_AGENT:
            self._turns[opened.place] = opened
        return span_id

    @override
    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Close a span, and record its duration; one that is not open is ignored."""
        open_span = self._open.pop(span_id, None)
        if open_span is None:
            return
        self._add(open_span, attributes or {})
        if status == "error":
            code = code_of(error_message)
            open_span.span.set_status(trace.StatusCode.ERROR, code)
            open_span.span.set_attribute("error.type", code)
        if open_span.operation is not None:
            self._note_in_turn(open_span)
        open_span.span.end()
        self._measure(open_span, None if status == "ok" else code_of(error_message))

    @override
    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        """Add an attribute to an open span; one that is not open is ignored."""
        open_span = self._open.get(span_id)
        if open_span is None:
            return
        self._add(open_span, {key: value})
        if key == Attr.TTFB_MS and open_span.kind is SpanKind.LLM_GENERATE:
            self._record(
                "gen_ai.client.operation.time_to_first_chunk", value / 1000, "s", self._model(open_span)
            )

    @override
    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Record one measurement, as a value of a histogram."""
        known = attributes_of(None, attributes or {}, record_text=self._record_text)
        self._record(name, value, unit, known)

    @override
    def active(self, span_id: str) -> AbstractContextManager[None]:
        """Make a span the current one of OpenTelemetry for a block, as instrumented libraries expect it."""
        open_span = self._open.get(span_id)
        return nullcontext() if open_span is None else _current(open_span.span)

    @override
    async def flush(self) -> None:
        """Export buffered data, in a thread, within 10 s."""
        providers = (self._tracer_provider or trace.get_tracer_provider(), self._meters())
        flushes = [flush for each in providers if (flush := getattr(each, "force_flush", None)) is not None]
        for flush in flushes:
            await asyncio.to_thread(flush, FLUSH_MILLIS)

    @override
    async def close(self) -> None:
        """End the spans that are open, and export buffered data. Idempotent."""
        while self._open:
            self._drop_oldest()
        await self.flush()

    @override
    def reset(self) -> None:
        """Forget the spans that are open."""
        self._open.clear()
        self._turns.clear()

    def _start(
        self,
        kind: SpanKind,
        operation: str | None,
        name: str,
        parent_id: str | None,
        attributes: Mapping[str, Any],
    ) -> Span:
        context, links, wanted = self._place(parent_id, attributes.get(Attr.TRACE_ID))
        token = _wanted_trace.set(wanted)
        try:
            return self._current_tracer().start_span(
                name,
                context,
                trace.SpanKind.INTERNAL
                if operation == INVOKE_AGENT
                else _KINDS.get(kind, trace.SpanKind.INTERNAL),
                attributes_of(operation, attributes, record_text=self._record_text),
                links,
            )
        finally:
            _wanted_trace.reset(token)

    def _place(
        self, parent_id: str | None, trace_id: object
    ) -> tuple[Context | None, list[trace.Link], int | None]:
        """Return the context of a new span, its links, and the id of a trace that begins with it."""
        parent = self._open.get(parent_id or "")
        if parent is not None:
            return trace.set_span_in_context(parent.span, Context()), [], None
        if not isinstance(trace_id, str) or not _TRACE_ID.fullmatch(trace_id) or not int(trace_id, 16):
            return None, [], None  # no part of a message: below what OpenTelemetry has as the current span
        if parent_id and _SPAN_ID.fullmatch(parent_id) and int(parent_id, 16):
            there = trace.SpanContext(int(trace_id, 16), int(parent_id, 16), True, _SAMPLED)
            return trace.set_span_in_context(trace.NonRecordingSpan(there), Context()), [], None
        current = trace.get_current_span().get_span_context()
        return Context(), [trace.Link(current)] if current.is_valid else [], int(trace_id, 16)

    def _current_tracer(self) -> trace.Tracer:
        if self._tracer is not None:
            return self._tracer
        tracer = (self._tracer_provider or trace.get_tracer_provider()).get_tracer(SCOPE)
        if isinstance(tracer, SDKTracer):  # else the program has not configured it yet
            tracer.id_generator = _Ids(tracer.id_generator)
            self._tracer = tracer
        return tracer

    def _meters(self) -> MeterProvider:
        return self._meter_provider or metrics.get_meter_provider()

    def _add(self, open_span: _OpenSpan, attributes: Mapping[str, Any]) -> None:
        open_span.attributes.update(attributes)
        known = attributes_of(open_span.operation, attributes, record_text=self._record_text)
        open_span.span.set_attributes(known)

    def _drop_oldest(self) -> None:
        oldest = self._open.pop(next(iter(self._open)))
        if self._turns.get(oldest.place) is oldest:
            del self._turns[oldest.place]
        oldest.span.end()
        self.dropped_spans += 1

    def _note_in_turn(self, ended: _OpenSpan) -> None:
        """Add a request or a call to the turn that it was made in, or end that turn."""
        turn = self._turns.get(ended.place)
        if turn is ended:
            del self._turns[ended.place]
            known = {key: count for key, count in turn.usage.items() if count} | turn.only(
                Attr.PROVIDER, Attr.MODEL
            )
            turn.span.set_attributes(attributes_of(INVOKE_AGENT, known, record_text=False))
        elif turn is not None and ended.operation == CHAT:
            turn.requests += 1
            turn.attributes |= {key: ended.attributes.get(key) for key in (Attr.PROVIDER, Attr.MODEL)}
            for key in _TOKENS:
                turn.usage[key] = turn.usage.get(key, 0) + ended.attributes.get(key, 0)
        elif turn is not None and ended.operation == EXECUTE_TOOL:
            turn.calls += 1

    def _measure(self, ended: _OpenSpan, error: str | None) -> None:
        seconds = perf_counter() - ended.began
        failed = {} if error is None else {"error.type": error}
        if ended.operation == CHAT:
            self._record("gen_ai.client.operation.duration", seconds, "s", {**self._model(ended), **failed})
            self._measure_tokens(ended)
        elif ended.operation == EXECUTE_TOOL:
            tool = attributes_of(EXECUTE_TOOL, ended.only(Attr.LLM_TOOL_NAME), record_text=False)
            self._record("gen_ai.execute_tool.duration", seconds, "s", {**tool, **failed})
        elif ended.operation == INVOKE_AGENT:
            agent = attributes_of(INVOKE_AGENT, ended.only(Attr.CHANNEL_ID, Attr.MODEL), record_text=False)
            self._record("gen_ai.invoke_agent.duration", seconds, "s", {**agent, **failed})
            self._record("gen_ai.invoke_agent.inference_calls", ended.requests, "{call}", agent)
            self._record("gen_ai.invoke_agent.tool_calls", ended.calls, "{call}", agent)
        else:
            kind = {"roomkit.span.kind": str(ended.kind)}
            self._record("roomkit.span.duration", seconds, "s", {**kind, **failed})

    def _measure_tokens(self, ended: _OpenSpan) -> None:
        model = self._model(ended)
        for token_type, key in (("input", Attr.LLM_INPUT_TOKENS), ("output", Attr.LLM_OUTPUT_TOKENS)):
            count = ended.attributes.get(key)
            if isinstance(count, int):
                attributes = {**model, "gen_ai.token.type": token_type}
                self._record("gen_ai.client.token.usage", count, "{token}", attributes)

    def _model(self, open_span: _OpenSpan) -> dict[str, Any]:
        return attributes_of(CHAT, open_span.only(Attr.PROVIDER, Attr.MODEL), record_text=False)

    def _record(self, name: str, value: float, unit: str, attributes: Attributes) -> None:
        if not math.isfinite(value):
            return
        histogram = self._instruments.get((name, unit))
        if histogram is None:
            if not name or len(self._instruments) >= MAX_INSTRUMENTS:
                return
            histogram = self._meters().get_meter(SCOPE).create_histogram(name, unit)
            self._instruments[name, unit] = histogram
        histogram.record(value, attributes)


@dataclass(slots=True)
class _OpenSpan:
    span: Span
    kind: SpanKind
    operation: str | None
    attributes: dict[str, Any]
    began: float
    requests: int = 0
    """Of a turn: how often its model was asked."""
    calls: int = 0
    usage: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> _Place:
        """The room and the channel that it is of."""
        return self.attributes.get(Attr.ROOM_ID), self.attributes.get(Attr.CHANNEL_ID)

    def only(self, *keys: str) -> dict[str, Any]:
        """Return some of the attributes."""
        return {key: self.attributes.get(key) for key in keys}


@contextmanager
def _current(span: Span) -> Iterator[None]:
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


class _Ids(IdGenerator):
    """Gives the trace of a message the id that its event travels with."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_span_id(self) -> int:
        return self._others.generate_span_id()

    def generate_trace_id(self) -> int:
        wanted = _wanted_trace.get()
        return self._others.generate_trace_id() if wanted is None else wanted

    def is_trace_id_random(self) -> bool:
        return _wanted_trace.get() is not None or self._others.is_trace_id_random()
