"""Recording a call, with consent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.voice.audio import AudioFrame
from roomkit.abc.voice.checks import Checked, Count, Positive
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.session import VoiceSession

__all__ = [
    "AudioRecorder",
    "Recording",
    "RecordingConfig",
    "RecordingConsent",
    "RecordingResult",
]


@dataclass(frozen=True, slots=True)
class RecordingConfig(Checked):
    """Which audio is recorded, and how.

    `storage` is the directory of the spool, which holds a recording until the kit has it ("" for a temporary
    one). `retention_days` is None for as long as the kit keeps it.
    """

    mode: Literal["inbound_only", "outbound_only", "both"] = "both"
    trigger: Literal["always", "speech_only"] = "always"
    channels: Literal["mixed", "separate", "stereo", "all"] = "mixed"
    """One file, one for each side, one with inbound left and outbound right, or mixed and separate."""
    format: str = "wav"
    storage: str = ""
    retention_days: Positive | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: settings of one recorder


@dataclass(frozen=True, slots=True)
class RecordingConsent(Checked):
    """Who allowed a recording, on what basis, and when (an aware time)."""

    decided_by: str
    basis: str
    at: datetime
    on_revoke: Literal["keep", "discard"] = "keep"
    """If it is withdrawn: it counted until then, or all of the recording is removed."""

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if not self.decided_by or not self.basis:
            raise InvalidInputError("a recording needs consent: say who decided it, and on what basis")
        if self.at.tzinfo is None:
            raise InvalidInputError(
                "RecordingConsent.at cannot be without a time zone: use an aware datetime"
            )


@dataclass(frozen=True, slots=True)
class RecordingResult(Checked):
    """A finished recording; `urls` are of its files, in the order of the layout (inbound before outbound)."""

    id: str
    urls: tuple[str, ...]
    duration_seconds: float
    format: str
    mode: Literal["inbound_only", "outbound_only", "both"]
    size_bytes: Count
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: facts of the recorder


class Recording(ABC):
    """One session's recording. The file is valid at any instant.

    Frames lie at their `timestamp_ms`; gaps are silence. Writing happens behind a bounded queue: what does
    not fit is dropped and counted, never waited for.
    """

    id: str

    @abstractmethod
    def write(self, direction: Literal["inbound", "outbound"], frame: AudioFrame) -> None:
        """Keep a frame that was heard, of either side, in the order of its side."""

    @abstractmethod
    def suspend(self, suspended: bool) -> None:
        """Keep no frame from the next one on, or keep frames again; the gap is silence."""

    @abstractmethod
    async def discard(self, since_ms: float = 0.0) -> None:
        """Remove for good the audio from that session time on."""

    @abstractmethod
    async def stop(self) -> RecordingResult:
        """Finish the files behind all frames, and return them. Idempotent: the same result again."""


class AudioRecorder(ABC):
    """Records calls."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The recorder's name in reports."""

    def open(self, session: VoiceSession, consent: RecordingConsent, config: RecordingConfig) -> Recording:
        """Begin a recording; without consent there is nothing to write to. Raises InvalidInputError."""
        raise VoiceUnsupportedError.of(self, "open")

    async def adopt(self, config: RecordingConfig) -> Sequence[RecordingResult]:
        """Finish the recordings that a killed process left in the spool; called once, at the start."""
        return ()

    async def close(self) -> None:
        """Stop the open recordings, and release all resources. Idempotent."""
