"""Records as a newer version of the core would have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_jsonable_python

from roomkit.models.base import Record, freeze
from roomkit.models.content import UnknownContent

__all__ = ["NEWS", "POLL", "newer", "news_of"]

NEWS: Final[Mapping[str, Any]] = freeze({"text": 'of "2030"', "list": [1, None, {"deep": True}]})
"""The value of the field that `newer` adds."""
POLL: Final[Mapping[str, Any]] = freeze(
    {"type": "poll", "question": "a secret ballot", "options": [{"text": "yes", "votes": None}], "ratio": 0.5}
)
"""The JSON of a content of a type that does not exist."""


def newer[R: Record](record: R, **words: str) -> R:
    """Return a record as this version reads it from a store in which a newer one has written it.

    A field `news` is added to it and to every record within it; `words` replace fields of vocabularies.
    """
    return type(record).from_stored(json.dumps({**_with_news(record), **words}))


def news_of(record: Record) -> Any:
    """Return what `newer` added to a record, None where it did not."""
    return (record.__pydantic_extra__ or {}).get("news")


def _with_news(value: Any) -> Any:
    if isinstance(value, UnknownContent):
        return value.original
    if isinstance(value, Record):
        return {**{name: _with_news(each) for name, each in value.__dict__.items()}, "news": NEWS}
    if isinstance(value, tuple):
        return [_with_news(each) for each in value]
    return to_jsonable_python(value)
