"""Speech to speech: a model that hears and speaks by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import ErrorCode
from roomkit.abc.voice.audio import AudioFormat
from roomkit.abc.voice.checks import Checked, Milliseconds, Positive, wrong
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.session import VoiceSession
from roomkit.abc.voice.streams import ResultStream

if TYPE_CHECKING:
    from roomkit.models.ai import AITool

__all__ = [
    "RealtimeAudio",
    "RealtimeCapabilities",
    "RealtimeConfig",
    "RealtimeItem",
    "RealtimeNotice",
    "RealtimeResponse",
    "RealtimeSession",
    "RealtimeSpeech",
    "RealtimeToolCall",
    "RealtimeTranscript",
    "RealtimeVoiceProvider",
]

_OUTPUT = AudioFormat(sample_rate=24000)


@dataclass(frozen=True, slots=True)
class RealtimeAudio:
    """Speech of the model, in the session's output format; whole samples."""

    data: bytes
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class RealtimeTranscript(Checked):
    """A transcript. Partials are deltas; the final is the whole item.

    `started_ms` is the session time at which the speaker began, None if it is not known.
    """

    text: str
    role: Literal["user", "assistant"]
    is_final: bool
    item_id: str | None = None
    started_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RealtimeSpeech(Checked):
    """The vendor's detector heard the caller begin or end to speak, at a session time if it says so."""

    phase: Literal["start", "end"]
    at_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RealtimeToolCall:
    """The model asks for a tool, complete with its arguments; or takes that back (`cancelled`)."""

    call_id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class RealtimeResponse(Checked):
    """A response begins or ends. At its end, `status` is the vendor's word and `usage` its token counts."""

    phase: Literal["start", "end"]
    response_id: str
    status: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RealtimeNotice(Checked):
    """Something about the connection.

    "reconnected": `history_kept` says whether the model still knows the conversation. "expiring": the
    vendor ends the session in `remaining_ms`. "error": `error_code` and `message`, for operators; the session
    goes on. An error that ends it is raised from the iteration.
    """

    kind: Literal["reconnected", "expiring", "error"]
    message: str = ""
    error_code: ErrorCode | None = None
    history_kept: bool = True
    remaining_ms: Milliseconds | None = None


type RealtimeItem = (
    RealtimeAudio | RealtimeTranscript | RealtimeSpeech | RealtimeToolCall | RealtimeResponse | RealtimeNotice
)
"""One item of a speech-to-speech session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeConfig:
    """How a model behaves in one session. In an `update`, None keeps and an empty value clears."""

    system_prompt: str | None = None
    voice: str | None = None
    tools: Sequence[AITool] | None = None
    temperature: float | None = None
    language: str | None = None
    server_vad: bool = True
    """The vendor decides when the caller's turn is over; False needs `RealtimeCapabilities.manual_turns`."""
    input_format: AudioFormat = field(default_factory=AudioFormat)
    output_format: AudioFormat = _OUTPUT
    provider_config: Mapping[str, Any] | None = None  # Any: settings of one vendor

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature < inf:
            raise wrong(self, "temperature", self.temperature, "use a finite number, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeCapabilities(Checked):
    """The abilities of a provider; each claim is tested. The engine resamples to the formats listed."""

    input_formats: tuple[AudioFormat, ...] = (AudioFormat(),)
    output_formats: tuple[AudioFormat, ...] = (_OUTPUT,)
    server_vad: bool = True
    manual_turns: bool = False
    truncates: bool = False
    says: bool = False
    user_transcripts: bool = True
    updates: bool = False
    """`update` keeps the history."""
    resumes: bool = False
    """A lost connection is resumed with its history."""
    max_session_s: Positive | None = None
    """Seconds after which the vendor ends a session; None for never."""


class RealtimeSession(ResultStream[RealtimeItem]):
    """One caller's conversation with a model.

    One iterator yields everything, in this order whatever the vendor's is: user partials, user final, the
    tool calls that it caused, assistant partials, assistant final. The engine goes on reading while it
    plays and while tools run. The other methods may be called at the same time, from the home loop, and
    return when the vendor has the message.
    """

    @abstractmethod
    def push_audio(self, pcm: bytes) -> None:
        """Take the caller's audio, in the input format, in real time. Never waits: 2 s unsent at most."""

    @abstractmethod
    async def inject_text(self, text: str, *, role: str = "user", respond: bool = True) -> None:
        """Add text to the conversation, and ask for a response unless `respond` is False."""

    @abstractmethod
    async def say(self, text: str) -> None:
        """Make the model say exactly these words; no user transcript comes of it. See `says`."""

    @abstractmethod
    async def submit_tool_results(self, results: Mapping[str, str], *, respond: bool = True) -> None:
        """Give the results of calls by their id, all together, and ask for one response."""

    @abstractmethod
    async def truncate(self, item_id: str, played_ms: float) -> None:
        """Make the model forget an item's unheard rest; once an item, and not beyond the received audio."""

    @abstractmethod
    async def interrupt(self) -> None:
        """Stop the response that is generated. Nothing if there is none."""

    @abstractmethod
    async def update(self, config: RealtimeConfig) -> bool:
        """Change the configuration; False if the history was lost, which the engine then replays."""


class RealtimeVoiceProvider(ABC):
    """A speech-to-speech model for all sessions."""

    capabilities: RealtimeCapabilities = RealtimeCapabilities()

    @property
    @abstractmethod
    def name(self) -> str:
        """The provider's name in reports and errors."""

    async def open(self, session: VoiceSession, config: RealtimeConfig) -> RealtimeSession:
        """Return a session once the vendor has accepted the configuration, within 10 s.

        Raises VoiceProviderError, or InvalidInputError for what the model cannot do.
        """
        raise VoiceUnsupportedError.of(self, "open")

    async def close(self) -> None:
        """Close the sessions that are still open, and release all resources. Idempotent."""
