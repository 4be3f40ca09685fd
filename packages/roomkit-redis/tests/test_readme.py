"""The README's code runs."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest
from redis.asyncio import Redis

from roomkit_plugins.redis import RedisConfig, RedisLockManager, RedisRealtime
from roomkit_plugins.testing.polling import until

from .conftest import signal

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


async def test_the_quick_start_locks_a_room(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    await asyncio.to_thread(exec, PYTHON[0], {"__name__": "__main__"})
    assert re.fullmatch(r"no other worker is in the room; my token is \d{16}\n", capsys.readouterr().out)


def test_the_configurations_are_some() -> None:
    """The tables of `roomkit.toml` are what the components take."""
    tables = tomllib.loads(TOML[0])
    assert tables.keys() == {"locks", "realtime"}
    for table in tables.values():
        assert table.pop("plugin") == "redis"
        RedisConfig.model_validate({**table, "url": "redis://localhost"})


def test_everything_is_told() -> None:
    """Every option."""
    for name in RedisConfig.model_fields:
        assert f"| `{name}` |" in README


async def test_the_rights_it_names_are_enough(redis_url: str, client: Redis) -> None:
    """A user with them, and with no others, locks and hears."""
    words = " ".join(README.split())  # wherever its lines end
    rights = re.findall(r"[+~&][\w:*|]+", words.partition("A user with")[2].partition("A Redis Cluster")[0])
    await client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">word", *rights)
    url = redis_url.replace("redis://", "redis://limited:word@")
    first, second = RedisLockManager(url), RedisLockManager(url)
    near, far = RedisRealtime(url), RedisRealtime(url)
    try:
        async with first.locked("room") as token:
            waiting = asyncio.create_task(second.locked("room").__aenter__())
            await until(lambda: second._listener.is_listening(second._channel))
            await first._leases._renew(1.0)
        assert await waiting > token
        heard = asyncio.Event()

        async def hear(event: object) -> None:
            heard.set()

        subscription = await near.subscribe("topic", hear)
        await far.publish("topic", signal())
        async with asyncio.timeout(30):
            await heard.wait()
        await near.unsubscribe(subscription)
    finally:
        for each in (first, second, near, far):
            await each.close()
        await client.execute_command("ACL", "DELUSER", "limited")
    assert (first.lost, near.interruptions, far.unsent) == (0, 0, 0)
