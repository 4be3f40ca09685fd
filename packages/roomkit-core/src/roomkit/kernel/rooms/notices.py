"""Notifying channels of what changed in a room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from roomkit.kernel.runtime.supervisor import Overdue

if TYPE_CHECKING:
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["ChannelNotices", "Notice"]

type Notice = tuple[str, Callable[[], Awaitable[None]]]
"""What to call, and its name in reports."""


class ChannelNotices:
    """Calls channels outside every lock, each for at most the time of a delivery."""

    def __init__(self, *, settings: KitOptions, supervisor: Supervisor, observers: Observers) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._observers = observers

    async def send(self, notices: Sequence[Notice]) -> None:
        """Call each channel, one after the other; raise the first failure once all were called.

        A channel that is late is reported and left behind: the change is committed, whatever it does.
        """
        failure: Exception | None = None
        for name, call in notices:
            try:
                await self._observers.afterwards(partial(self._call, name, call), name)
            except Exception as error:  # noqa: BLE001  # raised once the other channels are notified
                failure = failure or error
        if failure is not None:
            raise failure

    async def _call(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._supervisor.call(call(), name, self._settings.delivery_timeout)
        except Overdue as late:
            self._supervisor.report(name, late)
