"""Where the file is, and how careful to be with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["SQLiteConfig", "SQLiteMediaConfig"]


class SQLiteMediaConfig(BaseModel):
    """The settings of `SQLiteMediaStore`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Path("roomkit.db")
    """The file. It is made when it is not there; its folder is not."""
    synchronous: Literal["full", "normal"] = "full"
    """`full`: acknowledged writes survive a loss of power. `normal`: it survives the death of the
    process, but the last moments before a loss of power may be gone; the file is whole either way."""
    busy_timeout: float = Field(default=5.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds to wait for another process that is writing, before StoreLockedError."""
    readers: int = Field(default=2, ge=1, le=64)
    """Connections that read, beside the one that writes; each has a thread."""
    max_waiting_writes: int = Field(default=10_000, ge=1)
    """Writes that may wait for the disk; one more raises StoreBusyError."""

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, path: object) -> object:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
        if not text or (isinstance(text, str) and (":memory:" in text or text.startswith("file:"))):
            raise ValueError("path is the name of a file; for a store in memory use InMemoryStore")
        return path


class SQLiteConfig(SQLiteMediaConfig):
    """The settings of `SQLiteStore`; a `SQLiteMediaStore` in the same file takes them, too."""

    cached_rooms: int = Field(default=1024, ge=1)
    """Rooms whose bindings, participants and newest messages stay in memory."""
