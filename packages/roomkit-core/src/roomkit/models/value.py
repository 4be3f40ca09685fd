"""A small thing that is kept under a key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import Field, field_validator

from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.values import Int, Key

__all__ = ["Value"]

_LONGEST_KEY = 512
LONGEST_DATA = 65_536
"""Bytes that the data of a value may have as JSON."""


class Value(Record):
    """Data under (organization, namespace, key), outside every timeline.

    `key` is a sequence of texts of any kind; as JSON in ASCII it is at most 512 bytes long, and `data` at
    most 64 KiB. `revision` is the store's: it rises with each put and is never used again, not even
    after a delete. From `expires_at` on the value may be removed at any time, and its readers treat it as
    expired. `subject` is the person's address or id by which it is erased. It is removed with the room
    `room_id`, which need not exist yet. `derived` says that it was made from what rooms hold.
    """

    namespace: Key
    key: tuple[str, ...]
    data: Json = EMPTY
    revision: Int = Field(default=0, ge=0)
    expires_at: datetime | None = None
    subject: Key | None = None
    room_id: Key | None = None
    organization_id: Key | None = None
    derived: bool = False

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        for part in key:
            part.encode()
        if not fits(key):
            raise ValueError(f"a key has {_LONGEST_KEY} bytes as JSON at most")
        return key

    @field_validator("data")
    @classmethod
    def _check_data(cls, data: Json) -> Json:
        if len(json.dumps(data)) > LONGEST_DATA:
            raise ValueError(f"the data of a value has {LONGEST_DATA} bytes as JSON at most")
        return data

    def is_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


def fits(key: Sequence[str]) -> bool:
    """Whether a key is short enough."""
    return len(encoded_key(key)) <= _LONGEST_KEY


def encoded_key(key: Sequence[str]) -> str:
    """Return a key as stores keep it: a JSON array in ASCII, whatever its parts are."""
    return json.dumps(list(key), separators=(",", ":"))
