"""The payloads of a call's hooks. Each has its session, and the time at which it was made (aware, UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import AudioFrame
from roomkit.abc.voice.session import VoiceSession

__all__ = [
    "AudioLevelEvent",
    "BackchannelEvent",
    "BargeInEvent",
    "BridgeAudioEvent",
    "DTMFDetectedEvent",
    "PartialTranscriptionEvent",
    "RealtimeErrorEvent",
    "RealtimeSpeechEvent",
    "RealtimeToolCallEvent",
    "RealtimeTranscriptionEvent",
    "RecordingStartedEvent",
    "RecordingStoppedEvent",
    "SpeakerChangeEvent",
    "TTSCancelledEvent",
    "TranscriptionEvent",
    "TurnCompleteEvent",
    "TurnIncompleteEvent",
    "VADAudioLevelEvent",
    "VADSilenceEvent",
    "VoiceEvent",
]


@dataclass(frozen=True, slots=True)
class VoiceEvent:
    """The base of the payloads of a call's hooks. To change one, a gate returns a copy."""

    session: VoiceSession
    timestamp: datetime = field(default_factory=partial(datetime.now, UTC), kw_only=True)


@dataclass(frozen=True, slots=True)
class BargeInEvent(VoiceEvent):
    """The caller interrupted: the text that was spoken then, and how much of it was heard."""

    interrupted_text: str
    audio_position_ms: float


@dataclass(frozen=True, slots=True)
class TTSCancelledEvent(VoiceEvent):
    """Speech ended before its end."""

    reason: Literal["barge_in", "explicit", "disconnect", "error", "new_tts", "task_delivery"]
    text: str
    audio_position_ms: float


@dataclass(frozen=True, slots=True)
class TranscriptionEvent(VoiceEvent):
    """The final text of a turn, before it is a message."""

    text: str


@dataclass(frozen=True, slots=True)
class PartialTranscriptionEvent(VoiceEvent):
    """The text of a turn so far. `is_stable` says that it will not change; `confidence` is 0 to 1."""

    text: str
    confidence: float
    is_stable: bool


@dataclass(frozen=True, slots=True)
class VADSilenceEvent(VoiceEvent):
    """The silence that closes a segment of speech has passed."""

    silence_duration_ms: float


@dataclass(frozen=True, slots=True)
class VADAudioLevelEvent(VoiceEvent):
    """The level that the voice activity detector measured, in dBFS."""

    level_db: float
    is_speech: bool


@dataclass(frozen=True, slots=True)
class AudioLevelEvent(VoiceEvent):
    """The level of one direction, in dBFS; at most 10 a second."""

    level_db: float


@dataclass(frozen=True, slots=True)
class SpeakerChangeEvent(VoiceEvent):
    """Another person speaks in the session."""

    speaker_id: str
    confidence: float
    is_new_speaker: bool


@dataclass(frozen=True, slots=True)
class DTMFDetectedEvent(VoiceEvent):
    """A digit was pressed. `redacted_digit` may be shown and stored."""

    digit: str
    duration_ms: float
    confidence: float = 1.0
    redacted_digit: str | None = None


@dataclass(frozen=True, slots=True)
class TurnCompleteEvent(VoiceEvent):
    """The turn is over; its whole text."""

    text: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class TurnIncompleteEvent(VoiceEvent):
    """The speaker paused, and has more to say; the text so far."""

    text: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class BackchannelEvent(VoiceEvent):
    """The caller only said "I am listening"."""

    text: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class RecordingStartedEvent(VoiceEvent):
    """A recording is about to begin; no sample is kept before the hooks have run."""

    id: str


@dataclass(frozen=True, slots=True)
class RecordingStoppedEvent(VoiceEvent):
    """A recording is finished."""

    id: str
    urls: tuple[str, ...]
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class BridgeAudioEvent(VoiceEvent):
    """A frame on its way to the other sessions of a room. `session` is its speaker's."""

    frame: AudioFrame
    room_id: str = ""


@dataclass(frozen=True, slots=True)
class RealtimeTranscriptionEvent(VoiceEvent):
    """A transcript of the caller or of a speech-to-speech model."""

    text: str
    role: Literal["user", "assistant"]
    is_final: bool
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class RealtimeToolCallEvent(VoiceEvent):
    """A speech-to-speech model asks for a tool. A gate answers by a copy with `result` set."""

    tool_call_id: str
    name: str
    arguments: Mapping[str, Any]  # Any: JSON
    result: Mapping[str, Any] | str | None = None  # Any: JSON


@dataclass(frozen=True, slots=True)
class RealtimeSpeechEvent(VoiceEvent):
    """A vendor's detector heard the caller begin or end to speak."""

    type: Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class RealtimeErrorEvent(VoiceEvent):
    """A speech-to-speech vendor reported an error. The message may quote the vendor: for operators."""

    code: str
    message: str
