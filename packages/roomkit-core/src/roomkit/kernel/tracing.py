"""How the kit measures itself: the telemetry provider, as the configuration wants it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, override

from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
from roomkit.models.telemetry import SpanKind

__all__ = ["ConfiguredTelemetry"]

_sampled: ContextVar[bool] = ContextVar("roomkit_sampled", default=True)


class ConfiguredTelemetry(TelemetryProvider):
    """A provider with a `TelemetryConfig` applied: sampled, filtered, and labelled.

    Whether a message is traced is decided once, at its first span, for all that follows from it.
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
        wanted = self._config.enabled_spans
        if not _sampled.get() or (wanted is not None and kind not in wanted):
            return ""
        return self._provider.start_span(
            kind,
            name,
            parent_id=parent_id,
            attributes={**self._config.metadata, **(attributes or {})},
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

    @contextmanager
    @override
    def span(self, kind: SpanKind, name: str, **details: Any) -> Iterator[str]:
        if kind is not SpanKind.INBOUND_PIPELINE or self._config.sample_rate >= 1:
            with super().span(kind, name, **details) as span_id:
                yield span_id
            return
        token = _sampled.set(random.random() < self._config.sample_rate)
        try:
            with super().span(kind, name, **details) as span_id:
                yield span_id
        finally:
            _sampled.reset(token)

    @override
    async def flush(self) -> None:
        await self._provider.flush()

    @override
    async def close(self) -> None:
        await self._provider.close()

    @override
    def reset(self) -> None:
        self._provider.reset()
