"""How a backend reports the events of its sessions; one implementation for all backends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from inspect import isawaitable
from typing import Any

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.abc.voice.errors import VoiceError
from roomkit.abc.voice.session import VoiceSession

_log = get_logger("roomkit.voice")

type _Callback = Callable[..., Awaitable[None] | None]

EVENTS = frozenset(
    {"audio", "audio_played", "barge_in", "client_disconnected", "dtmf", "flushed"}
    | {"hold", "message", "ready", "speaker_change", "transfer"}
)
"""The events of a backend."""


class BackendCallbacks:
    """The callbacks of one backend, and the loop that they run on."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._of: dict[str, tuple[_Callback, ...]] = dict.fromkeys(EVENTS, ())
        self._home: asyncio.AbstractEventLoop | None = None
        self._running: set[Future[None]] = set()  # bound: asynchronous callbacks under way

    def on(self, event: str, callback: _Callback) -> None:
        """Append a callback; those that were registered before are kept."""
        self.find_home()
        self._of[event] = (*self._of[event], callback)

    def find_home(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop that runs here; it becomes the home loop if there is none."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return None
        if self._home is None or self._home.is_closed():
            self._home = here
        return here

    def emit(self, event: str, session: VoiceSession, payload: tuple[Any, ...]) -> None:
        """Call the callbacks: of audio on this thread, of all else on the home loop."""
        if event not in EVENTS:
            raise InvalidInputError(
                f"a backend cannot emit {event!r}: use one of {', '.join(sorted(EVENTS))}"
            )
        here = self.find_home()
        if self._home is None or self._home.is_closed():
            raise VoiceError(
                f"{self._owner} cannot emit {event!r} here: the thread has no event loop, and the backend "
                "has none yet; await its start() first"
            )
        if event == "audio" or here is self._home:
            self._call(self._home, event, session, payload)
        else:
            self._home.call_soon_threadsafe(self._call, self._home, event, session, payload)

    def _call(
        self, home: asyncio.AbstractEventLoop, event: str, session: VoiceSession, payload: tuple[Any, ...]
    ) -> None:
        for callback in self._of[event]:
            try:
                answer = callback(session, *payload)
                if isawaitable(answer):
                    self._running.add(future := asyncio.run_coroutine_threadsafe(_awaited(answer), home))
                    future.add_done_callback(self._finished)
            except Exception:  # noqa: BLE001  # one callback must not keep the event from the others
                _log.warning("a callback for %s of %s failed", event, self._owner, exc_info=True)

    def _finished(self, future: Future[None]) -> None:
        self._running.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            _log.warning("a callback of %s failed: %s", self._owner, error)


async def _awaited(answer: Awaitable[None]) -> None:
    await answer
