"""The stages that audio passes between a backend and recognition, or between synthesis and a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum, unique
from typing import Annotated, Any, Self

from roomkit._dataclasses import dataclass
from roomkit.abc.voice.audio import AudioFormat, AudioFrame
from roomkit.abc.voice.checks import Checked, Limit, Milliseconds
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.streams import (
    AECStream,
    DiarizationResult,
    DiarizationStream,
    DTMFEvent,
    DTMFStream,
    FrameStream,
    StageStream,
    StreamInfo,
    VADEvent,
    VADStream,
)

__all__ = [
    "AECProvider",
    "AGCConfig",
    "AGCProvider",
    "AudioPostProcessor",
    "AudioStage",
    "DTMFDetector",
    "DenoiserProvider",
    "DiarizationProvider",
    "FrameStage",
    "MixerProvider",
    "ResamplerProvider",
    "RunsOn",
    "VADConfig",
    "VADProvider",
]


@unique
class RunsOn(StrEnum):
    """Where the streams of a stage are called."""

    LOOP = "loop"
    """On the home loop: each call takes at most 0.3 ms."""
    WORKER = "worker"
    """On a worker thread, with the session's whole inbound chain: native code, or slower."""


class AudioStage[Result](ABC):
    """A stage: settings and models that all sessions share. `open` gives a session its stream.

    Order: `warmup` once, `open` for each session and direction, `process` frame by frame, `flush`, `close`
    of the stream; the stage's own `close` after its streams. The subclass for a role says what `open` takes
    and returns. Pipelines take a stage, or a factory of stages.
    """

    sample_rates: tuple[int, ...] | None = None
    """The rates in Hz that `open` takes, None for any. The engine resamples to the nearest."""
    runs_on: RunsOn = RunsOn.LOOP
    latency_ms: float = 0.0
    """By how much the streams lag, constantly."""
    batches: bool = False
    """Whether `process_batch` is faster than single calls; the engine then gathers for at most 5 ms."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The stage's name in frames' metadata, reports and errors."""

    async def warmup(self) -> None:
        """Load models, so that `open` and `process` need not. Called once, before the first `open`."""

    def process_batch(self, items: Sequence[tuple[StageStream[Result], AudioFrame]]) -> Sequence[Result]:
        """Process frames of several of this stage's streams; a stream is among them at most once.

        The results are in the order of the items, and bit for bit those of `process`.
        """
        return [stream.process(frame) for stream, frame in items]

    def clone(self) -> Self:
        """Return a stage that shares no session's state with this one.

        By default the stage itself, which is right for stages whose streams hold the state.
        """
        return self

    def close(self) -> None:
        """Release models and handles, after all streams were closed. Idempotent."""


class FrameStage(AudioStage[AudioFrame]):
    """A stage that returns audio: the base of the next four roles."""

    def open(self, format: AudioFormat, info: StreamInfo) -> FrameStream:
        """Return a stream for one session and direction. Raises AudioFormatError outside `sample_rates`."""
        raise VoiceUnsupportedError.of(self, "open")


class DenoiserProvider(FrameStage):
    """Removes noise."""


class AGCProvider(FrameStage):
    """Brings speech to one level; it adapts only while there is speech."""


class AudioPostProcessor(FrameStage):
    """Changes outbound audio, inside the pull: gain, limiting ..."""


class AECProvider(AudioStage[AudioFrame]):
    """Cancels echo."""

    def open(self, format: AudioFormat, info: StreamInfo) -> AECStream:
        """Return a stream for one session. Raises AudioFormatError outside `sample_rates`."""
        raise VoiceUnsupportedError.of(self, "open")


class ResamplerProvider(AudioStage[AudioFrame]):
    """Converts sample rates, channels and widths."""

    def open(self, source: AudioFormat, target: AudioFormat) -> FrameStream:
        """Return a stream from one format to another. Raises AudioFormatError if it cannot convert."""
        raise VoiceUnsupportedError.of(self, "open")


class VADProvider(AudioStage[Sequence[VADEvent]]):
    """Detects voice."""

    def configure(self, config: VADConfig) -> Self:
        """Return a detector with the settings that are given; before `open`. By default itself."""
        return self

    def open(self, format: AudioFormat, info: StreamInfo) -> VADStream:
        """Return a stream for one session. Raises AudioFormatError outside `sample_rates`."""
        raise VoiceUnsupportedError.of(self, "open")


class DTMFDetector(AudioStage[Sequence[DTMFEvent]]):
    """Detects digits in the audio."""

    def open(self, format: AudioFormat, info: StreamInfo) -> DTMFStream:
        """Return a stream for one session. Raises AudioFormatError outside `sample_rates`."""
        raise VoiceUnsupportedError.of(self, "open")


class DiarizationProvider(AudioStage[DiarizationResult | None]):
    """Tells speakers apart. Enrolled speakers belong to the provider, audio to the stream."""

    def open(self, format: AudioFormat, info: StreamInfo) -> DiarizationStream:
        """Return a stream for one session. Raises AudioFormatError outside `sample_rates`."""
        raise VoiceUnsupportedError.of(self, "open")

    async def enroll(self, speaker_id: str, audio: Sequence[AudioFrame]) -> None:
        """Learn a voice, for streams opened later. Raises InvalidInputError if there is too little speech."""
        raise VoiceUnsupportedError.of(self, "enroll")

    async def forget(self, speaker_id: str) -> bool:
        """Delete a learned voice; False if there is none of that id."""
        raise VoiceUnsupportedError.of(self, "forget")


class MixerProvider(ABC):
    """Adds the frames of several speakers. It keeps no state and may be called on any thread."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The mixer's name in reports."""

    @abstractmethod
    def mix(self, frames: Sequence[AudioFrame]) -> AudioFrame:
        """Return the limited sum of frames of one format, as long as the shortest; one frame as it is.

        Raises AudioFormatError for frames of different formats, InvalidInputError for none.
        """


@dataclass(frozen=True, slots=True)
class VADConfig(Checked):
    """A pipeline's settings for its voice activity detector; None leaves the detector's own value.

    `silence_threshold_ms` of silence end a segment, and so are the least delay of an answer; usually 500.
    `speech_pad_ms` of audio before the onset are the pre-roll; usually 300. A segment with less voice than
    `min_speech_duration_ms` is dropped; usually 250. `extra` is the detector's own.
    """

    silence_threshold_ms: Milliseconds | None = None
    speech_pad_ms: Milliseconds | None = None
    min_speech_duration_ms: Milliseconds | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # Any: settings of one detector


@dataclass(frozen=True, slots=True)
class AGCConfig(Checked):
    """How a level is brought to its target.

    `target_level_dbfs` is the RMS of speech, -100 to 0; `max_gain_db`, 0 to 100, limits the gain.
    `attack_ms` is the time constant of a rising gain, `release_ms` of a falling one. `metadata` is the
    provider's own.
    """

    target_level_dbfs: Annotated[float, Limit(-100, 0, "from -100 to 0")] = -18.0
    max_gain_db: Annotated[float, Limit(0, 100, "from 0 to 100")] = 30.0
    attack_ms: Milliseconds = 10.0
    release_ms: Milliseconds = 100.0
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: settings of one provider
