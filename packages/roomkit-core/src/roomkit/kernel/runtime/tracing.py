"""How the kit measures itself: one tree of spans for each message and all that follows from it.

Where a span is put is kept in the context of the task, so that nesting in code is nesting in the
tree. Work elsewhere (a lane, an observer, another worker) takes its place from the event it works
for: `RoomEvent.trace_parent`, in the form of W3C Trace Context's `traceparent`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, override

from roomkit._dataclasses import dataclass
from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.models.base import new_id
from roomkit.models.telemetry import Attr, SpanKind

__all__ = ["ConfiguredTelemetry", "Position", "position", "under"]

# W3C Trace Context, section 3.2: version, trace-id, parent-id, trace-flags.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_SPAN = "0" * 16
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(slots=True, frozen=True)
class Position:
    """A place in a trace: the span that whatever is done there is a child of.

    `span_id` is empty where none was recorded. A trace that is not `sampled` leaves no spans at all.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def trace_parent(self) -> str:
        """The form in which it travels with an event."""
        span_id = self.span_id if _SPAN_ID.fullmatch(self.span_id) else _NO_SPAN
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"

    @classmethod
    def of(cls, trace_parent: str | None) -> Position | None:
        """Parse it; None for any other form."""
        found = None if trace_parent is None else _TRACEPARENT.fullmatch(trace_parent)
        if found is None:
            return None
        trace_id, span_id, flags = found.groups()
        return cls(trace_id, "" if span_id == _NO_SPAN else span_id, bool(int(flags, 16) & 1))


position: ContextVar[Position | None] = ContextVar("roomkit_trace", default=None)
"""Where the caller is."""


@contextmanager
def under(trace_parent: str | None) -> Iterator[None]:
    """Do the block at the place that an event names; with None, in a trace of its own."""
    token = position.set(Position.of(trace_parent))
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

    def open(self, kind: SpanKind, name: str, **details: Any) -> tuple[str, Position]:
        """Open a span that ends elsewhere; return its id and the place below it."""
        here = position.get()
        if here is None and kind is SpanKind.CUSTOM:  # the caller's own: nothing is added to it
            return (span_id := self.start_span(kind, name, **details)), Position(new_id(), span_id)
        here = here or Position(new_id(), "", self._draw(kind))
        token = position.set(here)
        try:
            span_id = self.start_span(kind, name, **details)
        finally:
            position.reset(token)
        return span_id, Position(here.trace_id, span_id or here.span_id, here.sampled)

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
