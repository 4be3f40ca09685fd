"""Registers what `roomkit-sqlite` brings; imports nothing but the core."""

from __future__ import annotations

import sqlite3
from importlib.util import find_spec
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "store",
        "sqlite",
        "roomkit_plugins.sqlite:SQLiteStore",
        config="roomkit_plugins.sqlite:SQLiteConfig",
        summary="Everything in one file: durable, searchable, no server.",
    )
    registry.add(
        "media",
        "sqlite",
        "roomkit_plugins.sqlite:SQLiteMediaStore",
        config="roomkit_plugins.sqlite:SQLiteMediaConfig",
        summary="Files in the SQLite file, in pieces.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there, and that Python's SQLite can what the store needs."""
    if find_spec("aiosqlite") is None:
        report.fail("sqlite", "aiosqlite is not installed", next_step="pip install roomkit-sqlite")
    else:
        report.ok("sqlite", "aiosqlite is installed")
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 38, 0):
        report.fail(
            "sqlite",
            f"Python's SQLite is {version}, the store needs 3.38",
            next_step="use a Python that is built with a newer SQLite",
        )
    elif not _has_full_text_search():
        report.fail(
            "sqlite",
            f"Python's SQLite {version} is built without FTS5",
            next_step="use a Python whose SQLite has full-text search",
        )
    else:
        report.ok("sqlite", f"Python's SQLite is {version}, with full-text search")


def _has_full_text_search() -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (text)")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True
