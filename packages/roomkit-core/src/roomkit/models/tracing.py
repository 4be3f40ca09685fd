"""Where work is in a trace, in the form of W3C Trace Context."""

from __future__ import annotations

import re

from roomkit._dataclasses import dataclass

__all__ = ["TracePosition"]

# W3C Trace Context, section 3.2: version, trace-id, parent-id, trace-flags.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_SPAN = "0" * 16
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(slots=True, frozen=True)
class TracePosition:
    """A place in a trace: the span that whatever is done there is a child of.

    `span_id` is empty where none was recorded. A trace that is not `sampled` leaves no spans at all.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def trace_parent(self) -> str:
        """The form in which it travels with an event, or with a request to a model."""
        span_id = self.span_id if _SPAN_ID.fullmatch(self.span_id) else _NO_SPAN
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"

    @classmethod
    def of(cls, trace_parent: str | None) -> TracePosition | None:
        """Parse it; None for any other form."""
        found = None if trace_parent is None else _TRACEPARENT.fullmatch(trace_parent)
        if found is None:
            return None
        trace_id, span_id, flags = found.groups()
        return cls(trace_id, "" if span_id == _NO_SPAN else span_id, bool(int(flags, 16) & 1))
