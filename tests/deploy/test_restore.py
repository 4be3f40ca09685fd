"""The back-up of a running room, made by the commands of the page, is restored, and the room goes on."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit, TextContent
from roomkit.models import EventType, RoomEvent
from roomkit.models.content import text_of
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import Hang, RecordingChannel
from roomkit_plugins.testing.services.postgres import PostgresServer
from tests.deploy.files import ROOT
from tests.deploy.fleet import wait_until

pytestmark = pytest.mark.skipif(
    "ROOMKIT_KILLS" not in os.environ, reason="leases of three seconds need a machine at rest: nox -s kill"
)
PAGE = (ROOT / "docs/how-to/deploy.md").read_text()


def page_command(name: str) -> str:
    """Return the one command of the page that begins with `name`."""
    (command,) = re.findall(rf"^({name} .*)$", PAGE, re.MULTILINE)
    return str(command)


async def run(command: str, folder: Path, **variables: str) -> None:
    """Run a command of the page as a shell does."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": here, **variables}
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def kit_on(store: Any, channel: RecordingChannel) -> AsyncIterator[RoomKit]:
    single = {"single_process": True} if isinstance(store, SQLiteStore) else {}
    plugins = PluginManager(entry_points=())
    async with RoomKit(store=store, plugins=plugins, lease_seconds=3.0, **single) as kit:
        kit.register_channel(channel)
        yield kit


async def said(kit: RoomKit) -> list[str]:
    found: list[RoomEvent] = []
    while page := await kit.get_timeline("r", limit=1000, after_index=found[-1].index if found else -1):
        found += page
    return [text_of(event.content) for event in found if event.type is EventType.MESSAGE]


async def talk(kit: RoomKit, count: list[int]) -> None:
    """Say one number after the other until cancelled."""
    while True:
        await kit.send_event("r", "system", TextContent(body=str(len(count))), wait="committed")
        count.append(len(count))


async def check(store: Any, restored: Any, back_up: Any, restore: Any) -> None:
    """Back up in the middle of a conversation; then continue from the copy."""
    count: list[int] = []
    carrier = RecordingChannel("sms", script=[hang := Hang()])  # deliveries wait while it is copied
    async with kit_on(store, carrier) as kit:
        await kit.create_room("r")
        await kit.attach_channel("r", "sms")
        talking = asyncio.create_task(talk(kit, count))
        await wait_until(lambda: len(count) >= 20)
        before = len(count)
        await back_up()
        after = len(count)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        hang.release()
    await restore()
    carrier = RecordingChannel("sms")
    async with kit_on(restored(), carrier) as kit:
        texts = await said(kit)
        assert texts == [str(number) for number in range(len(texts))]
        assert before <= len(texts) <= after + 1
        await wait_until(lambda: carrier.texts() == texts)
        await kit.send_event("r", "system", TextContent(body="and on"))
        assert (await said(kit))[-1] == carrier.texts()[-1] == "and on"


async def test_postgresql_is_dumped_and_restored_while_a_room_is_in_use(
    tmp_path: Path, postgres_server: PostgresServer, postgres_databases: Any, postgres_dsn: str
) -> None:
    """A dump is one instant: a beginning of the conversation, its deliveries with it."""
    empty = postgres_databases().create_database()
    tools: Mapping[str, str] = {
        "PATH": f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}",
    }

    async def back_up() -> None:
        await run(page_command("pg_dump"), tmp_path, DATABASE_URL=postgres_dsn, **tools)

    async def restore() -> None:
        await run(page_command("pg_restore"), tmp_path, DATABASE_URL=empty, **tools)

    try:
        await check(PostgresStore(postgres_dsn), lambda: PostgresStore(empty), back_up, restore)
    finally:
        postgres_databases().drop_database(empty)


async def test_sqlite_is_copied_and_restored_while_a_room_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "rooms.db"
    (tmp_path / "roomkit.toml").write_text('[store]\nplugin = "sqlite"\npath = "rooms.db"\n')
    command = page_command("roomkit store backup")

    async def back_up() -> None:
        await run(command, tmp_path)

    async def restore() -> None:
        for left in tmp_path.glob("rooms.db*"):
            left.unlink()
        (tmp_path / "roomkit-backup.db").rename(path)

    await check(SQLiteStore(path), lambda: SQLiteStore(path), back_up, restore)
