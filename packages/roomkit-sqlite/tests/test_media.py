"""Files in the SQLite file satisfy the contract of every media store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import override

import pytest

from roomkit.abc.media import MediaStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteMediaStore
from roomkit_plugins.testing.contracts.media import MediaStoreContract

ODD = """
SELECT file FROM media_pieces WHERE file NOT IN (SELECT id FROM media_files)
UNION SELECT id FROM media_files WHERE id NOT IN (SELECT file FROM media_pieces)
"""


class TestSQLiteMediaStore(MediaStoreContract):
    """In a file of their own, which has the tables of a store as well."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Callable[[], SQLiteMediaStore]:
        config = SQLiteConfig(path=tmp_path / "media.db", synchronous="normal")
        return lambda: SQLiteMediaStore(config)

    @override
    async def left_behind(self, media: MediaStore) -> Sequence[object]:
        """Return the pieces of no file, and files of no pieces."""
        assert isinstance(media, SQLiteMediaStore)
        with closing(sqlite3.connect(media.config.path)) as connection:
            return connection.execute(ODD).fetchall()


async def test_pieces_of_a_killed_put_go_with_its_id(tmp_path: Path) -> None:
    """The file was never there; the register of the store knows its id."""
    media = await SQLiteMediaStore(tmp_path / "media.db").start()
    with closing(sqlite3.connect(tmp_path / "media.db")) as connection:
        connection.execute("INSERT INTO media_pieces VALUES ('cut', 0, x'00')")
        connection.commit()
    assert await media.find("cut") is None
    assert await media.delete("room", ["cut"]) == 0
    with closing(sqlite3.connect(tmp_path / "media.db")) as connection:
        assert connection.execute("SELECT count(*) FROM media_pieces").fetchone() == (0,)
    await media.close()
