"""Failures of a server: each has its own error, and nothing is lost or made twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from roomkit.abc.errors import (
    InvalidInputError,
    RoomKitError,
    StoreAccessError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from roomkit.abc.store import Commit
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import snapshot
from roomkit_plugins.testing.services import CutProxy, PostgresServer

from .conftest import StoreMaker, ask, send

TARGETS = ("sms", "email")


# -- a connection that is lost in the middle ------------------------------------------------------


async def _commit(store: PostgresStore, room: Room, worker: str) -> object:
    sent = event(room.id, "hello", id="event")
    done = await send(store, sent, targets=TARGETS, worker_id=worker, bindings=[binding(room.id, "sms")])
    assert [each.id for each in done.events] == ["event"]
    assert not done.elsewhere
    return done


async def _claim(store: PostgresStore, room: Room, worker: str) -> object:
    await send(store, event(room.id, id="event"), targets=TARGETS)
    claimed = await store.claim(room.id, worker)
    assert [each.delivery.id for each in claimed] == ["event:sms", "event:email"]
    return claimed


async def _complete(store: PostgresStore, room: Room, worker: str) -> object:
    await store.record_receipt(DeliveryStatus(provider="p", message_id="m", status="s"), ReceiptState.READ)
    await send(store, event(room.id, id="event"), targets=["sms"], worker_id=worker)
    row = await store.get_delivery("event:sms")
    assert row is not None
    sent = row.replace(state=DeliveryState.SENT, provider="p", provider_message_id="m")
    done = await store.complete([sent.outcome()], worker_id=worker)
    assert not done.refused
    assert [(after.id, after.receipt) for after, _ in done.receipts] == [("event:sms", ReceiptState.READ)]
    return done


async def _manage(store: PostgresStore, room: Room, worker: str) -> object:
    assert await store.create_room(Room(id="second"))
    assert (await store.patch_room_metadata("second", {"a": 1})).metadata == {"a": 1}
    assert await store.delete_room("second")
    return await store.add_participant(Participant(id="ann", room_id=room.id, channel_id="sms"))


@pytest.mark.parametrize("answer_is_lost", [False, True])
@pytest.mark.parametrize("work", [_commit, _claim, _complete, _manage])
async def test_a_write_is_made_once_wherever_its_connection_is_cut(
    stores: StoreMaker,
    dsn: str,
    work: Callable[[PostgresStore, Room, str], Awaitable[object]],
    answer_is_lost: bool,
) -> None:
    """At each request in turn, before the server sees it or in place of the answer."""
    observer = stores()
    async with CutProxy(dsn) as proxy:
        number = 0
        while True:
            store = await stores(proxy.url).open()
            room = await store.create_room(Room())
            worker = await store.open_lease(600)
            before = proxy.requests
            number += 1
            proxy.cut_at_request(number, answer_is_lost=answer_is_lost)
            await work(store, room, worker)
            done = await snapshot(observer, room.id)
            has_been_cut = proxy.requests - before >= number
            assert len(done.events) == (0 if work is _manage else 1)
            await store.close()
            await observer.delete_room(room.id)
            if not has_been_cut:
                break
    assert number > 1


@pytest.mark.parametrize("count", range(1, 2600, 200))
async def test_a_torn_request_is_made_once(stores: StoreMaker, dsn: str, count: int) -> None:
    """The server gets the beginning of it, and then nothing."""
    async with CutProxy(dsn) as proxy:
        store = await stores(proxy.url).open()
        room = await store.create_room(Room())
        proxy.cut_after_bytes(count)
        for number in range(3):
            await send(store, event(room.id, id=f"e{number}"), targets=TARGETS)
    after = await snapshot(stores(), room.id)
    assert [each.id for each in after.events] == ["e0", "e1", "e2"]
    assert len(after.deliveries) == 6


async def test_a_write_whose_end_nobody_can_tell_says_so(stores: StoreMaker, dsn: str) -> None:
    """And sent again under its id it is there once."""
    async with CutProxy(dsn) as proxy:
        store = await stores(proxy.url, acquire_timeout=1.0).open()
        room = await store.create_room(Room())
        sent = event(room.id)
        proxy.cut_at_request(1, answer_is_lost=True)
        await proxy.refuse()
        with pytest.raises(StoreUnavailableError, match="may have been"):
            await send(store, sent)
        await proxy.accept()
        try:
            await send(store, sent)
        except StoreError as error:
            assert getattr(error, "event", None) is not None
        assert await store.get_event_count(room.id) == 1


async def test_a_write_that_was_given_up_can_no_longer_happen(stores: StoreMaker, dsn: str) -> None:
    """A request that comes late, after the store has asked about it, is refused by its number."""
    store = await stores().open()
    room = await store.create_room(Room())
    (late,) = await ask(dsn, "SELECT roomkit_settle('late', 1) AS outcome")
    assert late["outcome"] is None
    with pytest.raises(asyncpg.UniqueViolationError):
        await ask(dsn, "SELECT roomkit_seal('late', 1, roomkit_delete_room($1))", room.id)
    assert await store.get_room(room.id) is not None


# -- a server that goes and comes back ------------------------------------------------------------


async def test_a_server_that_is_killed_under_load_loses_nothing(
    stores: StoreMaker, dsn: str, postgres_server: PostgresServer
) -> None:
    """It comes back, the store with it, and every message is there once, in order."""
    store = stores(acquire_timeout=30.0)
    rooms = [await store.create_room(Room()) for _ in range(4)]
    half, done = asyncio.Event(), 0

    async def talk(room: Room) -> None:
        nonlocal done
        for number in range(60):
            record = await store.load(room.id, recent=5)
            assert record is not None
            await send(store, event(room.id, id=f"{room.id}-{number}"), targets=TARGETS)
            done += 1
            if done == 100:
                half.set()

    async def kill() -> None:
        await half.wait()
        await asyncio.to_thread(postgres_server.kill)
        await asyncio.to_thread(postgres_server.ensure_running)

    await asyncio.gather(kill(), *map(talk, rooms))
    for room in rooms:
        after = await snapshot(store, room.id)
        assert [each.id for each in after.events] == [f"{room.id}-{number}" for number in range(60)]
        assert [each.index for each in after.events] == list(range(60))
        assert len(after.deliveries) == 120


async def test_outcomes_that_did_not_wait_for_the_disk_are_written_again_after_a_crash(
    stores: StoreMaker, dsn: str, postgres_server: PostgresServer
) -> None:
    """Whether the crash undid them or not; and the store goes on writing under its numbers."""
    store = stores(acquire_timeout=30.0)
    room = await store.create_room(Room())
    worker = await store.open_lease(600)
    committed = await send(store, event(room.id), targets=TARGETS, worker_id=worker)
    ended = [
        Delivery.planned(committed.events[0], each).outcome(state=DeliveryState.SENT) for each in TARGETS
    ]
    shown = await store.complete(ended, worker_id=worker, durable=False)
    assert list(shown.refused) == []
    await asyncio.to_thread(postgres_server.kill)
    await asyncio.to_thread(postgres_server.ensure_running)
    await store.complete(ended, worker_id=worker)
    assert {row.state for row in await store.list_deliveries(room.id)} == {DeliveryState.SENT}
    assert await store.claim(room.id, worker) == []


async def test_a_server_that_is_not_there_is_named(stores: StoreMaker) -> None:
    """Within `acquire_timeout`; the store opens as soon as there is one."""
    store = stores("postgresql://someone:secret@127.0.0.1:1/nothing", acquire_timeout=0.1)
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/nothing") as caught:
        await store.get_room("room")
    assert "secret" not in f"{caught.value!r} {caught.value}"


async def test_sessions_that_are_ended_do_not_show(stores: StoreMaker, dsn: str) -> None:
    store = stores()
    room = await store.create_room(Room())
    for number in range(5):
        await ask(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        await send(store, event(room.id))
        assert await store.get_event_count(room.id) == number + 1


# -- what the server refuses ----------------------------------------------------------------------


async def test_a_wrong_password_is_refused_at_once(stores: StoreMaker, dsn: str) -> None:
    """Without a second attempt, and without the password in sight."""
    secret = urlsplit(dsn).password or ""
    store = stores(dsn.replace(secret, "another-secret"), acquire_timeout=60.0)
    with pytest.raises(StoreAccessError, match="password") as caught:
        await store.open()
    assert "another-secret" not in f"{caught.value!r} {caught.value} {store!r} {store.config!r}"
    with pytest.raises(StoreAccessError):
        await PostgresStore.plan_migration(store.config)


async def test_a_user_without_rights_is_told(stores: StoreMaker, postgres_server: PostgresServer) -> None:
    """Who may connect, but not make tables."""
    name = "reader_of_nothing"
    postgres_server.create_user(name, "secret")
    try:
        with postgres_server.databases.database() as empty:
            store = stores(
                postgres_server.databases.dsn(urlsplit(empty).path[1:], user=name, password="secret")
            )
            with pytest.raises(StoreAccessError, match="too few rights"):
                await store.open()
    finally:
        postgres_server.databases.execute(f"drop role {name}")


async def test_a_full_disk_loses_nothing_and_passes(stores: StoreMaker, dsn: str) -> None:
    store = stores()
    room = await store.create_room(Room())
    await send(store, event(room.id), targets=TARGETS)
    before = await snapshot(store, room.id)
    await ask(
        dsn,
        "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
    )
    await ask(
        dsn,
        "CREATE TRIGGER fills BEFORE INSERT ON roomkit_deliveries FOR EACH ROW EXECUTE FUNCTION is_full()",
    )
    results = await asyncio.gather(
        *(send(store, event(room.id), targets=TARGETS) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(each, StoreFullError) for each in results)
    assert (await snapshot(store, room.id)).differences(before) == {}
    await ask(dsn, "DROP TRIGGER fills ON roomkit_deliveries")
    await send(store, event(room.id), targets=TARGETS)
    record = await store.load(room.id, recent=10)
    assert record is not None
    assert len(record.recent(10)) == 2


async def test_of_those_who_go_together_only_the_guilty_fails(stores: StoreMaker, dsn: str) -> None:
    """One whose row the server refuses does not take the others along."""
    store = stores()
    rooms = [await store.create_room(Room()) for _ in range(8)]
    await ask(dsn, "ALTER TABLE roomkit_events ADD CHECK (type <> 'system')")
    results = await asyncio.gather(
        *(
            send(store, event(room.id, type="system" if place == 3 else "message"))
            for place, room in enumerate(rooms)
        ),
        return_exceptions=True,
    )
    assert [isinstance(each, InvalidInputError) for each in results] == [place == 3 for place in range(8)]
    assert [await store.get_event_count(room.id) for room in rooms] == [int(place != 3) for place in range(8)]


async def test_a_standby_takes_no_writes(stores: StoreMaker, dsn: str) -> None:
    store = stores()
    room = await store.create_room(Room())
    await ask(dsn, f'ALTER DATABASE "{urlsplit(dsn).path[1:]}" SET default_transaction_read_only = on')
    standby = stores()
    assert await standby.get_room(room.id) == room
    with pytest.raises(StoreReadOnlyError):
        await send(standby, event(room.id))
    assert await store.get_event_count(room.id) == 0


async def test_too_few_connections_for_too_long(stores: StoreMaker, dsn: str) -> None:
    store = await stores(max_size=1, acquire_timeout=1.0, command_timeout=60.0).open()
    room = await store.create_room(Room())
    blocker = await asyncpg.connect(dsn)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM roomkit_heads FOR UPDATE")
        blocked = asyncio.ensure_future(send(store, event(room.id)))
        while not await ask(dsn, "SELECT FROM pg_locks WHERE NOT granted"):
            pass
        with pytest.raises(StoreBusyError, match="max_size"):
            await store.get_room(room.id)
    await blocked
    await blocker.close()
    assert await store.get_event_count(room.id) == 1


async def test_a_lock_that_somebody_keeps_holds_up_nobody_else(stores: StoreMaker, dsn: str) -> None:
    store = stores()
    rooms = [await store.create_room(Room()) for _ in range(3)]
    blocker = await asyncpg.connect(dsn)
    async with blocker.transaction():
        await blocker.execute(
            "SELECT 1 FROM roomkit_heads h JOIN roomkit_rooms r ON r.seq = h.room WHERE r.id = $1 FOR UPDATE",
            rooms[0].id,
        )
        blocked = asyncio.ensure_future(send(store, event(rooms[0].id)))
        for room in rooms[1:]:
            await send(store, event(room.id))
        assert not blocked.done()
    await blocked
    await blocker.close()
    assert [await store.get_event_count(room.id) for room in rooms] == [1, 1, 1]


async def test_a_write_that_takes_too_long_is_undone(stores: StoreMaker, dsn: str) -> None:
    """`command_timeout` ends it, and it is certain that it was not made."""
    store = await stores(command_timeout=1.0).open()
    room = await store.create_room(Room())
    blocker = await asyncpg.connect(dsn)
    async with blocker.transaction():
        await blocker.execute("SELECT 1 FROM roomkit_heads FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="in time"):
            await send(store, event(room.id))
    await blocker.close()
    assert await store.get_event_count(room.id) == 0
    await send(store, event(room.id))


async def test_what_a_text_column_cannot_hold_is_refused_by_name(store: PostgresStore, room: Room) -> None:
    """NUL in a text is an error that names the field; in JSON it is kept."""
    kept = event(room.id, "a\x00b", metadata={"k\x00": ["\x00"]})
    (stored,) = (await send(store, kept)).events
    assert await store.get_event(stored.id) == stored
    with pytest.raises(InvalidInputError, match="correlation_id"):
        await send(store, event(room.id).replace(correlation_id="a\x00b"))
    ann = Participant(id="ann", room_id=room.id, channel_id="sms")
    with pytest.raises(InvalidInputError, match="display_name"):
        await store.add_participant(ann.replace(display_name="\x00"))
    for attempt in (store.get_room("\x00"), store.get_event("\ud800"), store.load("\x00")):
        assert await attempt is None
    assert (await store.list_participants(room.id), await store.get_event_count(room.id)) == ([], 1)


# -- closing --------------------------------------------------------------------------------------


async def test_what_is_being_written_is_finished_before_closing(stores: StoreMaker) -> None:
    """Nothing is torn; later calls say that the store is closed."""
    store, observer = stores(), stores()
    rooms = [await store.create_room(Room()) for _ in range(10)]
    sending = [asyncio.ensure_future(send(store, event(room.id))) for room in rooms]
    for _ in range(3):
        await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*sending, return_exceptions=True)
    for room, result in zip(rooms, results, strict=True):
        assert isinstance(result, RoomKitError) != bool(await observer.get_event_count(room.id))
    with pytest.raises(StoreClosedError):
        await store.get_room(rooms[0].id)
    with pytest.raises(StoreClosedError):
        await store.commit(Commit(room_id=rooms[0].id, entries=(), at=NOW))


async def test_nothing_is_left_idle_in_a_transaction(store: PostgresStore, room: Room, dsn: str) -> None:
    """After whatever was done, the sessions wait for the next statement and nothing else."""
    worker = await store.open_lease(60)
    await send(store, event(room.id), targets=TARGETS, worker_id=worker)
    await store.claim(room.id, worker)
    await store.load(room.id, recent=10)
    await store.patch_room_metadata(room.id, {"a": 1})
    states = await ask(
        dsn,
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'",
    )
    assert {row["state"] for row in states} == {"idle"}


@pytest.mark.virtual_time(io_patience=0.3)
async def test_connections_that_go_silent_are_replaced_after_one_time_out(
    dsn: str, stores: StoreMaker
) -> None:
    """One call waits for `command_timeout`; the next has a connection that works."""
    async with CutProxy(dsn) as proxy:
        store = await stores(proxy.url, command_timeout=10.0).open()
        await asyncio.gather(*(store.create_room(Room(id=str(number))) for number in range(8)))
        proxy.silence()
        with pytest.raises(StoreUnavailableError, match="did not answer in time"):
            await store.list_rooms()
        began = asyncio.get_running_loop().time()
        assert len(await store.list_rooms()) == 8
        assert asyncio.get_running_loop().time() - began < 10
        await store.close()
