"""The signals, where the server, the network and other workers come in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from roomkit.abc.errors import InvalidInputError, StoreAccessError, StoreUnavailableError
from roomkit.models.base import new_id
from roomkit_plugins.postgres.realtime import MAX_EVENT_BYTES, PostgresRealtime
from roomkit_plugins.testing.contracts.realtime import Ear, signal
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.services import CutProxy, PostgresDatabases, PostgresServer

from .conftest import PATIENCE, RealtimeMaker, once_back


@pytest.fixture
async def proxy(postgres_dsn: str) -> AsyncIterator[CutProxy]:
    async with CutProxy(postgres_dsn) as proxy:
        yield proxy


async def sql(dsn: str, statement: str) -> str:
    return await asyncio.to_thread(PostgresDatabases(dsn).execute, statement, dsn)


async def test_namespaces_are_apart(backends: RealtimeMaker) -> None:
    """A topic of one is not that of another, in one database."""
    here, there = backends(namespace="here"), backends(namespace="there")
    near, far = Ear(), Ear()
    await here.subscribe("topic", near)
    await there.subscribe("topic", far)
    event = signal()
    await here.publish("topic", event)
    assert await near.heard_all() == [event]
    last = signal()
    await there.publish("topic", last)
    assert await far.heard_all() == [last]


async def test_it_listens_to_what_is_subscribed_to_and_no_more(
    postgres_dsn: str, backends: RealtimeMaker
) -> None:
    backend = backends()
    first = await backend.subscribe("topic", Ear())
    second = await backend.subscribe("topic", Ear())
    connection = backend._server._line._connection
    assert connection is not None
    channels = "select count(*) from pg_listening_channels() as name where name not like 'roomkit_echo_%'"

    async def listening() -> int:
        await backend.open()
        return int(await connection.fetchval(channels))

    assert await listening() == 1
    await backend.unsubscribe(first)
    assert await listening() == 1
    await backend.unsubscribe(second)
    assert await listening() == 0
    again = Ear()
    await backend.subscribe("topic", again)
    await backend.publish("topic", signal())
    assert len(await again.heard_all()) == 1


async def test_one_connection_does_everything(postgres_dsn: str, backends: RealtimeMaker) -> None:
    """A hundred topics, all of them published to at once."""
    backend = backends()
    ears = {new_id(): Ear() for _ in range(100)}
    await asyncio.gather(*(backend.subscribe(topic, ear) for topic, ear in ears.items()))
    await asyncio.gather(*(backend.publish(topic, signal()) for topic in ears))
    for ear in ears.values():
        assert len(await ear.heard_all()) == 1
    sessions = "select count(*) from pg_stat_activity where application_name = 'roomkit'"
    assert await sql(postgres_dsn, f"{sessions} and datname = current_database()") == "1"


async def test_publications_of_one_moment_are_one_round_trip(
    proxy: CutProxy, backends: RealtimeMaker
) -> None:
    backend = await backends(proxy.url).open()
    ears = [Ear(), Ear()]
    for number, ear in enumerate(ears):
        await backend.subscribe(str(number), ear)
    event = signal()
    await backend.publish("0", event)
    before = proxy.requests
    await asyncio.gather(*(backend.publish(str(number % 2), event) for number in range(100)))
    assert proxy.requests - before <= 3


async def test_equal_notifications_are_as_many_as_were_published(
    postgres_dsn: str, backends: RealtimeMaker
) -> None:
    """PostgreSQL alone would send one of those that one transaction sends."""
    publisher, witness = await backends().open(), await asyncpg.connect(postgres_dsn)
    heard: list[object] = []
    await witness.add_listener(publisher._name("topic"), lambda *given: heard.append(given[-1]))
    event = signal()
    await asyncio.gather(publisher.publish("topic", event), publisher.publish("topic", event))
    await until(lambda: len(heard) == 2)
    await witness.close()


async def test_what_is_too_large_is_refused(backends: RealtimeMaker) -> None:
    backend = backends()
    ear = Ear()
    await backend.subscribe("topic", ear)
    size = len(signal(data={"text": ""}).model_dump_json(ensure_ascii=True))
    largest = signal(data={"text": "x" * (MAX_EVENT_BYTES - size)})
    with pytest.raises(InvalidInputError, match="1000001 bytes, and 1000000 can be published"):
        await backend.publish("topic", signal(data={"text": "x" * (MAX_EVENT_BYTES - size + 1)}))
    await backend.publish("topic", largest)
    assert await ear.heard_all() == [largest]


async def test_many_large_events_at_once_stay_whole(backends: RealtimeMaker) -> None:
    publishers, subscriber = [backends(), backends(), backends()], backends()
    ear = Ear(expected=30)
    await subscriber.subscribe("topic", ear)
    events = [signal(data={"text": str(number) * 50_000}) for number in range(30)]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(publishers[number % 3].publish("topic", event) for number, event in enumerate(events))
        )
    heard = await ear.heard_all()
    for publisher in range(3):
        assert [event for event in heard if event in events[publisher::3]] == events[publisher::3]
    assert subscriber.unreadable == 0


async def test_after_a_restart_the_subscriptions_go_on(
    postgres_server: PostgresServer, backends: RealtimeMaker, caplog: pytest.LogCaptureFixture
) -> None:
    dsn = postgres_server.ensure_running().create_database()
    publisher, subscriber = backends(dsn, acquire_timeout=5.0), backends(dsn, acquire_timeout=5.0)
    ears = [Ear(), Ear()]
    await subscriber.subscribe("one", ears[0])
    await subscriber.subscribe("two", ears[1])
    with caplog.at_level(logging.WARNING, "roomkit.postgres"):
        await asyncio.to_thread(postgres_server.kill)
        await until(lambda: subscriber.interruptions == 1)
        await asyncio.to_thread(postgres_server.restart)
        await until(lambda: subscriber._server._line.is_connected)
    assert [
        record.message.startswith("The connection that heard the signals of 2") for record in caplog.records
    ]
    assert len(caplog.records) == 1
    events = [signal(), signal()]
    await publisher.publish("one", events[0])
    await publisher.publish("two", events[1])
    assert [await ear.heard_all() for ear in ears] == [[events[0]], [events[1]]]
    for backend in (publisher, subscriber):
        await backend.close()


async def test_without_a_server_the_publisher_is_told(proxy: CutProxy, backends: RealtimeMaker) -> None:
    """In time; and it works again when the server does."""
    backend = backends(proxy.url, acquire_timeout=0.5)
    await proxy.refuse()
    with pytest.raises(StoreUnavailableError, match="can be reached"):
        await backend.publish("topic", signal())
    ear = Ear()
    with pytest.raises(StoreUnavailableError):
        await backend.subscribe("topic", ear)
    assert backend.subscription_count == 0
    await proxy.accept()
    await once_back(lambda: backend.subscribe("topic", ear))
    await once_back(lambda: backend.publish("topic", signal()))
    assert await ear.heard_all()


async def test_a_publication_that_was_cut_is_not_repeated(proxy: CutProxy, backends: RealtimeMaker) -> None:
    publisher, subscriber = await backends(proxy.url).open(), backends()
    ear = Ear(expected=2)
    await subscriber.subscribe("topic", ear)
    before, cut, after = signal(), signal(), signal()
    await publisher.publish("topic", before)
    proxy.cut_at_request(answer_is_lost=True)
    with pytest.raises(StoreUnavailableError):
        await publisher.publish("topic", cut)
    await publisher.publish("topic", after)
    assert (await ear.heard_all())[0] == before
    await until(lambda: after in ear.heard)
    assert ear.heard in ([before, after], [before, cut, after])


async def test_a_subscription_made_while_the_connection_breaks_is_made_on_the_next(
    proxy: CutProxy, backends: RealtimeMaker
) -> None:
    """Whether the server had done it or not."""
    backend = await backends(proxy.url).open()
    for answer_is_lost in (False, True):
        proxy.cut_at_request(answer_is_lost=answer_is_lost)
        ear = Ear()
        await backend.subscribe(str(answer_is_lost), ear)
        await backend.publish(str(answer_is_lost), signal())
        assert len(await ear.heard_all()) == 1


async def test_what_cannot_be_read_is_counted_and_not_quoted(
    postgres_dsn: str, backends: RealtimeMaker, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backends()
    ear = Ear()
    await backend.subscribe("topic", ear)
    for payload in ("between us", "1.0.0:between us", "1.1.1:{}", "", "1.x.0:{}"):
        await sql(postgres_dsn, f"select pg_notify('{backend._name('topic')}', '{payload}')")
    event = signal()
    await backend.publish("topic", event)
    assert await ear.heard_all() == [event]
    assert backend.unreadable == 5
    assert "between us" not in caplog.text


async def test_a_wrong_password_is_told_at_once(postgres_dsn: str, backends: RealtimeMaker) -> None:
    """With what to check, and without the password."""
    name = postgres_dsn.rpartition("/")[2]
    wrong = PostgresDatabases(postgres_dsn).dsn(name, user="postgres", password="s3cret")
    backend = backends(wrong, acquire_timeout=3600.0)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreAccessError, match="check user and password") as caught:
            await backend.open()
    assert "s3cret" not in f"{caught.value} {backend!r}"


async def test_closed_is_closed(backends: RealtimeMaker) -> None:
    """A subscription made afterwards never sees anything, and connects to nothing."""
    backend = backends()
    await backend.close()
    assert await backend.subscribe("topic", Ear())
    assert backend.subscription_count == 0
    assert not backend._server._line.is_connected


@pytest.mark.virtual_time(io_patience=0.3)
async def test_a_link_that_goes_silent_is_noticed_within_fifteen_seconds(postgres_dsn: str) -> None:
    async with CutProxy(postgres_dsn) as proxy, PostgresRealtime(proxy.url) as backend:
        ear = Ear()
        await backend.subscribe("topic", ear)
        proxy.hold()
        await asyncio.sleep(15)
        assert backend.interruptions
        proxy.cut()
        proxy.release()
        await backend.publish("topic", event := signal())
        assert await ear.heard_all() == [event]
