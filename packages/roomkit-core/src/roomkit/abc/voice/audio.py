"""Audio as it passes between the parts of a call: formats, frames and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal, NamedTuple

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.checks import Checked, Milliseconds
from roomkit.abc.voice.errors import AudioFormatError

__all__ = ["AudioChunk", "AudioFormat", "AudioFrame", "SpeechSegment", "TimedWord"]

PCM = "pcm_s16le"
_WIDTH_OF = {PCM: 2, "ulaw": 1, "alaw": 1}
_WIDTHS = (1, 2, 4)
_HIGHEST_RATE = 192_000


@dataclass(frozen=True, slots=True)
class AudioFormat(Checked):
    """How audio is laid out.

    `sample_rate` is in Hz, 1 to 192,000; `channels` 1 or 2; `sample_width` in bytes, 1, 2 or 4. `codec` is
    "pcm_s16le" (width 2), "ulaw" or "alaw" (width 1), or the name that a vendor gives another one, whose
    width is not checked. Raises AudioFormatError for anything else.
    """

    sample_rate: int = 16000
    channels: int = 1
    sample_width: int = 2
    codec: str = PCM

    def __post_init__(self) -> None:
        _check_layout(self.sample_rate, self.channels, self.sample_width)
        if (wanted := _WIDTH_OF.get(self.codec, self.sample_width)) != self.sample_width:
            raise AudioFormatError(
                f"{self.codec} has {wanted} bytes a sample, not {self.sample_width}: set sample_width"
            )

    @property
    def block_size(self) -> int:
        """Bytes of one sample of all channels; audio is a whole number of these."""
        return self.channels * self.sample_width


@dataclass(slots=True)
class AudioFrame:
    """A piece of decoded PCM on the timeline of a session.

    `timestamp_ms` is the session time of its first sample, set by every backend; a gap to the frame before it
    is audio that was lost. `metadata` is what stages note for later ones: "concealed" (True where lost audio
    was filled in), "dtmf", "vad_is_speech" ...

    A stage owns a frame from the call that passes it until it returns it, and may replace `data` and
    `metadata` in place; nothing else keeps it. Raises AudioFormatError unless `data` is `bytes` of whole
    samples in a layout that `AudioFormat` allows.
    """

    data: bytes
    sample_rate: int = 16000
    channels: int = 1
    sample_width: int = 2
    timestamp_ms: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)  # Any: what stages note is their own

    def __post_init__(self) -> None:
        _check_layout(self.sample_rate, self.channels, self.sample_width)
        if type(self.data) is not bytes:
            raise AudioFormatError(f"the data of a frame is bytes, not a {type(self.data).__name__}")
        if len(self.data) % (self.channels * self.sample_width):
            raise AudioFormatError(
                f"{len(self.data)} bytes are not a whole number of samples of {self.channels} x "
                f"{self.sample_width} bytes: carry the rest over to the next frame"
            )

    @property
    def samples(self) -> int:
        """How many samples of each channel it holds."""
        return len(self.data) // (self.channels * self.sample_width)

    @property
    def duration_ms(self) -> float:
        """How long it lasts."""
        return self.samples * 1000 / self.sample_rate


class TimedWord(NamedTuple):
    """A word and when it is spoken, in milliseconds.

    Times are of the session in transcripts, and count from the first sample of the utterance in synthesized
    speech. `confidence` is 0 to 1. A provider that does not know times gives no words: they are never
    guessed.
    """

    text: str
    start_ms: float
    end_ms: float
    confidence: float | None = None
    speaker: str | None = None


@dataclass(slots=True)
class AudioChunk:
    """A piece of a stream of audio that has an end, such as synthesized speech.

    `sample_rate` and `format` are what `data` really has. The last chunk of a stream has `is_final` set,
    and may be empty. `words` are those that begin in this chunk or an earlier one; `piece` is the ordinal,
    from 0, of the text push that the audio speaks. Not checked when it is made: the engine checks what it
    takes.
    """

    data: bytes
    sample_rate: int = 16000
    channels: int = 1
    format: str = PCM
    timestamp_ms: float | None = None
    is_final: bool = False
    words: Sequence[TimedWord] = ()
    piece: int | None = None


@dataclass(frozen=True, slots=True)
class SpeechSegment(Checked):
    """What one speaker said between two silences, with the pre-roll before it.

    `start_ms` and `end_ms` are the session times of the first and after the last sample; `voiced_ms` is how
    much of it is voice. It ended by silence, because it was too long, or because the audio ended. A
    "discarded" segment turned out to be no speech.
    """

    _ordered: ClassVar = ("start_ms", "end_ms")

    audio: bytes
    format: AudioFormat
    start_ms: float
    end_ms: float
    voiced_ms: Milliseconds
    ended_by: Literal["silence", "max", "flush", "discarded"]


def _check_layout(rate: int, channels: int, width: int) -> None:
    if type(rate) is not int or not 1 <= rate <= _HIGHEST_RATE:
        raise AudioFormatError(f"a sample rate cannot be {rate!r}: use 1 to {_HIGHEST_RATE} Hz")
    if channels not in (1, 2):
        raise AudioFormatError(f"audio cannot have {channels!r} channels: use 1 or 2")
    if width not in _WIDTHS:
        raise AudioFormatError(f"a sample cannot have {width!r} bytes: use 1, 2 or 4")
