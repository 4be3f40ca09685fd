"""How the kit measures itself: one tree of spans for each message and all that follows from it.

Where a span is put is kept in the context of the task, so that nesting in code is nesting in the
tree. Work elsewhere (a lane, an observer, another worker) takes its place from the event it works
for: `RoomEvent.trace_parent`, in the form of W3C Trace Context's `traceparent`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, override

from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.models.base import new_id
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.tracing import TracePosition

__all__ = ["ConfiguredTelemetry", "position", "under"]

position: ContextVar[TracePosition | None] = ContextVar("roomkit_trace", default=None)
"""Where the caller is."""


@contextmanager
def under(trace_parent: str | None) -> Iterator[None]:
    """Do the block at the place that an event names; with None, in a trace of its own."""
    token = position.set(TracePosition.of(trace_parent))
    try:
        yield
    finally:
        position.reset(token)


class ConfiguredTelemetry(TelemetryProvider):
    """A provider with a `TelemetryConfig` applied: sampled, filtered, labelled, and made a tree.

    Whether a message is traced is decided once, at its first span, for all that follows from it, on
    every worker.
    """

    def __init__(self, provider: TelemetryProvider, config: TelemetryConfig) -> None:
        self._provider = provider
        self._config = config
        self.enabled = provider.enabled and config.sample_rate > 0

    @property
    def name(self) -> str:
        """The provider's own name."""
        return self._provider.name

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
        """Open a span, as a child of the current one unless `parent_id` says otherwise."""
        wanted, here = self._config.enabled_spans, position.get()
        if wanted is not None and kind not in wanted:
            return ""
        labels = dict(self._config.metadata)
        if here is not None:
            if not here.sampled:
                return ""
            parent_id = parent_id or here.span_id or None
            labels[Attr.TRACE_ID] = here.trace_id
        return self._provider.start_span(
            kind,
            name,
            parent_id=parent_id,
            attributes={**labels, **(attributes or {})},
            room_id=room_id,
            session_id=session_id,
            channel_id=channel_id,
        )

    @override
    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        if span_id:
            self._provider.end_span(
                span_id, status=status, error_message=error_message, attributes=attributes
            )

    @override
    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        if span_id:
            self._provider.set_attribute(span_id, key, value)

    @override
    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        self._provider.record_metric(name, value, unit=unit, attributes=attributes)

    @override
    def trace_parent(self, span_id: str) -> str | None:
        here = position.get()
        if here is None:
            return None
        return TracePosition(here.trace_id, span_id or here.span_id, here.sampled).trace_parent

    @override
    def active(self, span_id: str) -> AbstractContextManager[None]:
        return self._provider.active(span_id)

    def open(self, kind: SpanKind, name: str, **details: Any) -> tuple[str, TracePosition]:
        """Open a span that ends elsewhere; return its id and the place below it."""
        here = position.get()
        if here is None and kind is SpanKind.CUSTOM:  # the caller's own: nothing is added to it
            return (span_id := self.start_span(kind, name, **details)), TracePosition(new_id(), span_id)
        here = here or TracePosition(new_id(), "", self._draw(kind))
        token = position.set(here)
        try:
            span_id = self.start_span(kind, name, **details)
        finally:
            position.reset(token)
        return span_id, TracePosition(here.trace_id, span_id or here.span_id, here.sampled)

    @contextmanager
    @override
    def span(self, kind: SpanKind, name: str, **details: Any) -> Iterator[str]:
        """Open a span around a block; spans opened in the block are its children."""
        span_id, below = self.open(kind, name, **details)
        token = position.set(below)
        started, status, message = perf_counter(), "ok", None
        try:
            yield span_id
        except BaseException as error:
            status, message = "error", type(error).__name__
            raise
        finally:
            position.reset(token)
            took = {Attr.DURATION_MS: (perf_counter() - started) * 1000}
            measured = None if kind is SpanKind.CUSTOM else took
            self.end_span(span_id, status=status, error_message=message, attributes=measured)

    async def stored[T](self, operation: str, table: str, work: Awaitable[T]) -> T:
        """Await an operation of the store, in a span if it is part of a trace."""
        if position.get() is None:
            return await work
        attributes = {Attr.STORE_OPERATION: operation, Attr.STORE_TABLE: table}
        with self.span(SpanKind.STORE_QUERY, f"store.{operation}", attributes=attributes):
            return await work

    def _draw(self, kind: SpanKind) -> bool:
        """Decide on a trace that begins: `sample_rate` is a share of the inbound messages."""
        rate = self._config.sample_rate
        return rate >= 1 or kind is not SpanKind.INBOUND_PIPELINE or random.random() < rate

    @override
    async def flush(self) -> None:
        await self._provider.flush()

    @override
    async def close(self) -> None:
        await self._provider.close()

    @override
    def reset(self) -> None:
        self._provider.reset()
