"""A source whose outside is the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from roomkit.abc.source import EmitCallback
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.delivery import (
    Delivery,
    DeliveryStatus,
    InboundMessage,
    InboundResult,
    ReceiptWatermark,
)
from roomkit.models.enums import SourceStatus
from roomkit.models.realtime import EphemeralEvent, InboundSignal

__all__ = ["ScriptedSource"]

type Happening = (
    InboundMessage | DeliveryStatus | ReceiptWatermark | EphemeralEvent | InboundSignal | Exception
)


class ScriptedSource(BaseSourceProvider):
    """Emits messages given with `say`, or in advance by `script`.

    A message, receipt or signal is emitted, an exception ends `start` as a broken connection would.
    `results` keeps what became of each; `starts` counts the connections.
    """

    def __init__(self, script: Iterable[Happening] = (), *, name: str = "scripted") -> None:
        super().__init__()
        self._name = name
        self._pending: list[Happening] = list(script)  # bound: what the test says
        self._news = asyncio.Event()
        self.results: list[InboundResult | Delivery | None] = []  # bound: the life of a test
        self.starts = 0

    @property
    def name(self) -> str:
        """What the source is connected to."""
        return self._name

    def say(self, *happenings: Happening) -> None:
        """Let these happen, after those that are still to come."""
        self._pending.extend(happenings)
        self._news.set()

    async def start(self, emit: EmitCallback) -> None:
        """Emit given messages until stopped; raise a given failure."""
        self.starts += 1
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTED)
        try:
            while not self._should_stop():
                if self._pending:
                    await self._happen(self._pending.pop(0), emit)
                else:
                    self._news.clear()
                    await self._news.wait()
        except Exception as error:
            self._set_status(SourceStatus.ERROR, type(error).__name__)
            raise
        except asyncio.CancelledError:
            self._set_status(SourceStatus.STOPPED)
            raise

    async def stop(self) -> None:
        """Make `start` return; messages not emitted yet stay for the next start."""
        await super().stop()
        self._news.set()

    async def _happen(self, happening: Happening, emit: EmitCallback) -> None:
        if isinstance(happening, Exception):
            raise happening
        self._record_message()
        self.results.append(await emit(happening))
