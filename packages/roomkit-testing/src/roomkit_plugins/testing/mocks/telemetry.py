"""Telemetry that a test can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roomkit.abc.telemetry import TelemetryProvider
from roomkit.models.base import utcnow
from roomkit.models.telemetry import Attr, Span, SpanKind

__all__ = ["MockTelemetryProvider"]


@dataclass(slots=True, frozen=True)
class Metric:
    """One measurement."""

    name: str
    value: float
    unit: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


class MockTelemetryProvider(TelemetryProvider):
    """Keeps every span and metric: `spans` in order of their start, `completed_spans` of their end."""

    def __init__(self) -> None:
        self.spans: list[Span] = []  # bound: the life of a test, or `reset`
        self.completed_spans: list[Span] = []  # bound: the life of a test, or `reset`
        self.metrics: list[Metric] = []  # bound: the life of a test, or `reset`
        self.flushed = 0
        self.closed = False
        self._open: dict[str, Span] = {}

    def get_spans(self, kind: SpanKind | None = None) -> list[Span]:
        """Return the spans that have ended, of one kind or of all."""
        return [span for span in self.completed_spans if kind is None or span.kind is kind]

    def get_active_spans(self) -> list[Span]:
        """Return the spans that have not ended: none, after a well-behaved run."""
        return list(self._open.values())

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
        """Open a span and keep it."""
        span = Span(
            name,
            kind,
            parent_id=parent_id,
            attributes=dict(attributes or {}),
            room_id=room_id,
            session_id=session_id,
            channel_id=channel_id,
        )
        self.spans.append(span)
        self._open[span.id] = span
        return span.id

    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Close a span; one that is not open is ignored."""
        span = self._open.pop(span_id, None)
        if span is None:
            return
        span.attributes.update(attributes or {})
        span.status, span.error_message, span.end_time = status, error_message, utcnow()
        self.completed_spans.append(span)

    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        """Add an attribute to an open span; one that is not open is ignored."""
        span = self._open.get(span_id)
        if span is not None:
            span.attributes[key] = value
            if key == Attr.ROOM_ID:  # known only since
                span.room_id = value

    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Keep one measurement."""
        self.metrics.append(Metric(name, value, unit, dict(attributes or {})))

    async def flush(self) -> None:
        """Count the call."""
        self.flushed += 1

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def reset(self) -> None:
        """Forget all spans and metrics."""
        self.spans.clear()
        self.completed_spans.clear()
        self.metrics.clear()
        self._open.clear()
