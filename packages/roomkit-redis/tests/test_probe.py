"""What `roomkit check --live` finds out about a Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.redis import RedisLockManager, RedisRealtime, RedisTurnExecutor

COMPONENTS = (RedisLockManager, RedisRealtime, RedisTurnExecutor)
type Component = RedisLockManager | RedisRealtime | RedisTurnExecutor


@pytest.mark.parametrize("kind", COMPONENTS)
async def test_a_server_that_answers_is_named_and_gets_no_key(
    kind: type[Component], redis_url: str, client: Redis
) -> None:
    component = kind(redis_url)
    assert isinstance(component, SupportsProbe)
    assert (await component.probe()).endswith("answers as a primary with all keys")
    await component.close()
    assert await client.keys() == []


@pytest.mark.parametrize("kind", COMPONENTS)
async def test_a_server_that_is_not_there_is_named_without_the_password(kind: type[Component]) -> None:
    component = kind("redis://ann:canary@127.0.0.1:9/0")
    with pytest.raises(ProviderError, match=r"redis at 127\.0\.0\.1:9/0 cannot be reached") as caught:
        await component.probe()
    await component.close()
    assert caught.value.error_code is ErrorCode.CONNECTION
    assert "canary" not in str(caught.value)


async def test_a_wrong_password_is_told_from_a_wrong_address(redis_url: str) -> None:
    component = RedisLockManager(redis_url.replace("redis://", "redis://ann:canary@"))
    with pytest.raises(ProviderError, match="refuses the credentials") as caught:
        await component.probe()
    await component.close()
    assert caught.value.error_code is ErrorCode.AUTH
    assert "canary" not in str(caught.value)
