"""The transport of a call: it puts samples on the wire and reports audio and events from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import field
from enum import Flag, auto
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.voice.audio import AudioChunk, AudioFrame
from roomkit.abc.voice.callbacks import BackendCallbacks
from roomkit.abc.voice.checks import Checked, Count, Limit
from roomkit.abc.voice.errors import VoiceUnsupportedError
from roomkit.abc.voice.playback import Flushed, FrameSource
from roomkit.abc.voice.session import CallParty, EndCause, VoiceSession
from roomkit.abc.voice.streams import DiarizationResult, DTMFEvent

if TYPE_CHECKING:
    from roomkit.models.trace import ProtocolTrace

__all__ = [
    "AudioReceivedCallback",
    "AuthCallback",
    "BackendCapacity",
    "BargeInCallback",
    "CallDecision",
    "CallGate",
    "CallRequest",
    "SessionReadyCallback",
    "VoiceBackend",
    "VoiceCapability",
    "auth_context",
]

type AudioReceivedCallback = Callable[[VoiceSession, AudioFrame], Awaitable[None] | None]
"""Takes the frames of a session, on whatever thread they are emitted; a coroutine runs on the home loop."""
type BargeInCallback = Callable[[VoiceSession], Awaitable[None] | None]
"""Takes a backend's report that the caller speaks over the agent."""
type SessionReadyCallback = Callable[[VoiceSession], Awaitable[None] | None]
"""Takes a session in which media flows both ways."""
type _Listener[Payload] = Callable[[VoiceSession, Payload], Awaitable[None] | None]
type AuthCallback = Callable[[Any], Awaitable[dict[str, Any] | None]]  # Any: the transport's own connection
"""Returns the proven facts about a connection, as metadata of its session, or None to reject it."""

auth_context: ContextVar[Mapping[str, Any] | None] = ContextVar("auth_context", default=None)
"""The result of the `AuthCallback` for the connection whose session is being made."""


class VoiceCapability(Flag):
    """The abilities of a backend; a method whose ability it does not claim raises VoiceUnsupportedError."""

    NONE = 0
    INTERRUPTION = auto()
    """`flush` and `cancel_audio` silence the peer within 60 ms."""
    BARGE_IN = auto()
    """It emits "barge_in" by itself."""
    NATIVE_AEC = auto()
    NATIVE_AGC = auto()
    DTMF_INBAND = auto()
    DTMF_SIGNALING = auto()
    """It sends and receives digits beside the audio."""
    NATIVE_BRIDGE = auto()
    HOLD = auto()
    TRANSFER = auto()
    ATTENDED_TRANSFER = auto()
    DIAL = auto()
    MESSAGES = auto()
    """`send_message` and "message" reach a client."""


@dataclass(frozen=True, slots=True)
class CallRequest(Checked):
    """A connection that asks to be let in.

    `remote` is where it comes from, such as "192.0.2.7:5060". `party` holds its own claims, `verified` the
    proven ones (a digest user, claims of a token). `requested_room_id` is a wish.
    """

    backend: str
    remote: str
    party: CallParty = field(default_factory=CallParty)
    verified: Mapping[str, Any] = field(default_factory=dict)  # Any: claims are JSON
    requested_room_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallDecision(Checked):
    """Whether a connection is let in, and where it belongs.

    A refusal answers `status` (a SIP or HTTP status, 300 to 699) and `reason`. An accepted call goes to
    `room_id`, as `participant_id`; None leaves either to the kit. `metadata` is for the session.
    """

    accept: bool
    status: Annotated[int, Limit(300, 699, "from 300 to 699", whole=True)] = 403
    reason: str = ""
    room_id: str | None = None
    participant_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: the application's own

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if not isinstance(self.accept, bool):
            raise InvalidInputError("CallDecision.accept is True or False: say which")


type CallGate = Callable[[CallRequest], Awaitable[CallDecision]]
"""Decides who is let in. One that raises, is later than 5 s or returns anything else refuses."""


@dataclass(frozen=True, slots=True)
class BackendCapacity(Checked):
    """How many calls a backend has, and may have; a `limit` of None is none."""

    active: Count
    limit: Count | None = None


class VoiceBackend(ABC):
    """The transport of calls: telephony, WebRTC, a sound card.

    It puts samples on the wire when they are due, and says how late they are heard. It does not queue speech, pause,
    mix or judge: the engine does, once for all backends. One object serves all its sessions.

    Events are reported by `emit`:

    | event | payload beside the session | when |
    |---|---|---|
    | "audio" | AudioFrame | decoded mono at the true rate of `input_format`, in order and on time; lost audio is concealed, so that time never stops. Audio from before "ready" (2 s are kept) comes first |
    | "ready" | | once, when media can flow both ways |
    | "client_disconnected" | | once, after the state is ENDED, if the peer or the network ended it; never after a local `disconnect` |
    | "dtmf" | DTMFEvent | once a digit, at its end |
    | "flushed" | int | samples that a remote buffer did drop |
    | "audio_played" | AudioFrame | from backends that know the audio that the peer heard |
    | "barge_in" | | a report: the turn profile decides |
    | "speaker_change" | DiarizationResult | |
    | "hold" | bool | the peer holds, or no longer |
    | "transfer" | str | the peer asks for a transfer to that address |
    | "message" | dict | from a client; never authority |
    """  # noqa: E501  # a row of a table is one line

    frame_ms: int = 20
    """The length of the frames of `send_frame`."""
    frame_clock: Literal["engine", "backend"] = "engine"
    """Who keeps time.

    "engine" calls `send_frame` for every session at each tick, silence included; "backend" pulls from the
    source of `set_source`, on the home loop, in blocks of any size.
    """
    lead_ms: float = 0.0
    """How much audio the peer shall hold against jitter.

    The engine hands sound ahead until the latency reaches it, never silence. Above 60, `flush` is required.
    """
    gate: CallGate | None = None
    """Asked by `authorize`. A listener that can be reached beyond loopback, with neither a gate nor
    `allow_anonymous`, refuses to start."""
    allow_anonymous: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """The backend's name in reports and errors."""

    @property
    def capabilities(self) -> VoiceCapability:
        """The backend's abilities."""
        return VoiceCapability.NONE

    @property
    def feeds_aec_reference(self) -> bool:
        """Whether the backend cancels echo itself, at the loudspeaker."""
        return False

    @property
    def capacity(self) -> BackendCapacity:
        """How many calls there are, and may be.

        Beyond the limit a caller is refused before a port, a task or a session is made.
        """
        raise VoiceUnsupportedError.of(self, "capacity")

    # -- life cycle -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open listeners and devices. Its loop is the home loop; call `super().start()`. Idempotent."""
        self._callbacks.find_home()

    async def drain(self, timeout: float) -> int:
        """Refuse new calls, wait up to `timeout` seconds for the others, and return how many remain."""
        raise VoiceUnsupportedError.of(self, "drain")

    async def close(self) -> None:
        """End the remaining calls (cause DRAINED) and release all resources, within 2 s. Idempotent."""

    async def authorize(self, request: CallRequest) -> CallDecision:
        """Ask the gate about a connection.

        Called once per connection at every entry (INVITE, offer, candidate, socket), before a port, a task, a
        peer or a session exists. Backends that take connections implement it. It never raises: a gate that
        fails is a refusal.
        """
        raise VoiceUnsupportedError.of(self, "authorize")

    # -- sessions ---------------------------------------------------------------------------------

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,  # Any: what the backend documents
    ) -> VoiceSession:
        """Open a session, by dialling where the backend can; it may still be CONNECTING.

        Raises DialError if the peer does not answer, CapacityError beyond the limit, InvalidInputError for
        metadata that cannot be used.
        """
        raise VoiceUnsupportedError.of(self, "connect")

    async def accept(self, session: VoiceSession, connection: Any) -> None:  # Any: the transport's own
        """Join a connection that was made outside to a session; also a session of this backend."""
        raise VoiceUnsupportedError.of(self, "accept")

    @abstractmethod
    async def disconnect(self, session: VoiceSession, *, cause: EndCause = EndCause.LOCAL) -> None:
        """End a session and release its ports, sockets and tasks within 2 s. Idempotent."""

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session that has not ended."""
        return None

    def list_sessions(self, room_id: str) -> Sequence[VoiceSession]:
        """Return the sessions of a room that have not ended."""
        return ()

    # -- outbound audio ---------------------------------------------------------------------------

    def send_frame(self, session: VoiceSession, frame: AudioFrame) -> None:
        """Put one frame of `frame_ms` in `output_format` on the wire now (frame_clock "engine").

        A sample handed over counts as heard `output_latency_ms` later, unless `flush` takes it back.
        """
        raise VoiceUnsupportedError.of(self, "send_frame")

    def set_source(self, session: VoiceSession, source: FrameSource | None) -> None:
        """Pull audio from `source` from now on (frame_clock "backend"); None for silence."""
        raise VoiceUnsupportedError.of(self, "set_source")

    def flush(self, session: VoiceSession) -> Flushed:
        """Drop the samples handed over that are not heard yet, and return how many.

        A local buffer is exact. If the peer buffers, this is an estimate, and "flushed" with the true
        number follows within 300 ms or is not waited for.
        """
        raise VoiceUnsupportedError.of(self, "flush")

    def output_latency_ms(self, session: VoiceSession) -> float:
        """Return how long after its handing over a sample is heard, now.

        Counted is what the peer and the device hold, not the network.
        """
        return 0.0

    async def send_audio(self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]) -> None:
        """Play audio without an engine.

        An iterator is paced: the call returns when the last sample was heard, or was cancelled. `bytes`, in
        `output_format`, are one piece, queued. Raises VoiceSessionEndedError, AudioFormatError.
        """
        raise VoiceUnsupportedError.of(self, "send_audio")

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Stop the audio of `send_audio`; return whether any was playing."""
        raise VoiceUnsupportedError.of(self, "cancel_audio")

    # -- calls ------------------------------------------------------------------------------------

    def set_input_muted(self, session: VoiceSession, muted: bool) -> None:
        """Drop the peer's audio before any stage, and stop both timelines of the echo canceller together."""
        raise VoiceUnsupportedError.of(self, "set_input_muted")

    def set_input_gated(self, session: VoiceSession, gated: bool) -> None:
        """Have the peer's audio analysed and not forwarded."""
        raise VoiceUnsupportedError.of(self, "set_input_gated")

    async def send_dtmf(self, session: VoiceSession, digits: str, duration_ms: int = 160) -> None:
        """Send digits (0 to 9, `*`, `#`, A to D), each as long, and return after the last (DTMF_SIGNALING).

        Raises InvalidInputError for other characters, or a duration not from 1 to 10,000 ms. The engine
        pauses speech during it.
        """
        raise VoiceUnsupportedError.of(self, "send_dtmf")

    async def set_hold(self, session: VoiceSession, held: bool) -> None:
        """Hold the peer by signalling, or no longer: the session is PAUSED, or ACTIVE (HOLD)."""
        raise VoiceUnsupportedError.of(self, "set_hold")

    async def transfer(self, session: VoiceSession, to: str, *, replaces: VoiceSession | None = None) -> None:
        """Hand the peer over to an address (TRANSFER), or to a consultation's peer (ATTENDED_TRANSFER).

        Returns when the peer took it: the session has ended as TRANSFERRED. Raises with the call still up.
        """
        raise VoiceUnsupportedError.of(self, "transfer")

    async def send_message(self, session: VoiceSession, message: Mapping[str, Any]) -> None:  # Any: JSON
        """Send a JSON object to the client, 2 s behind at most (MESSAGES)."""
        raise VoiceUnsupportedError.of(self, "send_message")

    async def send_transcription(self, session: VoiceSession, text: str, role: str = "user") -> None:
        """Show text to the client, if it can; roles are "user", "assistant", "assistant_interim", or a
        speaker.

        Without a client to show it, nothing: by default.
        """

    def stats(self, session: VoiceSession) -> Mapping[str, float]:
        """Return the session's counters: "packets_lost", "jitter_ms", "dropped_frames" ..."""
        return {}

    def set_trace_emitter(self, emitter: Callable[[ProtocolTrace], None] | None) -> None:
        """Hand each message of the protocol to `emitter`, until it is None. By default there are none."""

    # -- events -----------------------------------------------------------------------------------

    @cached_property
    def _callbacks(self) -> BackendCallbacks:
        return BackendCallbacks(type(self).__name__)

    def emit(self, event: str, session: VoiceSession, *payload: Any) -> None:  # Any: see the table
        """Report an event to its callbacks, in the order of their registration.

        On any thread for "audio", whose callbacks run there; the callbacks of all others run on the home
        loop, and so does every coroutine. A callback that raises is logged, and keeps the event from no
        other. Raises VoiceError on a thread without a loop while the home loop is not known.
        """
        self._callbacks.emit(event, session, payload)

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Append a callback for "audio"."""
        self._callbacks.on("audio", callback)

    def on_audio_played(self, callback: AudioReceivedCallback) -> None:
        """Append a callback for "audio_played"."""
        self._callbacks.on("audio_played", callback)

    def on_session_ready(self, callback: SessionReadyCallback) -> None:
        """Append a callback for "ready"."""
        self._callbacks.on("ready", callback)

    def on_client_disconnected(self, callback: SessionReadyCallback) -> None:
        """Append a callback for "client_disconnected"."""
        self._callbacks.on("client_disconnected", callback)

    def on_barge_in(self, callback: BargeInCallback) -> None:
        """Append a callback for "barge_in"."""
        self._callbacks.on("barge_in", callback)

    def on_speaker_change(self, callback: _Listener[DiarizationResult]) -> None:
        """Append a callback for "speaker_change"."""
        self._callbacks.on("speaker_change", callback)

    def on_dtmf_received(self, callback: _Listener[DTMFEvent]) -> None:
        """Append a callback for "dtmf"."""
        self._callbacks.on("dtmf", callback)

    def on_flushed(self, callback: _Listener[int]) -> None:
        """Append a callback for "flushed"."""
        self._callbacks.on("flushed", callback)

    def on_hold(self, callback: _Listener[bool]) -> None:
        """Append a callback for "hold"."""
        self._callbacks.on("hold", callback)

    def on_transfer(self, callback: _Listener[str]) -> None:
        """Append a callback for "transfer"."""
        self._callbacks.on("transfer", callback)

    def on_message(self, callback: _Listener[dict[str, Any]]) -> None:  # Any: JSON
        """Append a callback for "message"."""
        self._callbacks.on("message", callback)
