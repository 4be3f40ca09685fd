"""RoomKit's spans and measurements, handed to OpenTelemetry."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, override

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SDKTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from roomkit.abc.log import get_logger
from roomkit.abc.telemetry import TelemetryProvider
from roomkit.models.telemetry import Attr, SpanKind
from roomkit_plugins.opentelemetry.conventions import attributes_of, code_of, name_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import Attributes

__all__ = ["OpenTelemetryProvider"]

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
    SpanKind.STORE_QUERY: trace.SpanKind.CLIENT,
}
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_wanted_trace: ContextVar[int | None] = ContextVar("roomkit_wanted_trace", default=None)


class OpenTelemetryProvider(TelemetryProvider):
    """Hands spans and measurements to OpenTelemetry: to the providers given, else to the global ones.

    Exporters, sampling and resources are configured there, as for any library. A message is one trace
    over all workers, whose id is that of `RoomEvent.trace_parent`; if OpenTelemetry has a current span
    when it comes in, such as that of a web framework, its first span has a link to that. Requests to
    models and calls of tools have the names of the GenAI semantic conventions, everything else begins
    with `roomkit.`.

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
        span = self._start(kind, name_of(kind, name, given), parent_id, given)
        if not span.is_recording():
            return ""
        if len(self._open) >= MAX_OPEN_SPANS:
            self._drop_oldest()
        span_id = trace.format_span_id(span.get_span_context().span_id)
        self._open[span_id] = _OpenSpan(span, kind, given, perf_counter())
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
        told = attributes_of(SpanKind.CUSTOM, attributes or {}, record_text=self._record_text)
        self._record(name, value, unit, told)

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

    def _start(self, kind: SpanKind, name: str, parent_id: str | None, attributes: Mapping[str, Any]) -> Span:
        context, links, wanted = self._place(parent_id, attributes.get(Attr.TRACE_ID))
        token = _wanted_trace.set(wanted)
        try:
            return self._current_tracer().start_span(
                name,
                context,
                _KINDS.get(kind, trace.SpanKind.INTERNAL),
                attributes_of(kind, attributes, record_text=self._record_text),
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
        told = attributes_of(open_span.kind, attributes, record_text=self._record_text)
        open_span.span.set_attributes(told)

    def _drop_oldest(self) -> None:
        self._open.pop(next(iter(self._open))).span.end()
        self.dropped_spans += 1

    def _measure(self, open_span: _OpenSpan, error: str | None) -> None:
        seconds = perf_counter() - open_span.began
        failed = {} if error is None else {"error.type": error}
        if open_span.kind is not SpanKind.LLM_GENERATE:
            kind = {"roomkit.span.kind": str(open_span.kind)}
            self._record("roomkit.span.duration", seconds, "s", {**kind, **failed})
            return
        model = self._model(open_span)
        self._record("gen_ai.client.operation.duration", seconds, "s", {**model, **failed})
        for token_type, key in (("input", Attr.LLM_INPUT_TOKENS), ("output", Attr.LLM_OUTPUT_TOKENS)):
            count = open_span.attributes.get(key)
            if isinstance(count, int):
                attributes = {**model, "gen_ai.token.type": token_type}
                self._record("gen_ai.client.token.usage", count, "{token}", attributes)

    def _model(self, open_span: _OpenSpan) -> dict[str, Any]:
        wanted = {key: open_span.attributes.get(key) for key in (Attr.PROVIDER, Attr.MODEL)}
        return attributes_of(open_span.kind, wanted, record_text=False)

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
    attributes: dict[str, Any]
    began: float


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
