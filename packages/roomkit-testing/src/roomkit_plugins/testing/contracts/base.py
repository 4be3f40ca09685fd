"""What every contract suite shares."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import EventContent, TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room

__all__ = ["NOW", "PATIENCE", "ContractSuite", "binding", "context", "event", "message", "unsaid"]

PATIENCE = 10.0
"""Seconds of the loop's clock after which what should have ended did not."""
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


class ContractSuite:
    """The tests of one role. A subclass gives the fixture `factory`, and gets all of them.

    `factory` is a function without arguments that makes a fresh object of the role; it may be a
    coroutine function. The fixture cleans up what the objects need besides their own `close()`.

    A test of the suite cannot be replaced in silence: a subclass that must do so marks its own
    with `@pytest.mark.overrides_contract("why")`. Optional parts are properties to override.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, replacement in vars(cls).items():
            if (
                name.startswith("test")
                and _is_contract(name, cls.__mro__[1:])
                and not _is_marked(replacement)
            ):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a test of the contract; if it must, mark it with "
                    '@pytest.mark.overrides_contract("why"), else give it another name'
                )

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        """Return a function that makes the object under test; the subclass gives it."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `factory` that returns a function making the "
            "object under test"
        )

    @pytest.fixture
    async def subject(self, factory: Callable[[], Any]) -> AsyncIterator[Any]:
        """Make one object, and close it after the test."""
        made = await make(factory)
        yield made
        await close(made)

    @property
    def secrets(self) -> Sequence[str]:
        """What the factory configured as secret; none of it may show anywhere."""
        return ()

    def test_secrets_do_not_show(self, subject: Any) -> None:
        """Neither `repr`, `str` nor the fields of the object's public attributes show a secret."""
        shown = [repr(subject), str(subject)]
        shown += [
            repr(getattr(subject, name, None))
            for name in dir(subject)
            if not name.startswith("_") and not inspect.iscoroutinefunction(getattr(subject, name, None))
        ]
        for secret in self.secrets:
            assert not any(secret in text for text in shown)

    async def test_closing_twice_is_closing_once(self, factory: Callable[[], Any]) -> None:
        """`close()` is idempotent, on an object that was never used too."""
        made = await make(factory)
        await close(made)
        await close(made)


def unsaid(suite: object, name: str, what: str) -> NotImplementedError:
    """Return the error of a suite that lacks a property that only its author knows."""
    return NotImplementedError(f"{type(suite).__name__} has to say {what}: override `{name}`")


async def make[T](factory: Callable[[], T | Awaitable[T]]) -> T:
    """Call a factory, whether it is a coroutine function or not."""
    made = factory()
    return await made if inspect.isawaitable(made) else made


async def close(made: Any) -> None:
    """Close an object of any role, if its role has a `close`."""
    closing = getattr(made, "close", None)
    if closing is not None:
        await closing()


def event(room_id: str, text: str = "hello", *, channel_id: str = "alice", **fields: Any) -> RoomEvent:
    """Build an event yet to be committed, with a text unless `content` is given."""
    content: EventContent = fields.pop("content", TextContent(body=text))
    source = EventSource(channel_id=channel_id, channel_type=ChannelType.SMS, participant_id=channel_id)
    return RoomEvent(**{"room_id": room_id, "source": source, "content": content, **fields})


def message(text: str = "hello", *, channel_id: str = "channel", **fields: Any) -> InboundMessage:
    """Build a message from outside, with a text unless `content` is given."""
    content: EventContent = fields.pop("content", TextContent(body=text))
    return InboundMessage(**{"channel_id": channel_id, "sender_id": "sender", "content": content, **fields})


def binding(room_id: str, channel_id: str = "channel", **fields: Any) -> ChannelBinding:
    """Build a binding."""
    return ChannelBinding(
        **{"room_id": room_id, "channel_id": channel_id, "channel_type": ChannelType.SMS, **fields}
    )


def context(
    *bindings: ChannelBinding,
    room: Room | None = None,
    recent_events: Sequence[RoomEvent] = (),
    reader: ChannelBinding | None = None,
) -> RoomContext:
    """Build the view of a room, of a fresh one unless it is given."""
    room = room or Room(id=bindings[0].room_id if bindings else new_id())
    return RoomContext(room, bindings, (), recent_events, reader=reader)


def _is_contract(name: str, bases: Sequence[type]) -> bool:
    return any(name in vars(base) for base in bases if issubclass(base, ContractSuite))


def _is_marked(replacement: object) -> bool:
    marks = getattr(replacement, "pytestmark", ())
    return any(mark.name == "overrides_contract" and mark.args for mark in marks)
