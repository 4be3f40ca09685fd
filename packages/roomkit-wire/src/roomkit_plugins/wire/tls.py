"""The certificates that vendors' servers are verified by: read once, not for each provider."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import lru_cache

__all__ = ["shared_context"]


def shared_context(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the context that `make` made in this process for the same SSL_CERT_FILE and SSL_CERT_DIR.

    Reading the system's certificates costs 20 to 30 ms of CPU and half a megabyte for each client that makes
    its own. Share one only among clients that verify alike and speak HTTP/1.1: a client sets the protocols
    that it offers on its context. Blocks: call it in a worker thread, as `LazyClient` does.
    """
    return _made(make, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _made(make: Callable[[], ssl.SSLContext], _file: str | None, _folder: str | None) -> ssl.SSLContext:
    return make()
