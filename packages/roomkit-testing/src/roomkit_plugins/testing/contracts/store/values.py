"""The store's contract: accepted values are kept as they are, and refused ones change nothing."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DeliveryNotFoundError,
    EventNotFoundError,
    IdentityNotFoundError,
    RoomKitError,
    RoomNotFoundError,
)
from roomkit.abc.store import ConversationStore
from roomkit.models.base import Record, new_id
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import (
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
)
from roomkit.models.delivery import Delivery, DeliveryError, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.event import ChannelData, EventSource, Generation, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, event
from roomkit_plugins.testing.contracts.store.base import (
    StoreSuite,
    commit,
    committed,
    complete_one,
    pending,
    row_of,
)

__all__ = ["ValuesContract"]

_TEXTS = {
    "half a character": "half an emoji: \ud83d",
    "two halves": "\ud83d\ude00",
    "NUL": "a\0b",
    "long": "x" * 100_000,
    "many bytes": "é" * 500,
    "right to left": "\u202eabc",
    "controls": "\x1b[2J\r\n\x7f",
    "emoji": "👩‍👩‍👧 " * 3,
    "empty": "",
}
_NUMBERS = {"huge": 10**4300, "long": 10**30, "64 bits": 2**63 - 1, "beyond": 2**63, "least": -(2**63)}
_OBJECTS: dict[str, Any] = {
    "half a character": {"k": ["\ud83d"]},
    "half a key": {"\ud83d": 1},
    "NUL": {"k\0": "a\0b"},
    "unreadable number": {"n": [10**4300]},
    "long number": {"n": -(10**4299)},
    "not a number": {"n": float("nan")},
    "long": {"text": "x" * 100_000},
    "deep": {"a": {"b": [{"c": None}]}},
}
_NOT_IN_ROWS = frozenset({"index", "event_count", "latest_index", "version", "claims", "holder"})
"""Fields that a store owns, or that its methods set."""

type _Keep = Callable[[ConversationStore, Record], Awaitable[Record | None]]


class ValuesContract(StoreSuite):
    """Every text, number and JSON field of every stored record, with values that are hard to keep.

    A record refuses or repairs a value when it is made, the same for all stores. What it accepts, a store
    gives back equal.
    """

    @pytest.mark.parametrize("model", ["room", "binding", "participant", "identity", "task", "observation"])
    async def test_hard_values_of_records_are_kept_or_refused(
        self, store: ConversationStore, room: Room, model: str
    ) -> None:
        await _try_all(store, *_RECORDS[model](room.id))

    async def test_hard_values_of_events_are_kept_or_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        """And of what an event has within it."""
        plain = event(room.id)
        await _try_all(store, plain, _keep_event)
        parts: dict[str, Record] = {
            "source": EventSource(channel_id="sms", channel_type="sms"),
            "channel_data": ChannelData(),
            "generation": Generation(),
        }
        for name, part in parts.items():
            await _try_all(store, part, _within(plain, name))

    @pytest.mark.parametrize(
        "content",
        [
            TextContent(body="x"),
            RichContent(body="x"),
            MediaContent(url="https://x/y", mime_type="image/png"),
            LocationContent(latitude=1, longitude=2),
            SystemContent(body="x"),
            TemplateContent(template_id="t"),
            EditContent(target_event_id="e", new_content=TextContent(body="x")),
            DeleteContent(target_event_id="e"),
        ],
        ids=lambda content: content.type,
    )
    async def test_hard_values_of_contents_are_kept_or_refused(
        self, store: ConversationStore, room: Room, content: EventContent
    ) -> None:
        """What people write is never refused for what it says."""
        assert isinstance(content, Record)
        await _try_all(store, content, _within(event(room.id), "content"))

    async def test_hard_values_of_deliveries_are_kept_or_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        """An outcome, whatever the vendor says of it, can be written."""
        row = await pending(store, room.id)
        await _try_all(store, row, _keep_delivery)
        failed = row.replace(state=DeliveryState.FAILED)
        await _try_all(store, DeliveryError(code="x", message="y"), _within(failed, "error", _keep_delivery))

    async def test_hard_values_of_receipts_are_kept_or_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        """A receipt finds its message by the same repaired id that the message was sent under."""

        async def keep(store: ConversationStore, given: Record) -> Record | None:
            assert isinstance(given, DeliveryStatus)
            status = given
            if status.message_id == "m":
                status = status.replace(message_id=new_id())
            await store.record_receipt(status, ReceiptState.DELIVERED)
            row = await pending(store, room.id)
            sent = row.replace(
                state=DeliveryState.SENT, provider=status.provider, provider_message_id=status.message_id
            )
            ((after, matched),) = (await store.complete([sent.outcome()])).receipts
            assert after.receipt is ReceiptState.DELIVERED
            assert matched == status
            return given

        await _try_all(store, DeliveryStatus(provider="acme", message_id="m", status="delivered"), keep)

    async def test_hard_values_of_timers_are_kept_or_refused(
        self, store: ConversationStore, room: Room
    ) -> None:
        async def keep(store: ConversationStore, timer: Record) -> Record | None:
            assert isinstance(timer, Timer)
            await store.set_timer(timer)
            assert timer.room_id is not None
            found = [each for each in await store.list_timers(timer.room_id) if each.id == timer.id]
            return found[0] if found else None

        await _try_all(store, Timer(id=new_id(), room_id=room.id, kind="k", due_at=NOW), keep)

    @pytest.mark.parametrize("nowhere", ["\0", "a\0b", "\ud83d", "x" * 10_000, ""])
    async def test_an_id_that_cannot_be_finds_nothing(
        self, store: ConversationStore, room: Room, nowhere: str
    ) -> None:
        """A look-up from outside is answered like that of any id that is not there."""
        await commit(store, room.id, event(room.id))
        assert await store.get_room(nowhere) is None
        assert await store.load(nowhere) is None
        assert await store.get_event(nowhere) is None
        assert await store.get_binding(room.id, nowhere) is None
        assert await store.get_participant(room.id, nowhere) is None
        assert await store.get_identity(nowhere) is None
        assert await store.get_task(nowhere) is None
        assert await store.get_delivery(nowhere) is None
        assert await store.find_event_by_key(room.id, nowhere) is None
        assert await store.resolve_identity("sms", nowhere) is None
        assert await store.list_events(nowhere) == []
        assert await store.list_bindings(nowhere) == []
        record = await store.load(room.id, key=nowhere)
        assert record is not None
        assert record.keyed(nowhere) is None

    @pytest.mark.parametrize("nowhere", ["\0", "a\0b", "\ud83d", "\ud83d:sms", "x" * 10_000, ""])
    async def test_a_write_by_an_id_that_cannot_be_finds_nothing(
        self, store: ConversationStore, room: Room, nowhere: str
    ) -> None:
        """It is answered like a write by any id that is not there, and names the id that was given."""
        (stored,) = (await committed(store, room.id, event(room.id))).events
        await store.add_binding(ChannelBinding(channel_id="c", room_id=room.id, channel_type="sms"))
        assert await store.delete_room(nowhere) is False
        assert await store.delete_identity(nowhere) is False
        assert await store.remove_binding(room.id, nowhere) is False
        assert await store.delete_value(nowhere, ("k",)) is False
        assert await store.delete_value("n", (nowhere,), organization_id=nowhere) is False
        assert await store.delete_values_of(nowhere) == 0
        assert await store.delete_values_of("s", organization_id=nowhere) == 0
        assert await store.claim(nowhere, "w") == []
        await store.close_lease(nowhere)
        refused: list[tuple[type[RoomKitError], Awaitable[object]]] = [
            (RoomNotFoundError, store.patch_room_metadata(nowhere, {"a": 1})),
            (RoomNotFoundError, store.remove_binding(nowhere, "c")),
            (RoomNotFoundError, store.prune_events(nowhere, NOW)),
            (RoomNotFoundError, store.mark_read(nowhere, "c", stored.id)),
            (RoomNotFoundError, store.mark_all_read(nowhere, "c")),
            (ChannelNotFoundError, store.mark_all_read(room.id, nowhere)),
            (EventNotFoundError, store.mark_read(room.id, "c", nowhere)),
            (IdentityNotFoundError, store.link_address(nowhere, "sms", "+1")),
            (DeliveryNotFoundError, store.reopen_delivery(nowhere)),
            (DeliveryNotFoundError, store.drop_delivery(nowhere, "why")),
        ]
        for kind, write in refused:
            with pytest.raises(kind, match=re.escape(repr(nowhere))):
                await write
        assert await store.list_events(room.id) == [stored]
        assert await store.get_binding(room.id, "c") is not None


def hard_values(record: Record) -> Iterator[tuple[str, str, Any]]:
    """Yield (field, name of the value, value) for each field that takes texts, numbers or JSON."""
    for name, field in type(record).model_fields.items():
        if name in _NOT_IN_ROWS or field.exclude:
            continue
        kind = str(field.annotation)
        many = "tuple[" in kind
        if kind.startswith("dict"):
            yield from ((name, what, {text: text}) for what, text in _TEXTS.items())
        elif "Json" in kind:
            yield from ((name, what, [value] if many else value) for what, value in _OBJECTS.items())
        elif "Int" in kind:
            yield from ((name, what, value) for what, value in _NUMBERS.items())
        elif any(
            each in kind for each in ("Text", "Label", "Key", "Id", "Reference", "Summary", "Url", "str")
        ):
            texts = {**_TEXTS, **({"URL": "https://x/\ud83d"} if "Url" in kind else {})}
            yield from ((name, what, [text] if many else text) for what, text in texts.items())


async def _try_all(store: ConversationStore, record: Record, keep: _Keep) -> None:
    """Put every hard value into the record, and the record into the store."""
    tried = kept = 0
    for name, what, value in hard_values(record):
        tried += 1
        made = _made(record, name, value)
        if isinstance(made, ValidationError):
            assert {each["loc"][0] for each in made.errors()} == {name}, (name, what)
            continue
        if name == "room_id":
            if not value:
                continue
            await store.create_room(Room(id=value))
        kept += 1
        assert await keep(store, made) == made, (name, what)
    assert tried >= kept > 0


def _made(record: Record, name: str, value: Any) -> Record | ValidationError:
    try:
        return type(record).model_validate({**record.__dict__, name: value})
    except ValidationError as refused:
        return refused


async def _keep_event(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, RoomEvent)
    given = record if record.id == "" else record.replace(id=new_id(), idempotency_key=_fresh(record))
    stored = (await committed(store, record.room_id, given)).events[0]
    assert stored == given.replace(index=stored.index, created_at=NOW, status=stored.status)
    read = await store.get_event(stored.id)
    assert read == stored
    assert (await store.list_events(record.room_id, after_index=stored.index - 1)) == [stored]
    return record


def _fresh(record: RoomEvent) -> str | None:
    return None if record.idempotency_key is None else f"{record.idempotency_key[:300]}{new_id()}"


def _within(outer: RoomEvent | Delivery, name: str, keep: _Keep = _keep_event) -> _Keep:
    async def keep_within(store: ConversationStore, part: Record) -> Record | None:
        await keep(store, outer.replace(**{name: part}))
        return part

    return keep_within


async def _keep_delivery(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Delivery)
    row = await pending(store, record.room_id)
    fixed = {name: getattr(row, name) for name in ("id", "room_id", "event_id", "event_index", "channel_id")}
    made = record.replace(**fixed, holder=None, created_at=row.created_at, state=DeliveryState.FAILED)
    assert not (await complete_one(store, made, state=made.state)).refused
    assert await row_of(store, row.id) == made
    return record


async def _keep_room(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Room)
    given = record.replace(id=new_id()) if record.id == _FIXED else record
    created = await store.create_room(given)
    assert await store.get_room(given.id) == created == given
    return record


async def _keep_binding(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, ChannelBinding)
    await store.add_binding(record)
    return await store.get_binding(record.room_id, record.channel_id)


async def _keep_participant(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Participant)
    await store.add_participant(record)
    return await store.get_participant(record.room_id, record.id)


async def _keep_identity(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Identity)
    given = record.replace(id=new_id()) if record.id == _FIXED else record
    await store.create_identity(given)
    assert await store.get_identity(given.id) == given
    return record


async def _keep_task(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Task)
    given = record.replace(id=new_id()) if record.id == _FIXED else record
    await store.add_task(given)
    assert await store.get_task(given.id) == given
    return record


async def _keep_observation(store: ConversationStore, record: Record) -> Record | None:
    assert isinstance(record, Observation)
    given = record.replace(id=new_id()) if record.id == _FIXED else record
    await store.add_observation(given)
    assert given in await store.list_observations(given.room_id)
    return record


_FIXED = "fixed"
_RECORDS: dict[str, Callable[[str], tuple[Record, _Keep]]] = {
    "room": lambda room_id: (Room(id=_FIXED), _keep_room),
    "binding": lambda room_id: (
        ChannelBinding(channel_id="c", room_id=room_id, channel_type="sms"),
        _keep_binding,
    ),
    "participant": lambda room_id: (
        Participant(id="p", room_id=room_id, channel_id="c"),
        _keep_participant,
    ),
    "identity": lambda room_id: (Identity(id=_FIXED), _keep_identity),
    "task": lambda room_id: (Task(id=_FIXED, room_id=room_id, title="t"), _keep_task),
    "observation": lambda room_id: (
        Observation(id=_FIXED, room_id=room_id, channel_id="c", content="x"),
        _keep_observation,
    ),
}
