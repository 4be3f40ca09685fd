"""Telemetry that goes nowhere, and telemetry that goes to the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import field
from time import perf_counter
from typing import Any

from roomkit._dataclasses import dataclass
from roomkit.abc.log import get_logger
from roomkit.abc.telemetry import TelemetryProvider
from roomkit.models.base import new_id
from roomkit.models.telemetry import Attr, SpanKind

__all__ = ["ConsoleTelemetryProvider", "NoopTelemetryProvider"]

logger = get_logger("roomkit.telemetry")

MAX_OPEN_SPANS = 10_000
_PRIVATE = frozenset({Attr.STT_TEXT, Attr.DELIVERY_RECIPIENT, Attr.DELIVERY_ERROR})
_SHOWN_TEXTS = frozenset(value for name, value in vars(Attr).items() if not name.startswith("_")) - _PRIVATE
"""The attributes whose text is an identifier or a code, never a person's words."""


class NoopTelemetryProvider(TelemetryProvider):
    """Records nothing; the kernel does not even ask it to."""

    enabled = False

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
        """Return ""."""
        return ""

    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Do nothing."""

    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        """Do nothing."""

    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Do nothing."""


class ConsoleTelemetryProvider(TelemetryProvider):
    """Logs each span when it ends, and each metric, on the logger `roomkit.telemetry`.

    Numbers are shown, and the texts of the well-known attributes that are identifiers or codes. Of
    any other text only the length is: it may be a person's words, an address or a secret.
    """

    def __init__(self, *, level: int = logging.INFO) -> None:
        self._level = level
        self._open: dict[str, _OpenSpan] = {}  # bound: MAX_OPEN_SPANS; the oldest is dropped, counted
        self.dropped_spans = 0

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
        """Open a span; nothing is logged before it ends."""
        if len(self._open) >= MAX_OPEN_SPANS:
            del self._open[next(iter(self._open))]
            self.dropped_spans += 1
        places = {Attr.ROOM_ID: room_id, Attr.SESSION_ID: session_id, Attr.CHANNEL_ID: channel_id}
        known = {key: value for key, value in places.items() if value is not None}
        span_id = new_id()[:16]
        self._open[span_id] = _OpenSpan(kind, name, parent_id, {**known, **(attributes or {})})
        return span_id

    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Log the span; one that is not open is ignored."""
        span = self._open.pop(span_id, None)
        if span is None or not logger.isEnabledFor(self._level):
            return
        milliseconds = (perf_counter() - span.started) * 1000
        error = "" if error_message is None else f" {_code(error_message)}"
        logger.log(
            self._level,
            "span %s %s %s%s %.3f ms%s",
            span.kind,
            span.name,
            status,
            error,
            milliseconds,
            _rendered({"span": span_id, "parent": span.parent_id, **span.attributes, **(attributes or {})}),
        )

    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        """Add an attribute to an open span; one that is not open is ignored."""
        span = self._open.get(span_id)
        if span is not None:
            span.attributes[key] = value

    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Log one measurement."""
        if logger.isEnabledFor(self._level):
            amount = f"{value:g} {unit}".rstrip()
            logger.log(self._level, "metric %s %s%s", name, amount, _rendered(attributes or {}))

    def reset(self) -> None:
        """Forget the spans that are open."""
        self._open.clear()


@dataclass(slots=True)
class _OpenSpan:
    kind: SpanKind
    name: str
    parent_id: str | None
    attributes: dict[str, Any]
    started: float = field(default_factory=perf_counter)


def _rendered(attributes: Mapping[str, Any]) -> str:
    return "".join(f" {key}={_shown(key, value)}" for key, value in attributes.items() if value is not None)


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool | int | float) or key in ("span", "parent"):
        return str(value)
    if isinstance(value, str):
        return value if key in _SHOWN_TEXTS else f"<{len(value)} characters>"
    return f"<{type(value).__name__}>"


def _code(message: str) -> str:
    """Keep an error's class name or code; a sentence may quote what it failed on."""
    return message if message.isidentifier() else f"<{len(message)} characters>"
