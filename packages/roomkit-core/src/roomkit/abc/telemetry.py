"""The contract of tracing and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import field
from typing import Any

from roomkit._dataclasses import dataclass
from roomkit.models.enums import HookTrigger
from roomkit.models.telemetry import SpanKind

__all__ = ["TelemetryConfig", "TelemetryProvider"]


class TelemetryProvider(ABC):
    """Where spans and metrics go. Calls are synchronous, cheap and never raise into the kernel."""

    enabled: bool = True
    """False lets the kernel skip building spans at all."""

    @property
    def name(self) -> str:
        """The provider's component name."""
        return type(self).__name__

    @abstractmethod
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
        """Open a span; return its id, 16 hexadecimal digits, as W3C Trace Context has them.

        `parent_id` may be of another process, where the message came from; the attribute `trace_id`
        (32 hexadecimal digits) is the same for all that follows from one message. Message text is
        never among the attributes.
        """

    @abstractmethod
    def end_span(
        self,
        span_id: str,
        *,
        status: str = "ok",
        error_message: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Close a span with status `ok` or `error`."""

    @abstractmethod
    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        """Add an attribute to an open span."""

    @abstractmethod
    def record_metric(
        self, name: str, value: float, *, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Record one measurement."""

    def trace_parent(self, span_id: str) -> str | None:
        """Return the place below an open span as a W3C `traceparent`, for work that is done elsewhere.

        The place of the caller for "", as `start_span` returns it for a span that is not recorded. None for
        work that is part of no trace: always, unless the provider is that of a kit (`services.telemetry`).
        """
        return None

    def active(self, span_id: str) -> AbstractContextManager[None]:
        """Make an open span the current one of the tracing system itself, for a block.

        So what a vendor's library traces in the block is below it. Nothing, where the system has no such
        notion, and for a span that is not open. The block is one task's; a generator does not yield in it.
        """
        return nullcontext()

    @contextmanager
    def span(self, kind: SpanKind, name: str, **details: Any) -> Iterator[str]:
        """Open a span around a block; an exception closes it with status `error`."""
        span_id = self.start_span(kind, name, **details)
        try:
            yield span_id
        except BaseException as error:
            self.end_span(span_id, status="error", error_message=type(error).__name__)
            raise
        self.end_span(span_id)

    async def flush(self) -> None:
        """Send buffered spans and metrics."""

    async def close(self) -> None:
        """Flush and release. Idempotent."""

    def reset(self) -> None:
        """Forget recorded spans and metrics, where the provider keeps them."""


@dataclass(slots=True, frozen=True)
class TelemetryConfig:
    """How the kit measures itself.

    `sample_rate` is the share of inbound messages that are traced, `enabled_spans` the kinds that
    are (None: all), `metadata` goes on every span, and hooks of `suppressed_hook_triggers` get none.
    """

    provider: TelemetryProvider | None = None
    sample_rate: float = 1.0
    enabled_spans: frozenset[SpanKind] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    suppressed_hook_triggers: frozenset[HookTrigger] = frozenset(
        {
            HookTrigger.ON_INPUT_AUDIO_LEVEL,
            HookTrigger.ON_OUTPUT_AUDIO_LEVEL,
            HookTrigger.ON_VAD_AUDIO_LEVEL,
        }
    )

    def __post_init__(self) -> None:
        if not 0 <= self.sample_rate <= 1:
            raise ValueError(f"sample_rate is {self.sample_rate}; it is a share, from 0 to 1")
