"""`roomkit serve`: a process that serves, and stops in order."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from .conftest import Command

KEY = "k" * 32
FILE = """
[server]
port = 0

[server.keys.backend]
secret = "env:BACKEND_KEY"
organization = "shop"
scopes = ["rooms:read", "rooms:write", "messages:send"]
"""


def ask(url: str, body: object = None) -> dict:
    """Ask the API, and return what it answered."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
        return json.loads(answer.read())


@contextmanager
def serving(roomkit, *words: str):
    """A process that serves; its first line."""
    with roomkit.started("serve", "--json", *words) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKEND_KEY", KEY)
    path = tmp_path / "roomkit.toml"
    path.write_text(FILE)
    return path


@pytest.mark.skipif(find_spec("roomkit_plugins.sqlite") is None, reason="roomkit-sqlite is not beside it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_under_load_stops_it_in_order_and_loses_nothing(tmp_path, file, number):
    """Acknowledged messages are in the database beside the file; the exit code says which signal it was."""
    roomkit = Command(tmp_path)  # made here, so that it hands the key down
    with serving(roomkit, "--config", str(file)) as (process, started):
        url = started["url"]
        room = ask(f"{url}/v1/rooms", {})["id"]
        answered: list[str] = []
        enough = threading.Event()

        def send() -> None:
            for index in range(1000):
                said = {"content": {"type": "text", "body": f"{threading.get_ident()} {index}"}}
                try:
                    answered.append(ask(f"{url}/v1/rooms/{room}/events", said)["id"])
                except (OSError, urllib.error.URLError):
                    return
                if len(answered) >= 10:
                    enough.set()

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        for thread in threads:
            thread.join(30)
        # Not more: asyncio warns of a connection that it accepts while it stops listening.
        assert "roomkit: " not in process.stderr.read()
    with sqlite3.connect(tmp_path / "roomkit.db") as database:
        stored = {row[0] for row in database.execute("select id from events")}
    assert len(answered) >= 10
    assert set(answered) <= stored


def test_a_port_that_is_taken_is_said_with_what_to_do(roomkit, file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = roomkit("serve", "--json", "--config", str(file), "--port", str(port), BACKEND_KEY=KEY)
    said = json.loads(answer.err.splitlines()[-1])
    assert (answer.code, said["code"]) == (1, "address_unavailable")
    assert f"port {port} cannot be listened on" in said["message"]


def test_a_file_that_is_wrong_starts_nothing(roomkit, file, tmp_path):
    answer = roomkit("serve", "--config", str(file))  # the variable is not set
    assert answer.code == 1
    assert "BACKEND_KEY is not set" in answer.err
    assert not (tmp_path / "roomkit.db").exists()
