"""Signals between workers, by LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from types import TracebackType
from typing import Self, override

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.abc.log import get_logger
from roomkit.abc.realtime import EphemeralCallback, RealtimeBackend
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.base import new_id
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.postgres.config import PostgresRealtimeConfig
from roomkit_plugins.postgres.line import Connection, Line, Order
from roomkit_plugins.postgres.session import answering, check_ours

__all__ = ["PostgresRealtime"]

logger = get_logger("roomkit.postgres")

MAX_EVENT_BYTES = 1_000_000
_PART = 7900
"""PostgreSQL takes payloads of less than 8000 bytes; this leaves room for the heading."""
_STATEMENT = 1_000_000
"""Bytes of payload that are sent in one statement."""

_NOTIFY = "select pg_notify(channel, payload) from unnest($1::text[], $2::text[]) as sent (channel, payload)"


class PostgresRealtime(RealtimeBackend):
    """Publishes to subscribers in all workers of one database and namespace; see `RealtimeBackend`.

    Give it a DSN, or a `PostgresRealtimeConfig`. One connection publishes and listens, only to topics that
    are subscribed to here. Subscribers are served as by `InMemoryRealtime`: each has a queue of
    `max_queue_size` events.

    An event of up to a megabyte arrives whole, in several notifications of one transaction; a larger one
    raises InvalidInputError. `publish` returns when the server has the event, and raises a StoreError when
    it could not be reached for `acquire_timeout`, or broke in the middle; then it may have been seen.
    A connection that breaks is made again; signals in between are lost, as they are not stored. Such
    gaps are logged, and counted in `interruptions`. Every five seconds the backend notifies itself: a
    connection that went silent counts as broken ten seconds later at most.
    """

    def __init__(
        self, config: PostgresRealtimeConfig | str, *, namespace: str | None = None, max_queue_size: int = 100
    ) -> None:
        self.config = PostgresRealtimeConfig.of(config)
        self.namespace = self.config.namespace if namespace is None else namespace
        self._local = InMemoryRealtime(max_queue_size)
        self._server = _Server(self.config, self._local)
        self._topics: dict[str, str] = {}  # bound: the subscriptions there are; the topic of each
        self._is_closed = False

    @override
    def __repr__(self) -> str:
        return f"PostgresRealtime({self.config.where!r}, namespace={self.namespace!r})"

    @property
    @override
    def is_process_local(self) -> bool:
        return False

    @property
    def interruptions(self) -> int:
        """How often the connection broke while there were subscriptions."""
        return self._server.interruptions

    @property
    def unreadable(self) -> int:
        """How many notifications came that were no events of this version."""
        return self._server.unreadable

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are in this process."""
        return self._local.subscription_count

    def dropped(self, subscription_id: str) -> int:
        """Return how many events the subscription missed because it was slow, 0 when unknown."""
        return self._local.dropped(subscription_id)

    @override
    async def open(self) -> Self:
        """Connect now instead of at the first call. Raises StoreError."""
        await self._server.ask(_Nothing())
        return self

    async def probe(self) -> str:
        """Return that the server gives a session, as `SupportsProbe` says. Raises StoreError."""
        return await answering(self.config)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @override
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if self._is_closed:
            return
        text = event.model_dump_json(ensure_ascii=True)
        if len(text) > MAX_EVENT_BYTES:
            raise InvalidInputError(
                f"the {event.type} event {event.id} is {len(text)} bytes, and {MAX_EVENT_BYTES} can be "
                "published: store large data, and publish a reference to it"
            )
        await self._server.ask(_Notify(self._name(channel), text))

    @override
    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        subscription_id = await self._local.subscribe(channel, callback)
        if self._is_closed:
            return subscription_id
        self._topics[subscription_id] = channel
        try:
            await self._server.listen(self._name(channel), channel)
        except BaseException:
            await self.unsubscribe(subscription_id)
            raise
        return subscription_id

    @override
    async def unsubscribe(self, subscription_id: str) -> bool:
        channel = self._topics.pop(subscription_id, None)
        if channel is not None:
            self._server.forget(self._name(channel))
        return await self._local.unsubscribe(subscription_id)

    @override
    async def close(self) -> None:
        self._is_closed = True
        self._topics.clear()
        await self._server.close()
        await self._local.close()

    def _name(self, topic: str) -> str:
        """Return the channel of a topic: any text, in the 63 bytes that a name may have."""
        key = blake2b(self.namespace.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        name = blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=16, key=key)
        return f"roomkit_signal_{name.hexdigest()}"


class _Nothing(Order):
    """An order that only needs a connection."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(is_repeatable=True)


class _Listen(_Nothing):
    __slots__ = ("channel",)

    def __init__(self, channel: str) -> None:
        super().__init__()
        self.channel = channel


class _Unlisten(_Listen):
    __slots__ = ()


class _Notify(Order):
    __slots__ = ("channel", "text")

    def __init__(self, channel: str, text: str) -> None:
        super().__init__(is_repeatable=False)  # or its subscribers might see it twice
        self.channel = channel
        self.text = text


class _Topic:
    """A topic that has subscribers here."""

    __slots__ = ("name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscribers = 0


class _Server:
    """The topics as the server has them, and its notifications."""

    def __init__(self, config: PostgresRealtimeConfig, local: InMemoryRealtime) -> None:
        self._config = config
        self._local = local
        self._line: Line[Order] = Line(config, f"the realtime backend of {config.where}", self)
        self._topics: dict[str, _Topic] = {}  # bound: the topics with subscribers here, by channel
        self._numbers = count()
        self._parts: list[str] = []  # bound: MAX_EVENT_BYTES; the parts of one event that came so far
        self._heard: asyncio.Queue[tuple[str, EphemeralEvent]] = asyncio.Queue()  # bound: emptied at once
        self._handing_out: asyncio.Task[None] | None = None
        self._mark = ""
        self._own = f"roomkit_echo_{new_id()}"
        self._echo = asyncio.Event()
        self.interruptions = 0
        self.unreadable = 0

    async def ask(self, order: Order) -> None:
        self._line.submit(order)
        await order.outcome

    async def listen(self, channel: str, name: str) -> None:
        if self._handing_out is None:
            self._handing_out = asyncio.create_task(  # supervised: close() cancels it and waits
                self._hand_out(), name="roomkit-postgres-signals"
            )
        topic = self._topics.setdefault(channel, _Topic(name))
        topic.subscribers += 1
        await self.ask(_Listen(channel))

    def forget(self, channel: str) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            return
        topic.subscribers -= 1
        if not topic.subscribers:
            del self._topics[channel]
            self._line.submit(_Unlisten(channel))

    async def close(self) -> None:
        self._topics.clear()
        await self._line.close()
        task, self._handing_out = self._handing_out, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _hand_out(self) -> None:
        while True:
            await self._local.publish(*await self._heard.get())

    # -- what the line asks --------------------------------------------------------------------

    @property
    def is_on_duty(self) -> bool:
        return bool(self._topics)

    async def prepare(self, connection: Connection, mark: str) -> None:
        self._parts.clear()
        self._mark = mark
        await connection.add_listener(self._own, self._echoed)
        for channel in tuple(self._topics):
            await connection.add_listener(channel, self._notified)

    async def prove(self, connection: Connection) -> None:
        """Notify ourselves: that the server answers does not show that it still listens for us."""
        await check_ours(self._config, connection, self._mark)
        self._echo.clear()
        await connection.execute("SELECT pg_notify($1, '')", self._own)
        await self._echo.wait()

    async def perform(self, connection: Connection, orders: Sequence[Order]) -> None:
        notices: list[_Notify] = []  # bound: one batch
        for order in orders:
            if isinstance(order, _Notify):
                notices.append(order)
                continue
            await self._notify(connection, notices)
            notices.clear()
            if isinstance(order, _Unlisten):
                await connection.remove_listener(order.channel, self._notified)
            elif isinstance(order, _Listen):
                await connection.add_listener(order.channel, self._notified)
            _done(order)
        await self._notify(connection, notices)

    def lost(self, error: StoreError) -> None:
        if self._topics:
            self.interruptions += 1
            logger.warning(
                "The connection that heard the signals of %d topics broke; it is made again, and the signals "
                "in between are lost: %s",
                len(self._topics),
                error,
            )

    async def _notify(self, connection: Connection, orders: Sequence[_Notify]) -> None:
        for statement in _statements(orders):
            channels: list[str] = []  # bound: _STATEMENT
            payloads: list[str] = []  # bound: _STATEMENT
            for order in statement:
                parts = _parts(order.text, next(self._numbers))
                payloads += parts
                channels += [order.channel] * len(parts)
            await connection.fetch(_NOTIFY, channels, payloads)
            for order in statement:
                _done(order)

    # -- notifications -----------------------------------------------------------------

    def _notified(self, connection: object, pid: int, channel: str, payload: object) -> None:
        try:
            text = self._whole(str(payload))
            event = None if text is None else EphemeralEvent.from_stored(text)
        except (ValueError, ValidationError):  # its words are not for the log
            self.unreadable += 1
            logger.warning("A notification of session %d on %s cannot be read as an event", pid, channel)
            return
        topic = self._topics.get(channel)
        if event is not None and topic is not None:
            self._heard.put_nowait((topic.name, event))

    def _echoed(self, *_notification: object) -> None:
        self._echo.set()

    def _whole(self, payload: str) -> str | None:
        """Return the text of an event when this was its last part.

        What one transaction sent comes in one piece and in order, so there is never a second event begun.
        """
        heading, _, text = payload.partition(":")
        _, part, last = heading.split(".")
        if part == "0":
            self._parts.clear()
        elif int(part) != len(self._parts):
            raise ValueError("a part is missing")
        self._parts.append(text)
        if part != last:
            return None
        whole = "".join(self._parts)
        self._parts.clear()
        return whole


def _parts(text: str, number: int) -> list[str]:
    """Return the payloads that carry `text`: `number.part.last:text`.

    The number keeps two events apart that are the same: of equal payloads a transaction sends one.
    """
    places = range(0, len(text), _PART)
    last = len(places) - 1
    return [f"{number}.{part}.{last}:{text[place : place + _PART]}" for part, place in enumerate(places)]


def _statements(orders: Sequence[_Notify]) -> Iterator[Sequence[_Notify]]:
    """Group orders into statements of bounded size."""
    group: list[_Notify] = []
    size = 0
    for order in orders:
        if group and size + len(order.text) > _STATEMENT:
            yield group
            group, size = [], 0
        group.append(order)
        size += len(order.text)
    if group:
        yield group


def _done(order: Order) -> None:
    if not order.outcome.done():
        order.outcome.set_result(0)
