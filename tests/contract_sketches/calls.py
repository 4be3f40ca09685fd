"""A voice channel: it speaks answers while they are made, stops for the caller, and knows the heard part."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from roomkit import (
    Access,
    AudioChunk,
    AudioFormat,
    AudioFrame,
    BargeInEvent,
    CallDecision,
    CallRequest,
    ChannelBinding,
    ChannelDirection,
    ChannelOutput,
    ChannelType,
    EndCause,
    HookTrigger,
    InboundMessage,
    NoHomeError,
    RoomContext,
    RoomEvent,
    STTProvider,
    TextContent,
    TranscriptionEvent,
    TranscriptionResult,
    TTSProvider,
    VoiceBackend,
    VoiceCapability,
    VoiceSession,
    VoiceSessionState,
    text_of,
)
from roomkit.abc import Channel, TextStream, text_stream_of
from roomkit.abc.services import Services

RATE = 10
"""Samples of a second. A sample is a character here, so ten of them are spoken in a second."""


class Line(VoiceBackend):
    """A backend whose peer is a test: it hears the played audio, and speaks by `emit`."""

    gate = None
    allow_anonymous = True

    def __init__(self) -> None:
        self._sessions: dict[str, VoiceSession] = {}  # bound: the calls
        self._playing: dict[str, asyncio.Event] = {}  # bound: the calls
        self.heard = ""

    @property
    def name(self) -> str:
        return "line"

    @property
    def capabilities(self) -> VoiceCapability:
        return VoiceCapability.INTERRUPTION | VoiceCapability.BARGE_IN

    async def authorize(self, request: CallRequest) -> CallDecision:
        return CallDecision(accept=True, room_id=request.requested_room_id, participant_id=request.remote)

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> VoiceSession:
        layout = AudioFormat(sample_rate=RATE)
        session = VoiceSession(
            str(uuid4()), room_id, participant_id, channel_id, input_format=layout, output_format=layout
        )
        session.state = VoiceSessionState.ACTIVE
        self._sessions[session.id] = session
        return session

    async def disconnect(self, session: VoiceSession, *, cause: EndCause = EndCause.LOCAL) -> None:
        self._sessions.pop(session.id, None)
        session.end(cause)

    def list_sessions(self, room_id: str) -> Sequence[VoiceSession]:
        return [session for session in self._sessions.values() if session.room_id == room_id]

    async def send_audio(self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]) -> None:
        assert not isinstance(audio, bytes)
        cut = self._playing[session.id] = asyncio.Event()
        try:
            async for chunk in audio:
                for at in range(0, len(chunk.data), 2):
                    await asyncio.sleep(1 / RATE)  # virtual time
                    if cut.is_set():
                        return
                    self.heard += chunk.data[at : at + 2].decode("utf-16-le")
                    self.emit("audio_played", session, AudioFrame(chunk.data[at : at + 2], RATE))
        finally:
            del self._playing[session.id]

    async def cancel_audio(self, session: VoiceSession) -> bool:
        playing = self._playing.get(session.id)
        if playing is not None:
            playing.set()
        return playing is not None


class Speaker(TTSProvider):
    """Makes one sample of each character."""

    async def synthesize_stream(self, text: str, *, voice: str | None = None) -> AsyncIterator[AudioChunk]:
        yield AudioChunk(text.encode("utf-16-le"), RATE)
        yield AudioChunk(b"", RATE, is_final=True)


class Ear(STTProvider):
    """Reads the characters."""

    async def transcribe(self, audio: Any) -> TranscriptionResult:
        return TranscriptionResult(audio.data.decode("utf-16-le"))


@dataclass
class Speech:
    """The speech under way: how much was heard, whom to notify, and whether the caller cut it."""

    tell: Callable[[int], None] = field(default=lambda chars: None)
    heard: int = 0
    is_cut: bool = False


class CallChannel(Channel):
    """Calls: one in a room, on the worker where it came in."""

    channel_type = ChannelType.VOICE
    opens_sessions = True
    delivery_timeout = math.inf
    home_grace = 30.0

    def __init__(
        self, channel_id: str, backend: VoiceBackend, ear: STTProvider, speaker: TTSProvider
    ) -> None:
        super().__init__(channel_id)
        self._backend = backend
        self._ear = ear
        self._speaker = speaker
        self._speech: dict[str, Speech] = {}  # bound: the calls
        self._turns: dict[str, asyncio.Lock] = {}  # bound: the calls

    def bind(self, services: Services) -> None:
        super().bind(services)
        self._backend.on_audio_received(self._on_audio)
        self._backend.on_audio_played(self._on_played)
        self._backend.on_barge_in(self._on_barge_in)
        self._backend.on_client_disconnected(self._on_hang_up)

    async def start(self) -> None:
        await self._backend.start()

    async def close(self) -> None:
        await self._backend.close()

    async def ring(self, request: CallRequest) -> VoiceSession | CallDecision:
        """Take a call, or return why not. Raises HomeElsewhereError if another worker has the room's."""
        decision = await self._backend.authorize(request)
        if not decision.accept or decision.room_id is None:
            return decision
        await self._own.homes.take(decision.room_id)  # before any media
        who = decision.participant_id or request.remote
        return await self._backend.connect(decision.room_id, who, self.channel_id)

    # -- from the caller ------------------------------------------------------------------------

    def _on_audio(self, session: VoiceSession, frame: AudioFrame) -> None:
        self._own.tasks.spawn(self._say(session, frame), name="words of a caller")

    async def _say(self, session: VoiceSession, frame: AudioFrame) -> None:
        heard = TranscriptionEvent(session, (await self._ear.transcribe(frame)).text)
        passed = await self._own.turns.run_gate(
            HookTrigger.ON_TRANSCRIPTION, heard, room_id=session.room_id, direction=ChannelDirection.INBOUND
        )
        if passed.allowed:
            message = InboundMessage(
                channel_id=self.channel_id,
                sender_id=session.participant_id,
                content=TextContent(body=passed.payload.text),
                session=session,
            )
            await self._own.inbox.receive(message, room_id=session.room_id)

    def _on_barge_in(self, session: VoiceSession) -> None:
        self._own.tasks.spawn(self._interrupt(session), name="barge-in")

    async def _interrupt(self, session: VoiceSession) -> None:
        if (speech := self._speech.get(session.id)) is not None:
            speech.is_cut = True
        if await self._backend.cancel_audio(session):
            event = BargeInEvent(session, "", 0.0)
            await self._own.turns.observe(
                HookTrigger.ON_BARGE_IN,
                event,
                room_id=session.room_id,
                direction=ChannelDirection.INBOUND,
            )
        await self._own.turns.interrupt(session.room_id)

    def _on_hang_up(self, session: VoiceSession) -> None:
        self._own.tasks.spawn(self._own.homes.leave(session.room_id), name="end of a call")

    # -- to the caller --------------------------------------------------------------------------

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    @property
    def supports_streaming_delivery(self) -> bool:
        return True

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        speech = Speech()
        await self._play(self._session(binding.room_id), speech, text_of(event.content))
        return ChannelOutput(heard=speech.heard)

    async def deliver_stream(
        self,
        text_stream: TextStream | Any,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
    ) -> ChannelOutput:
        session, stream = self._session(binding.room_id), text_stream_of(text_stream, event)
        speech = Speech(stream.heard)
        async for piece in stream:
            await self._play(session, speech, piece)
        await stream.turn()
        return ChannelOutput.empty()

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        if binding.access is Access.NONE:
            for session in self._backend.list_sessions(room_id):
                await self._backend.disconnect(session)
                await self._own.homes.leave(room_id)

    async def _play(self, session: VoiceSession, speech: Speech, words: str) -> None:
        """Speak words that a gate lets pass, after the speech under way; return when they were heard."""
        async with self._turns.setdefault(session.id, asyncio.Lock()):
            passed = await self._own.turns.run_gate(HookTrigger.BEFORE_TTS, words, room_id=session.room_id)
            if passed.allowed and not speech.is_cut:
                self._speech[session.id] = speech
                await self._backend.send_audio(session, self._speaker.synthesize_stream(passed.payload))

    def _on_played(self, session: VoiceSession, frame: AudioFrame) -> None:
        speech = self._speech[session.id]
        speech.heard += frame.samples
        speech.tell(speech.heard)

    def _session(self, room_id: str) -> VoiceSession:
        sessions = self._backend.list_sessions(room_id)
        if not sessions:
            raise NoHomeError(f"there is no call in room {room_id!r}")
        return sessions[0]

    @property
    def _own(self) -> Services:
        assert self.services is not None
        return self.services
