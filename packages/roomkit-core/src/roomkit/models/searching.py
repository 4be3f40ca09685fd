"""How words are looked for in texts: alike for every store, and for what a context shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING

from roomkit.models.content import text_of
from roomkit.models.enums import EventType

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent

__all__ = ["Phrase", "best_hits", "folded_words", "hits_in", "is_searched", "phrases_of"]

_CHANGES = (EventType.EDIT, EventType.DELETE)

_WORDS = re.compile(r"[^\W_]+")


def folded_words(text: str) -> list[str]:
    """Return the words of a text, without case and accents; punctuation divides them."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORDS.findall("".join(each for each in plain if not unicodedata.combining(each)))


class Phrase:
    """Words that must follow each other; the last one may be no more than a beginning.

    `text` is the phrase as the query has it, without the star.
    """

    __slots__ = ("is_beginning", "text", "words")

    def __init__(self, text: str, words: Sequence[str], *, is_beginning: bool) -> None:
        self.text = text
        self.words = tuple(words)
        self.is_beginning = is_beginning

    def is_in(self, words: Sequence[str]) -> bool:
        """Return whether a text of these folded words has the phrase."""
        *first, last = self.words
        for place in range(len(words) - len(first)):
            found = words[place + len(first)]
            if (found.startswith(last) if self.is_beginning else found == last) and list(
                words[place : place + len(first)]
            ) == first:
                return True
        return False


def phrases_of(query: str) -> list[Phrase]:
    """Return what a query asks for, each once: what its spaces divide; a star at the end is a beginning.

    A query without a letter or digit matches nothing.
    """
    found: dict[tuple[tuple[str, ...], bool], Phrase] = {}  # bound: the query
    for part in query.replace("\0", " ").split():
        if words := folded_words(part):
            phrase = Phrase(part.rstrip("*"), words, is_beginning=part.endswith("*"))
            found.setdefault((phrase.words, phrase.is_beginning), phrase)
    return list(found.values())


def is_searched(event: RoomEvent) -> bool:
    """Return whether an event is found by its words: a change shows in the event that it is about."""
    return event.type not in _CHANGES and not event.deleted


def hits_in(event: RoomEvent, wanted: Sequence[Phrase]) -> int:
    """Return how many of the phrases the event's text has."""
    words = folded_words(text_of(event.content))
    return sum(phrase.is_in(words) for phrase in wanted)


def best_hits(hits: Iterable[tuple[int, RoomEvent]], limit: int) -> list[RoomEvent]:
    """Return the `limit` events with the most hits; of those with as many, the ones of the highest index."""
    best = nlargest(max(limit, 0), hits, key=lambda hit: (hit[0], hit[1].index))
    return [event for _, event in best]
