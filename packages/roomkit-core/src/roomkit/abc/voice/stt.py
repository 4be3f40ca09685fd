"""Speech to text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import AudioChunk, AudioFormat, AudioFrame, TimedWord
from roomkit.abc.voice.checks import Checked, Milliseconds, ZeroToOne
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.streams import ResultStream, StreamInfo

if TYPE_CHECKING:
    from roomkit.models.content import AudioContent

__all__ = [
    "STTCapabilities",
    "STTOptions",
    "STTProvider",
    "STTStream",
    "TranscriptionResult",
]


@dataclass(frozen=True, slots=True)
class TranscriptionResult(Checked):
    """A transcript so far, or the final one.

    A partial (`is_final` False) replaces the partial before it of the same segment; finals add up, and each
    word is in exactly one. An empty text is a result. Times are on the session's timeline, also after the
    provider reconnected.
    """

    _ordered: ClassVar = ("start_ms", "end_ms")

    text: str
    is_final: bool = True
    confidence: ZeroToOne | None = None
    """0 to 1."""
    language: str | None = None
    words: Sequence[TimedWord] = ()
    is_speech_start: bool = False
    """The provider noticed speech; at most once a segment, before its text."""
    end_of_turn: Literal["eager", "resumed", "confirmed"] | None = None
    """The provider's own endpointing: the turn may be over, was not over, or is over.

    An "eager" result has the whole turn as its text; exactly one "resumed" or "confirmed" (final) follows.
    """
    finalized: bool = False
    """The answer to `STTStream.finalize`."""
    start_ms: float | None = None
    end_ms: float | None = None


@dataclass(frozen=True, slots=True)
class STTOptions(Checked):
    """A session's settings for recognition. `key_terms` are words to expect, such as names and products."""

    language: str | None = None
    """A BCP 47 tag; None for the provider's own."""
    key_terms: tuple[str, ...] = ()
    eager_end_of_turn: bool = False
    interim: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class STTCapabilities(Checked):
    """The abilities of a provider; each claim is tested.

    `time_to_final_ms` is the 95th percentile of the wait between `STTStream.finalize` and its answer.
    `languages` and `sample_rates` (Hz) are None where any will do.
    """

    streaming: bool = False
    """`open` is implemented; without it only `transcribe` is."""
    interim: bool = False
    words: bool = False
    endpoints_itself: bool = False
    eager_end_of_turn: bool = False
    key_terms: bool = False
    finalize: bool = False
    """One stream serves the whole call; without it, one stream serves one segment of speech."""
    languages: tuple[str, ...] | None = None
    sample_rates: tuple[int, ...] | None = None
    time_to_final_ms: Milliseconds = 500.0


class STTStream(ResultStream[TranscriptionResult]):
    """The recognition of one session, or of one segment if the provider cannot `finalize`.

    Results come in the order of the audio. The stream reconnects by itself (three times, 2 s in all, with the
    audio since the last final) and keeps its connection alive; then the iteration raises VoiceProviderError,
    and the engine asks the next provider with the segment's audio. Without audio the vendor is not called.
    """

    @abstractmethod
    def push(self, frame: AudioFrame) -> None:
        """Take the next audio, of a rate that the provider takes; beyond 10 s unsent, the oldest goes."""

    @abstractmethod
    def finalize(self) -> None:
        """Ask for the final of all that was pushed, and stay open.

        The answer has `finalized` set and comes even if its text is empty. Raises VoiceUnsupportedError if
        the provider does not claim it.
        """

    @abstractmethod
    def update(self, options: STTOptions) -> bool:
        """Apply options to the audio that follows.

        False if that cannot be done; the engine then opens a second stream and closes this one behind its
        final.
        """

    @abstractmethod
    def end(self) -> None:
        """Say that no more audio comes; the iteration ends after the last final. Idempotent."""


class STTProvider(ABC):
    """A recognizer for all sessions. It implements `open`, or `transcribe` for whole utterances, or both."""

    capabilities: STTCapabilities = STTCapabilities()

    @property
    def name(self) -> str:
        """The provider's name in reports and errors."""
        return type(self).__name__

    def open(self, format: AudioFormat, options: STTOptions, info: StreamInfo) -> STTStream:
        """Return a stream, without waiting for its connection.

        Raises AudioFormatError for a format it does not take, InvalidInputError for options it does not.
        """
        raise VoiceUnsupportedError.of(self, "open")

    async def transcribe(self, audio: AudioContent | AudioChunk | AudioFrame) -> TranscriptionResult:
        """Return the final text of one utterance. Within 10 s, else VoiceProviderError of code `timeout`."""
        raise VoiceUnsupportedError.of(self, "transcribe")

    def transcribe_stream(self, chunks: AsyncIterator[AudioChunk]) -> AsyncIterator[TranscriptionResult]:
        """Yield the results for one utterance of audio, which ends with the iterator or with a final chunk.

        The recognizer may be one that hears only whole utterances. Raises AudioFormatError if the chunks
        differ in rate, channels or format, CapacityError beyond 60 s. Without audio nothing is yielded.
        """
        raise VoiceUnsupportedError.of(self, "transcribe_stream")

    async def warmup(self) -> None:
        """Load models or open pools, so that the first `open` need not."""

    async def close(self) -> None:
        """Close the streams that are still open, and release all resources. Idempotent."""
