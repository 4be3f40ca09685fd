"""Spans of turns on both sides of a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ProviderError
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.tracing import TracePosition

if TYPE_CHECKING:
    from roomkit.abc.telemetry import TelemetryProvider

__all__ = ["TurnSpan", "span_error"]


class TurnSpan:
    """A span at the place that a request names; a no-op without telemetry, or outside a sampled trace.

    `trace_parent` is the place below it, or the one that was given where there is no span.
    """

    def __init__(
        self,
        telemetry: TelemetryProvider | None,
        kind: SpanKind,
        trace_parent: str | None,
        *,
        agent: str,
        attributes: Mapping[str, Any],
    ) -> None:
        self._telemetry: TelemetryProvider | None = None
        self.trace_parent = trace_parent
        place = TracePosition.of(trace_parent)
        if telemetry is None or not telemetry.enabled or place is None or not place.sampled:
            return
        self._id = telemetry.start_span(
            kind,
            kind.value,
            parent_id=place.span_id or None,
            attributes={Attr.TRACE_ID: place.trace_id, **attributes},
            channel_id=agent,
        )
        self._began = asyncio.get_running_loop().time()
        if self._id:
            self._telemetry = telemetry
            self.trace_parent = replace(place, span_id=self._id).trace_parent

    def active(self) -> AbstractContextManager[None]:
        """Have what other libraries trace in a block below this span; see `TelemetryProvider.active`."""
        return nullcontext() if self._telemetry is None else self._telemetry.active(self._id)

    def end(self, error: str | None = None, attributes: Mapping[str, Any] | None = None) -> None:
        """Close the span, with status `error` if there is one. Idempotent: the first call counts."""
        telemetry, self._telemetry = self._telemetry, None
        if telemetry is not None:
            took = (asyncio.get_running_loop().time() - self._began) * 1000
            known = {Attr.DURATION_MS: took, **(attributes or {})}
            status = "ok" if error is None else "error"
            telemetry.end_span(self._id, status=status, error_message=error, attributes=known)


def span_error(error: BaseException) -> str:
    """Return what a span says of an error: the code of a provider's, the class of any other."""
    return str(error.error_code) if isinstance(error, ProviderError) else type(error).__name__
