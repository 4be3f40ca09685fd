"""Runs a store whose every write to the disk is recorded; `python recorded.py FILE MODE MESSAGES TRACE`.

SQLite's own VFS does the work; its functions that write, truncate, sync and delete are wrapped, so that a
trace has them in their order, between the acknowledgements of the messages. In a process of its own, as all
of its connections are wrapped.
"""

from __future__ import annotations

import _sqlite3
import asyncio
import ctypes
import pickle
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

from roomkit.abc.store import Commit, Entry
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

ROOM = "room"


class Op(NamedTuple):
    """One thing that happened. `ack`: the message of this number was acknowledged."""

    kind: Literal["write", "truncate", "sync", "delete", "ack"]
    file: str = ""
    at: int = 0
    data: bytes = b""


# https://www.sqlite.org/c3ref/vfs.html and https://www.sqlite.org/c3ref/io_methods.html
_P, _I, _I64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
# Names are pointers, as SQLite keeps them beyond the call.
_OPEN = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE = ctypes.CFUNCTYPE(_I, _P, _P, _I)
_WRITE = ctypes.CFUNCTYPE(_I, _P, _P, _I, _I64)
_TRUNCATE = ctypes.CFUNCTYPE(_I, _P, _I64)
_SYNC = ctypes.CFUNCTYPE(_I, _P, _I)


class _VFS(ctypes.Structure):
    _fields_ = (
        ("version", _I),
        ("file_size", _I),
        ("longest_path", _I),
        ("next", _P),
        ("name", ctypes.c_char_p),
        ("data", _P),
        ("open", _OPEN),
        ("delete", _DELETE),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", _I),
        ("close", _P),
        ("read", _P),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        ("others", _P * 13),
    )


class Recorder:
    """Wraps the VFS that SQLite uses by default, for the life of the process."""

    def __init__(self) -> None:
        self.trace: list[Op] = []
        self._names: dict[int, str] = {}
        self._wrapped: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_VFS)
        vfs = library.sqlite3_vfs_find(None).contents
        # Objects of their own: a field's value is a view of the structure, which is about to change.
        self._open = _OPEN(ctypes.cast(vfs.open, _P).value)
        self._delete = _DELETE(ctypes.cast(vfs.delete, _P).value)
        self._kept += [opened := _OPEN(self._opened), deleted := _DELETE(self._deleted)]
        vfs.open, vfs.delete = opened, deleted

    def _opened(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        result: int = self._open(vfs, name, file, flags, out)
        if not result and name:
            self._names[file] = _name(name)
            pointer = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
            pointer[0] = ctypes.addressof(self._wrapping(int(pointer[0] or 0)))
        return result

    def _deleted(self, vfs: int, name: int, sync: int) -> int:
        result: int = self._delete(vfs, name, sync)
        if not result:
            self.trace.append(Op("delete", _name(name)))
        return result

    def _wrapping(self, address: int) -> _Methods:
        if address not in self._wrapped:
            methods = _Methods.from_buffer_copy(
                (ctypes.c_char * ctypes.sizeof(_Methods)).from_address(address)
            )
            write = _WRITE(ctypes.cast(methods.write, _P).value)
            truncate = _TRUNCATE(ctypes.cast(methods.truncate, _P).value)
            sync = _SYNC(ctypes.cast(methods.sync, _P).value)

            def written(file: int, data: int, size: int, at: int) -> int:
                self._note("write", file, at, ctypes.string_at(data, size))
                return int(write(file, data, size, at))

            def truncated(file: int, size: int) -> int:
                self._note("truncate", file, size)
                return int(truncate(file, size))

            def synced(file: int, flags: int) -> int:
                result = int(sync(file, flags))
                self._note("sync", file)
                return result

            methods.write, methods.truncate, methods.sync = (
                _WRITE(written),
                _TRUNCATE(truncated),
                _SYNC(synced),
            )
            self._kept += [write, truncate, sync, methods.write, methods.truncate, methods.sync]
            self._wrapped[address] = methods
        return self._wrapped[address]

    def _note(
        self, kind: Literal["write", "truncate", "sync"], file: int, at: int = 0, data: bytes = b""
    ) -> None:
        if file in self._names:
            self.trace.append(Op(kind, self._names[file], at, data))


def _name(pointer: int) -> str:
    return Path(ctypes.string_at(pointer).decode()).name


async def _talk(path: Path, mode: str, messages: int, trace: list[Op]) -> None:
    store = SQLiteStore(SQLiteConfig.model_validate({"path": path, "synchronous": mode}))
    await store.create_room(Room(id=ROOM))
    source = EventSource(channel_id="ann", channel_type=ChannelType.SMS)
    for number in range(messages):
        said = RoomEvent(room_id=ROOM, source=source, content=TextContent(body=str(number)))
        await store.commit(Commit(room_id=ROOM, entries=[Entry(said, ["sms"])], at=utcnow()))
        trace.append(Op("ack", at=number))
    await store.close()


if __name__ == "__main__":
    recorder = Recorder()
    asyncio.run(_talk(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), recorder.trace))
    Path(sys.argv[4]).write_bytes(pickle.dumps([tuple(op) for op in recorder.trace]))
