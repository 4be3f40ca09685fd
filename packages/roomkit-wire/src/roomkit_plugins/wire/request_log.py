"""HTTP libraries log the URL of each request at INFO; one that may hold a key stays out of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["unlogged"]

_is_unlogged: ContextVar[bool] = ContextVar("is_unlogged", default=False)


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep the requests that the block makes out of the library's log; those of other clients stay in it."""
    token = _is_unlogged.set(True)
    try:
        yield
    finally:
        _is_unlogged.reset(token)


def _is_logged(record: logging.LogRecord) -> bool:
    return not _is_unlogged.get()


for _library in ("httpx", "httpx2"):
    logging.getLogger(_library).addFilter(_is_logged)
