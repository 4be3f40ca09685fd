"""HTTP/1.1 as uvicorn speaks it, with deadlines for clients, and a limit that all connections count for."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, override

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

if TYPE_CHECKING:
    import h11

__all__ = ["protocol_with"]


class _Protocol(H11Protocol):
    """Hangs up on a client that has not sent the head of its next request in time.

    uvicorn has a deadline for the silence between two requests, and none for a first request that does not
    come, nor for one that comes by a byte a second: each would hold one of the connections for ever. The
    parser bounds the size of heads, `read_body` the size and time of bodies.

    Likewise for a client that takes nothing of an answer: the application waits for it, and a transport that
    is closed waits until all is sent.
    """

    def __init__(  # Any: uvicorn's own
        self, *given: Any, head_timeout: float, send_timeout: float, **options: Any
    ) -> None:
        super().__init__(*given, **options)
        self._head_timeout = head_timeout
        self._send_timeout = send_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._unsent = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # so that any byte that is not taken is known of
        self._expect_head()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_head_awaited():
            self._expect_head()
        else:
            self._forget_deadline()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        self._forget_stalled()
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_progress()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_stalled()

    @override
    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._forget_stalled()
        self.transport.set_write_buffer_limits()  # a socket has deadlines of its own
        super().handle_websocket_upgrade(event)

    @override
    def _should_upgrade(self) -> bool:
        """Return whether a request becomes a web socket: not above the limit; uvicorn looks at it later."""
        most = self.limit_concurrency
        return super()._should_upgrade() and (most is None or len(self.connections) < most)

    def _is_head_awaited(self) -> bool:
        """Whether a head is not complete; after the upgrade to a web socket none is awaited."""
        if self.transport.get_protocol() is not self or self.transport.is_closing():
            return False
        return _is_answered(self.cycle)

    def _expect_head(self) -> None:
        """Start the deadline, unless it runs: bytes of a head do not put it off."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._head_timeout, self._hang_up)

    def _hang_up(self) -> None:
        self._deadline = None
        if self._is_head_awaited():
            self.transport.close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_progress(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self._send_timeout, self._check_progress)

    def _check_progress(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent:
            self._expect_progress()
        else:
            self.transport.abort()

    def _forget_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _is_answered(request: RequestResponseCycle | None) -> bool:  # uvicorn starts with None, undeclared
    return request is None or request.response_complete


def protocol_with(*, head_timeout: float, send_timeout: float) -> Any:  # Any: uvicorn takes it for a class
    """Return what makes a connection's protocol.

    `head_timeout` is in how many seconds the head of a request has to come, `send_timeout` for how many a
    client may take nothing of an answer.
    """
    return partial(_Protocol, head_timeout=head_timeout, send_timeout=send_timeout)
