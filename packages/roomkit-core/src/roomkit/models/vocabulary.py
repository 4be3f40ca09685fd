"""Vocabularies that a newer version may have more words of, and the mode in which stored records are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, override

__all__ = ["OpenVocabulary", "Vocabulary"]

_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_WORDS = 1024
"""How many undeclared words are interned: words may come from outside, and memory is not theirs."""
_READS_STORED = ContextVar("roomkit_reads_stored", default=False)
_words: dict[tuple[type, str], Vocabulary] = {}  # bound: _MOST_WORDS, and the declared ones
_declared: dict[tuple[type, str], Mapping[str, object]] = {}  # bound: what installed plugins declare
_NOTHING: Mapping[str, object] = MappingProxyType({})


@contextmanager
def as_stored() -> Iterator[None]:
    """Read what a newer version may have written: unknown words and contents are accepted within."""
    token = _READS_STORED.set(True)
    try:
        yield
    finally:
        _READS_STORED.reset(token)


def reads_stored() -> bool:
    """Return whether a stored record is being read leniently."""
    return _READS_STORED.get()


class Vocabulary(StrEnum):
    """A closed set of words: an unknown one is an error, except in a stored record.

    There it becomes a member of its own, which is none of the declared ones and is written back as it
    came. If the vocabulary has a member UNKNOWN, the word equals it, and only `value` distinguishes the two.
    """

    if not TYPE_CHECKING:  # checkers know the `value` of an enum, and its type
        # The enum module's own takes two calls of Python, for each word of each record that is encoded.
        value = property(attrgetter("_value_"))

    @classmethod
    @override
    def _missing_(cls, value: object) -> Self | None:
        if not reads_stored():
            return None
        return cls._undeclared(value)

    @classmethod
    def from_stored(cls, word: str) -> Self:
        """Return the member for a word that a store wrote; raises ValueError for a text that is not one."""
        with as_stored():
            return cls(word)

    @classmethod
    def _undeclared(cls, value: object) -> Self | None:
        if not isinstance(value, str) or _WORD.fullmatch(value) is None:
            return None
        known = _words.get((cls, value))
        if known is not None:
            assert isinstance(known, cls)
            return known
        name = "UNKNOWN" if "UNKNOWN" in cls.__members__ else value.upper()
        word = str.__new__(cls, "unknown" if name == "UNKNOWN" else value)
        word._name_ = name
        word._value_ = value
        if len(_words) < _MOST_WORDS:
            _words[cls, value] = word
        return word


class OpenVocabulary(Vocabulary):
    """A set of words with constants for the core's own; plugins have theirs (`[a-z][a-z0-9_]{0,63}`).

    An undeclared word is a member like the constants: one object for equal words, with `value` and `name`.
    """

    @classmethod
    @override
    def _missing_(cls, value: object) -> Self | None:
        return cls._undeclared(value)


def declare[V: OpenVocabulary](vocabulary: type[V], word: str, **about: object) -> V:
    """Add a word to an open vocabulary, for this process; `about` is what the kernel has to know of it.

    Declaring it again is harmless. Raises ValueError for a text that is not a word, for the core's, and one
    that was declared otherwise.
    """
    member = vocabulary(word)
    if word in vocabulary._value2member_map_:
        raise ValueError(f"{word!r} is a {vocabulary.__name__} of the core: use another word")
    known = _declared.setdefault((vocabulary, word), about)
    if known and about and known != about:
        raise ValueError(f"{vocabulary.__name__} {word!r} is declared already, otherwise: use another word")
    if about:
        _declared[vocabulary, word] = about
    _words[vocabulary, word] = member
    return member


def is_declared(vocabulary: type[Vocabulary], word: str) -> bool:
    """Return whether a word is the core's or was declared."""
    return word in vocabulary._value2member_map_ or (vocabulary, word) in _declared


def about(vocabulary: type[Vocabulary], word: str) -> Mapping[str, object]:
    """Return the declared description of a word; nothing for the core's own."""
    return _declared.get((vocabulary, word), _NOTHING)


def words_of(vocabulary: type[Vocabulary]) -> list[str]:
    """Return the core's words and the declared ones."""
    own = [each.value for each in vocabulary]
    return own + [word for kind, word in _declared if kind is vocabulary]


def declared[V: Vocabulary](vocabulary: type[V], word: str) -> V:
    """Return the declared member for a word.

    Raises ValueError, naming the nearest word, for an undeclared one: where a program is written, it is
    a misspelling.
    """
    if is_declared(vocabulary, word):
        return vocabulary(word)
    near = get_close_matches(str(word), words_of(vocabulary), n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"use a member of {vocabulary.__name__}"
    raise ValueError(f"unknown {vocabulary.__name__} {str(word)!r}: {advice}")
