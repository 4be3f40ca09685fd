"""Text to speech."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import AudioChunk, AudioFormat
from roomkit.abc.voice.checks import Checked, Milliseconds, Positive
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.streams import ResultStream, StreamInfo

if TYPE_CHECKING:
    from roomkit.models.content import AudioContent

__all__ = [
    "TTSCapabilities",
    "TTSOptions",
    "TTSProvider",
    "TTSStream",
    "TTSStreamFilter",
]


@dataclass(frozen=True, slots=True)
class TTSOptions(Checked):
    """How an utterance is spoken.

    `voice` and `language` (a BCP 47 tag) are None for the provider's own; `speed` is a factor above 0.
    `format` is what the engine would like: chunks say what they are.
    """

    voice: str | None = None
    language: str | None = None
    format: AudioFormat = field(default_factory=AudioFormat)
    speed: Positive = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TTSCapabilities(Checked):
    """The abilities of a provider; each claim is tested.

    `first_byte_ms` is the 95th percentile of the time from the first push to the first chunk.
    `sample_rates` (Hz), `voices` and `languages` are None where any will do, or where they cannot be
    listed.
    """

    text_input: Literal["tokens", "sentences", "whole"] = "sentences"
    """The pieces in which text is wanted: as they come, whole sentences, or the whole utterance."""
    words: bool = False
    sample_rates: tuple[int, ...] | None = None
    voices: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    first_byte_ms: Milliseconds = 500.0


class TTSStream(ResultStream[AudioChunk]):
    """The synthesis of one utterance.

    Chunks come in the order of the text, with their true rate and codec, in whole samples; exactly one, the
    last, is final. Word times count from the first sample of the utterance, in the spelling that was
    pushed, with the audio that they describe or later. The engine pushes only text that has passed all gates.
    """

    @abstractmethod
    def push(self, text: str) -> None:
        """Add text, in pieces as `TTSCapabilities.text_input` says."""

    @abstractmethod
    def flush(self) -> None:
        """Speak the text pushed so far, although more may follow."""

    @abstractmethod
    def end(self) -> None:
        """Say that no more text comes; the iteration ends after the final chunk. Idempotent."""


class TTSProvider(ABC):
    """A synthesizer for all sessions. It implements `open`, or `synthesize`, `synthesize_stream` or both."""

    capabilities: TTSCapabilities = TTSCapabilities()

    @property
    def name(self) -> str:
        """The provider's name in reports and errors."""
        return type(self).__name__

    @property
    def default_voice(self) -> str | None:
        """The voice used when none is asked for; None if the vendor chooses."""
        return None

    def open(self, options: TTSOptions, info: StreamInfo) -> TTSStream:
        """Return the stream of one utterance, without waiting for its connection.

        Raises InvalidInputError for an unknown voice, with the voices there are.
        """
        raise VoiceUnsupportedError.of(self, "open")

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return the whole speech as content: a URL (`data:` or http), MIME type, duration and transcript."""
        raise VoiceUnsupportedError.of(self, "synthesize")

    def synthesize_stream(self, text: str, *, voice: str | None = None) -> AsyncIterator[AudioChunk]:
        """Yield the speech of a whole text, with one final chunk at the end.

        An async generator; closing it stops the vendor's synthesis.
        """
        raise VoiceUnsupportedError.of(self, "synthesize_stream")

    async def warmup(self) -> None:
        """Load models or fill a pool of connections that is kept alive."""

    async def close(self) -> None:
        """Close the streams that are still open, and release all resources. Idempotent."""


class TTSStreamFilter(ABC):
    """Changes text before it is spoken; one instance an utterance."""

    @abstractmethod
    def feed(self, token: str) -> str:
        """Take the next piece of text, and return the text that can be spoken already."""

    @abstractmethod
    def flush(self) -> str:
        """Return the rest of the text, at the end of the utterance."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the text so far."""

    def __call__(self, text: str) -> str:
        """Return a whole text as it is to be spoken."""
        self.reset()
        return self.feed(text) + self.flush()
