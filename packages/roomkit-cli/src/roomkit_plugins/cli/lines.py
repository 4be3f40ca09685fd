"""Lines of standard input, on the event loop, from a terminal, a pipe or a file alike."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator

__all__ = ["lines"]

_LONGEST_LINE = 60_000
"""Characters; a line that does not end is given in parts, so that memory stays bounded."""


async def lines(descriptor: int | None = None) -> AsyncIterator[str]:
    """Yield the lines of a file descriptor, standard input unless another is given, without their ends.

    A thread reads ahead of the program by a few lines at most. It reads the descriptor and no
    Python file, so that the process can end while it waits.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue(16)
    source = sys.stdin.fileno() if descriptor is None else descriptor

    def put(line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()

    def read() -> None:
        try:
            for line in _split(source):
                put(line)
            put(None)
        except (RuntimeError, asyncio.CancelledError):  # the loop ended: no reader is left
            return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line


def _split(descriptor: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while data := os.read(descriptor, 65_536):
        *complete, rest = (rest + decoder.decode(data)).split("\n")
        for line in complete:
            yield line.removesuffix("\r")
        while len(rest) > _LONGEST_LINE:
            yield rest[:_LONGEST_LINE]
            rest = rest[_LONGEST_LINE:]
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
