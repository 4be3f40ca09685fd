"""The streams that hold one session's state: of a stage frame by frame, of a provider result by result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum, unique
from typing import Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import AudioFrame
from roomkit.abc.voice.checks import Checked, Milliseconds, PositiveCount, ZeroToOne

__all__ = [
    "AECStream",
    "DTMFEvent",
    "DTMFStream",
    "DiarizationResult",
    "DiarizationStream",
    "FrameStream",
    "ResultStream",
    "StageStream",
    "StreamInfo",
    "VADEvent",
    "VADEventType",
    "VADStream",
]


@dataclass(frozen=True, slots=True)
class StreamInfo(Checked):
    """Whose audio a stream is for. `language` is a BCP 47 tag, None if it is not known."""

    session_id: str
    direction: Literal["inbound", "outbound"] = "inbound"
    """Inbound audio comes from the peer."""
    language: str | None = None


class ResultStream[Item](ABC):
    """Results that come while audio or text goes in.

    One consumer iterates, once. At most 1,000 results wait for it; then the producer waits.
    """

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Item]:
        """Yield results until the work is done or closed. Raises VoiceProviderError for a failure."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream and the vendor's work.

        It may be called by another task than the one that iterates: the iteration then ends without an error.
        Sockets and tasks are gone within 2 s. Idempotent.
        """


class StageStream[Result](ABC):
    """One session's audio in one direction, on its way through one stage.

    Frames come in order, one call at a time. If the stage runs on a WORKER, successive calls may come from
    different threads.
    """

    @abstractmethod
    def process(self, frame: AudioFrame) -> Result:
        """Take the next frame.

        If it raises, the stage is skipped for that frame; after ten failures in a row the engine switches the
        stage off for the session, and reports it. It opens no file and no socket.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget the audio so far, as if the stream were just opened."""

    def close(self) -> None:
        """Release the stream's resources; the last call, after `flush`. Idempotent."""


class FrameStream(StageStream[AudioFrame]):
    """Audio in, audio out.

    Over time as many samples come out as go in (times the ratio of a resampler), for any size of blocks:
    the stream re-blocks inside, never drops or passes a block unprocessed, and lags by the constant
    `latency_ms` of its stage. `process` returns the audio that is complete (a frame may be empty), usually
    in the same frame with its `data` replaced.
    """

    @abstractmethod
    def flush(self) -> AudioFrame | None:
        """Return the rest of the audio, at hang-up or the end of an utterance; None without one."""


class AECStream(FrameStream):
    """Removes the loudspeaker's audio from the microphone's."""

    @abstractmethod
    def feed_reference(self, frame: AudioFrame) -> None:
        """Take the audio that the peer hears, stamped with the time at which it is heard.

        It is continuous, silence included, and stops only while the input is muted, together with `process`.
        """

    @abstractmethod
    def set_active(self, active: bool) -> None:
        """Switch the canceller on, or bypass it; the learned path of the echo is kept."""


@unique
class VADEventType(StrEnum):
    """The kinds of reports of a voice activity detector."""

    SPEECH_START = "speech_start"
    SPEECH_END = "speech_end"
    SILENCE = "silence"
    """Once a segment, when its closing silence has passed."""
    AUDIO_LEVEL = "audio_level"
    """At most 10 a second."""


@dataclass(frozen=True, slots=True)
class VADEvent(Checked):
    """One report of a voice activity detector.

    A SPEECH_START has the pre-roll as `audio_bytes` and is followed by exactly one SPEECH_END, which has
    the whole segment, or None if it was not speech after all. `at_ms` is when speech began or ended (its
    last voiced sample), not when that was noticed. `duration_ms` is the voiced time of the segment, or the
    length of a silence; `confidence` is 0 to 1; `level_db` in dBFS; `sample_rate` that of the audio.
    """

    type: VADEventType
    audio_bytes: bytes | None = None
    confidence: ZeroToOne | None = None
    duration_ms: Milliseconds | None = None
    level_db: float | None = None
    sample_rate: PositiveCount | None = None
    at_ms: float | None = None


class VADStream(StageStream[Sequence[VADEvent]]):
    """Finds where speech begins and ends: `process` returns events in the order of `at_ms`."""

    @abstractmethod
    def flush(self) -> Sequence[VADEvent]:
        """End the audio: the SPEECH_END of a segment that is still open, so that its words are not lost."""


@dataclass(frozen=True, slots=True)
class DTMFEvent(Checked):
    """A digit that was pressed (0 to 9, `*`, `#`, A to D), reported once, when it ends."""

    digit: Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D"]
    duration_ms: Milliseconds
    confidence: ZeroToOne = 1.0
    at_ms: float | None = None
    """The session time of its end."""
    via: Literal["inband", "rfc4733", "info", "message"] = "inband"
    """A tone, an RTP event, SIP INFO, or a message of a carrier or client."""


class DTMFStream(StageStream[Sequence[DTMFEvent]]):
    """Finds the tones of digits: `process` returns those that ended in the frame."""


@dataclass(frozen=True, slots=True)
class DiarizationResult(Checked):
    """Who speaks: an enrolled name, or a label that the stream made. `confidence` is 0 to 1.

    `is_new_speaker` is True the first time that the session hears the speaker.
    """

    speaker_id: str
    confidence: ZeroToOne
    is_new_speaker: bool


class DiarizationStream(StageStream[DiarizationResult | None]):
    """Tells apart the speakers of one session.

    `process` returns who spoke once that is known, else None.

    Frames of speech have `metadata["vad_is_speech"]`, the last of a segment `metadata["vad_speech_end"]`.
    """
