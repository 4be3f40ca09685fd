"""Speech on its way to a peer, and how much of it was heard. The engine implements the playout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum, unique
from typing import Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import TimedWord
from roomkit.abc.voice.checks import Checked, Count, Milliseconds

__all__ = [
    "Flushed",
    "FrameSource",
    "HeardText",
    "PlaybackEnd",
    "PlaybackMark",
    "PlaybackPosition",
    "PlaybackState",
    "Playout",
    "Utterance",
]


@unique
class PlaybackState(StrEnum):
    """The states of a playout."""

    IDLE = "idle"
    HELD = "held"
    """An utterance waits for its release."""
    PLAYING = "playing"
    """Until the last sample was heard, not until it was sent."""
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Flushed(Checked):
    """How many samples a backend took back before they were heard.

    An `exact` count never exceeds the unheard samples. Another is an estimate: the backend emits "flushed"
    with the number later, when it knows from the peer.
    """

    samples: Count
    exact: bool


@dataclass(frozen=True, slots=True)
class PlaybackPosition(Checked):
    """How far an utterance was heard: in samples of the playout, and in milliseconds."""

    utterance_id: str
    samples: Count
    played_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class PlaybackMark(Checked):
    """A point in an utterance that was heard; `samples` counts from the utterance's first sample."""

    utterance_id: str
    name: str
    samples: Count


@dataclass(frozen=True, slots=True)
class HeardText(Checked):
    """The words of an utterance that were heard.

    `chars` is an offset into the text given to `Utterance.say`: the text before it was heard. A word
    counts once half of it was played. `estimated` says that no word times were known: it is cut at a
    boundary of words, by the rate of speech.
    """

    text: str
    chars: Count
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class PlaybackEnd(Checked):
    """The end of an utterance; there is exactly one for each.

    `heard` is None if it had no text. A withdrawn utterance was never heard.
    """

    utterance_id: str
    reason: Literal["finished", "cut", "withdrawn", "disconnected", "failed"]
    position: PlaybackPosition
    heard: HeardText | None = None


class FrameSource(ABC):
    """Where a backend with a clock of its own takes audio from."""

    @abstractmethod
    def pull(self, samples: int) -> bytes:
        """Return exactly that many samples in the session's `output_format`, silence included.

        Called on the home loop, when they are due. A device thread has a ring of at most two frames that the
        home loop fills.
        """


class Utterance(ABC):
    """One piece of speech in a playout: written by one task, ended at the ear."""

    id: str

    @abstractmethod
    def write(self, pcm: bytes) -> None:
        """Add audio in the session's `output_format`. Raises CapacityError beyond 60 s (realtime 300 s)."""

    @abstractmethod
    async def ready(self) -> None:
        """Wait while 10 s or more are queued: the writer's back-pressure."""

    @abstractmethod
    def say(self, text: str, words: Sequence[TimedWord] = ()) -> None:
        """Add the text that the audio speaks, before or with that audio; word times are of the utterance."""

    @abstractmethod
    def mark(self, name: str) -> None:
        """Set a mark behind the audio written so far; see `Playout.on_mark`."""

    @abstractmethod
    def end(self) -> None:
        """Say that nothing more will be written. Idempotent."""

    @abstractmethod
    def release(self) -> None:
        """Let a held utterance be played. Idempotent."""

    @abstractmethod
    def withdraw(self) -> bool:
        """End a held utterance as "withdrawn"; False once a sample of it was pulled."""

    @abstractmethod
    async def wait(self) -> PlaybackEnd:
        """Wait until the utterance has ended, and return how. Any number of tasks may wait."""


class Playout(FrameSource):
    """The speech of one session, played in order. On the home loop only.

    Each sample of an utterance is heard exactly once and in order, whatever is paused, resumed and taken
    back. The next utterance follows in the same pull. Fades are made of copies of samples that stay due.
    """

    @property
    @abstractmethod
    def state(self) -> PlaybackState:
        """The present state."""

    @abstractmethod
    def begin(self, utterance_id: str, *, held: bool = False, protected: bool = False) -> Utterance:
        """Queue an utterance. A held one is not played before its release; a protected one cannot be cut."""

    @abstractmethod
    def pause(self) -> PlaybackPosition | None:
        """Make the peer hear silence within 60 ms, and keep the place; None if nothing is played."""

    @abstractmethod
    def resume(self) -> None:
        """Go on with the next sample, within 200 ms."""

    @abstractmethod
    def cut(self, *, fade_ms: float = 5.0) -> PlaybackEnd | None:
        """End the utterance that is played or paused, and those queued behind it (held ones as "withdrawn").

        Returns None, with nothing changed, if there is none or it is protected.
        """

    @abstractmethod
    def position(self) -> PlaybackPosition | None:
        """Return how far the present utterance was heard; None without one."""

    @abstractmethod
    def on_mark(self, callback: Callable[[PlaybackMark], None]) -> None:
        """Call `callback` for each mark once no flush can take it back, and never after a cut before it."""
