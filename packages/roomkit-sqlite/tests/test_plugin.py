"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from roomkit.kernel.kit import RoomKit
from roomkit.plugins import ConfigError, DoctorReport, PluginManager
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore, plugin


async def test_the_component_is_found_by_name() -> None:
    """`sqlite` is a store, built from its configuration."""
    manager = PluginManager()
    await manager.ascan()
    component = manager.find("store", "sqlite")
    assert component.config == "roomkit_plugins.sqlite:SQLiteConfig"
    assert await manager.aget("store", "sqlite") is SQLiteStore


async def test_a_kit_is_configured_with_it(tmp_path: Path) -> None:
    """From `roomkit.toml`, with every option of the store in its table."""
    toml = tmp_path / "roomkit.toml"
    path = tmp_path / "rooms.db"
    toml.write_text(
        f'[kit]\nsingle_process = true\n[store]\nplugin = "sqlite"\npath = "{path}"\nsynchronous = "normal"\n'
    )
    kit = await RoomKit.from_config(toml)
    async with kit:
        await kit.create_room("room")
    async with SQLiteStore(path) as store:
        assert await store.get_room("room") is not None


async def test_files_have_no_option_of_rooms() -> None:
    """It would do nothing; `[media]` says so."""
    with pytest.raises(ConfigError, match="cached_rooms is unknown"):
        await PluginManager().acreate("media", "sqlite", {"path": "files.db", "cached_rooms": 5})


def test_registering_imports_no_library() -> None:
    """Not before a store is asked for."""
    code = (
        "import sys; from roomkit.plugins import PluginManager; PluginManager().plugins()\n"
        "import roomkit_plugins.sqlite\n"
        "assert 'roomkit_plugins.sqlite.plugin' in sys.modules\n"
        "assert not {'aiosqlite', 'pydantic', 'roomkit_plugins.sqlite.store'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_doctor_is_content_here() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert [finding.verdict for finding in report.findings] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("what", "value", "says"),
    [
        ("find_spec", lambda name: None, "pip install roomkit-sqlite"),
        ("_has_full_text_search", lambda: False, "full-text search"),
    ],
)
def test_the_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, what: str, value: object, says: str
) -> None:
    monkeypatch.setattr(plugin, what, value)
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert not report.healthy
    assert any(says in finding.next_step for finding in report.findings)


def test_the_doctor_and_the_store_refuse_an_old_sqlite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The version that counts is that of Python's library."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert not report.healthy


def test_a_path_is_a_file() -> None:
    for path in (":memory:", "file:rooms.db", "file::memory:?cache=shared", ""):
        with pytest.raises(ValidationError, match="InMemoryStore"):
            SQLiteConfig.model_validate({"path": path})


def test_a_store_shows_its_file() -> None:
    assert repr(SQLiteStore("rooms.db")) == "SQLiteStore('rooms.db')"
    assert SQLiteStore().config.path == Path("roomkit.db")
    assert not SQLiteStore().is_process_local
