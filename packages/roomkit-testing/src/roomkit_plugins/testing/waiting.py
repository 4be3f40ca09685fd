"""Says where a coroutine waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["waiting_at"]


def waiting_at(work: Any) -> Iterator[str]:
    """Yield the chain of calls a suspended coroutine is in, `name (file:line)`, the innermost last."""
    while (frame := getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)) is not None:
        yield f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)
