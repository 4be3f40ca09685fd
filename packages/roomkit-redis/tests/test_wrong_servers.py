"""A url that leads to the wrong server: named within seconds, when the kit starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import RoomKitError
from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime
from roomkit_plugins.testing.services import CutProxy, RedisServer

from .conftest import PATIENCE, Worker

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"
"""RFC 8446, section 6: a fatal unexpected_message, what a TLS server says to plain text."""

PARTS = [RedisLockManager, RedisRealtime]


async def refused(part: type[RedisLockManager] | type[RedisRealtime], url: str) -> str:
    """Start a kit with the part; return why it does not start."""
    made = part(RedisConfig.model_validate({"url": url, "connect_timeout": 1.0}))
    kit = RoomKit(lock_manager=made) if isinstance(made, RedisLockManager) else RoomKit(realtime=made)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(RoomKitError) as caught:
            await kit.start()
        await kit.close()
    assert "127.0.0.1" in str(caught.value), "the server is not named"
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=[HTTP, TLS_ALERT, b""], ids=["http", "tls", "silent"])
async def stranger(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, bytes]]:
    """Run a server that is no Redis; give its url and what it says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(request.param)
        if not request.param:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", request.param
    server.close()


@pytest.mark.parametrize("part", PARTS)
async def test_what_is_no_redis_is_named(part: type[RedisRealtime], stranger: tuple[str, bytes]) -> None:
    """Whatever it says to our greeting, and when it says nothing at all."""
    url, said = stranger
    why = await refused(part, url)
    assert "rediss://" in why
    assert ("not Redis" in why) == bool(said)


@pytest.mark.parametrize("part", PARTS)
async def test_tls_to_a_server_without_is_named(part: type[RedisRealtime], redis_url: str) -> None:
    assert "has none (redis://)" in await refused(part, redis_url.replace("redis:", "rediss:"))


@pytest.mark.parametrize("part", PARTS)
async def test_a_wrong_password_is_named(part: type[RedisRealtime], redis_url: str) -> None:
    assert "credentials" in await refused(part, redis_url.replace("//", "//ann:s3cret@"))


@pytest.mark.parametrize("part", PARTS)
async def test_a_database_that_is_not_there_is_named(part: type[RedisRealtime], redis_url: str) -> None:
    assert "no database 99" in await refused(part, redis_url[:-1] + "99")


@pytest.fixture(scope="module")
def cluster_node() -> Iterator[RedisServer]:
    with RedisServer(settings={"cluster-enabled": "yes"}) as server:
        yield server


@pytest.mark.parametrize("part", PARTS)
async def test_a_node_of_a_cluster_is_named(part: type[RedisRealtime], cluster_node: RedisServer) -> None:
    """It has but some of the keys."""
    assert "node of a Redis Cluster" in await refused(part, cluster_node.url)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServer) -> Iterator[RedisServer]:
    with RedisServer(settings={"replicaof": f"127.0.0.1 {redis_server.port}"}) as server:
        yield server


@pytest.mark.parametrize("part", PARTS)
async def test_a_replica_is_named(part: type[RedisRealtime], replica: RedisServer) -> None:
    """Events published there reach none but its own subscribers."""
    assert "is a replica" in await refused(part, replica.url)


@pytest.mark.virtual_time(io_patience=0.3)
async def test_a_subscription_on_a_silent_link_is_noticed_within_fifteen_seconds(redis_url: str) -> None:
    """The router forgot the connection, and neither end hears of it: it is counted, and made again."""
    async with CutProxy(redis_url) as proxy:
        backend, heard = RedisRealtime(proxy.url), asyncio.Event()

        async def hear(_event: object) -> None:
            heard.set()

        await backend.subscribe("topic", hear)
        proxy.hold()
        await asyncio.sleep(15)
        assert backend.interruptions
        proxy.cut()
        proxy.release()
        await backend.close()


@pytest.mark.virtual_time(io_patience=0.3)
async def test_a_waiter_on_a_silent_link_gets_its_turn(redis_url: str, worker: Worker) -> None:
    """Its calls do not come any more; it finds out, and is called again on another connection."""
    holder = worker()
    async with CutProxy(redis_url) as proxy:
        waiter = worker(proxy.url, acquire_timeout=60)

        async def enter() -> int | None:
            async with waiter.locked("room") as token:
                return token

        async with holder.locked("room") as token:
            task = asyncio.create_task(enter())
            await asyncio.sleep(2)
            proxy.hold()
            await asyncio.sleep(15)
            assert waiter._listener.interruptions
            proxy.cut()
            proxy.release()
        assert (await task or 0) > (token or 0)
        await waiter.close()
