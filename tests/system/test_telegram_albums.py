"""An album of Telegram's whose worker is killed between its parts, or after them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit, TelegramBotProvider, TelegramChannel, TelegramConfig
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.polling import until

SECRET = "a-webhook-secret"
CHILD = """
import asyncio, sys
from tests.system.test_telegram_albums import opened, taken

async def main():
    async with opened(sys.argv[1]) as kit:
        for number in sys.argv[2:]:
            await taken(kit, int(number))
        print("taken", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def opened(path: str) -> RoomKit:
    """Return a kit over a database; no file is fetched, so the Bot API is not asked for any."""
    kit = RoomKit(store=SQLiteStore(path), single_process=True)
    config = TelegramConfig(
        bot_token="123456:token",  # type: ignore[arg-type]
        webhook_secret=SECRET,  # type: ignore[arg-type]
        max_file_bytes=0,
    )
    kit.register_channel(TelegramChannel("telegram", provider=TelegramBotProvider(config)))
    return kit


async def taken(kit: RoomKit, number: int) -> None:
    """Take in one picture of the album."""
    person = {"id": 551234, "is_bot": False, "first_name": "Ana"}
    photo = {"file_id": f"f{number}", "file_unique_id": "u", "width": 90, "height": 67, "file_size": 1300}
    message = {
        "message_id": number,
        "from": person,
        "chat": {"id": 551234, "type": "private", "first_name": "Ana"},
        "date": 1795359845,
        "media_group_id": "g1",
        "photo": [photo],
        "caption": f"picture {number}",
    }
    body = json.dumps({"update_id": 1000 + number, "message": message}).encode()
    headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
    request = WebhookRequest(method="POST", url="https://chat.example.org/x", headers=headers, body=body)
    assert (await kit.process_webhook(request, "telegram")).status == 200


async def captions(kit: RoomKit) -> list[list[Any]]:
    """Return the captions of each message that is there."""
    return [
        [part.body for part in event.content.parts if part.type == "text"]  # type: ignore[union-attr]
        for room in await kit.store.list_rooms()
        for event in await kit.get_timeline(room.id)
        if event.type == "message"
    ]


@pytest.mark.parametrize("before", [(1,), (1, 2)], ids=["between the parts", "after them"])
async def test_an_album_outlives_its_worker(tmp_path: Path, before: tuple[int, ...]) -> None:
    """What was acknowledged is in the store: the next worker has each picture, once.

    In one message or two: the time between two parts is the machine's here.
    """
    path = str(tmp_path / "rooms.db")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, path, *map(str, before), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"taken\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    async with opened(path) as kit:
        for number in {1, 2} - set(before):
            await taken(kit, number)
        for number in before:
            await taken(kit, number)  # Telegram sends again what it had no answer to

        async def is_whole() -> bool:
            return sum(map(len, await captions(kit))) == 2

        await until(is_whole)
        found = await captions(kit)
        assert sorted(caption for each in found for caption in each) == ["picture 1", "picture 2"]
