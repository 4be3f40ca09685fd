"""Files in PostgreSQL satisfy the contract of every media store, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import override
from urllib.parse import urlsplit

import pytest

from roomkit.abc.media import MediaStore
from roomkit_plugins.postgres import PostgresMediaStore
from roomkit_plugins.testing.contracts.media import MediaStoreContract

from .conftest import DsnMaker, ask, configured

ODD = """
SELECT file FROM roomkit_media_pieces WHERE file NOT IN (SELECT id FROM roomkit_media_files)
UNION SELECT id FROM roomkit_media_files WHERE id NOT IN (SELECT file FROM roomkit_media_pieces)
"""


class TestPostgresMediaStore(MediaStoreContract):
    """In a database that has the tables of a store as well."""

    @pytest.fixture
    def factory(self, emptied_dsns: DsnMaker) -> Callable[[], PostgresMediaStore]:
        self.dsn = emptied_dsns()
        return lambda: PostgresMediaStore(configured(self.dsn))

    @property
    def secrets(self) -> Sequence[str]:
        return [urlsplit(self.dsn).password or "no password"]

    @override
    async def left_behind(self, media: MediaStore) -> Sequence[object]:
        """Return the pieces of no file, and files of no pieces."""
        return await ask(self.dsn, ODD)


async def test_pieces_of_a_killed_put_go_with_its_id(dsn: str) -> None:
    """The file was never there; the register of the store knows its id."""
    media = await PostgresMediaStore(configured(dsn)).start()
    await ask(dsn, "INSERT INTO roomkit_media_pieces VALUES ('cut', 0, '\\x00')")
    assert await media.find("cut") is None
    assert await media.delete("room", ["cut"]) == 0
    assert await ask(dsn, "SELECT * FROM roomkit_media_pieces") == []
    await media.close()
