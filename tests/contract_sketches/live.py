"""Speech to speech: the model's words are an assistant's, and the room can change how it behaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from roomkit import (
    Access,
    ChannelBinding,
    ChannelDirection,
    ChannelOutput,
    ChannelType,
    EventSource,
    Generation,
    HookTrigger,
    InboundMessage,
    NoHomeError,
    RealtimeConfig,
    RealtimeItem,
    RealtimeSession,
    RealtimeToolCall,
    RealtimeToolCallEvent,
    RealtimeTranscript,
    RealtimeTranscriptionEvent,
    RealtimeVoiceProvider,
    RoomContext,
    RoomEvent,
    TextContent,
    VoiceSession,
    text_of,
)
from roomkit.abc import Channel
from roomkit.abc.services import Services


class ModelSession(RealtimeSession):
    """A conversation with a model that a test plays."""

    def __init__(self, config: RealtimeConfig) -> None:
        self.configs = [config]  # bound: a test
        self.texts: list[tuple[str, str, bool]] = []  # bound: a test
        self.results: dict[str, str] = {}  # bound: a test
        self._items: asyncio.Queue[RealtimeItem | None] = asyncio.Queue()  # bound: a test

    def brings(self, *items: RealtimeItem) -> None:
        """Have the vendor say this."""
        for item in items:
            self._items.put_nowait(item)

    async def __aiter__(self) -> AsyncIterator[RealtimeItem]:
        while (item := await self._items.get()) is not None:
            yield item

    async def aclose(self) -> None:
        self._items.put_nowait(None)

    def push_audio(self, pcm: bytes) -> None:
        """Nothing hears it."""

    async def inject_text(self, text: str, *, role: str = "user", respond: bool = True) -> None:
        self.texts.append((role, text, respond))

    async def say(self, text: str) -> None:
        self.texts.append(("assistant", text, True))

    async def submit_tool_results(self, results: Mapping[str, str], *, respond: bool = True) -> None:
        self.results.update(results)

    async def truncate(self, item_id: str, played_ms: float) -> None:
        """Nothing is played."""

    async def interrupt(self) -> None:
        self.texts.append(("interrupt", "", False))

    async def update(self, config: RealtimeConfig) -> bool:
        self.configs.append(config)
        return True


class Model(RealtimeVoiceProvider):
    """Opens sessions."""

    def __init__(self) -> None:
        self.sessions: list[ModelSession] = []  # bound: a test

    @property
    def name(self) -> str:
        return "model"

    async def open(self, session: VoiceSession, config: RealtimeConfig) -> RealtimeSession:
        self.sessions.append(ModelSession(config))
        return self.sessions[-1]


class LiveChannel(Channel):
    """Calls that a model hears and answers by itself; the timeline has what both said."""

    channel_type = ChannelType.REALTIME_VOICE
    opens_sessions = True
    home_grace = 30.0

    def __init__(self, channel_id: str, provider: RealtimeVoiceProvider) -> None:
        super().__init__(channel_id)
        self._provider = provider
        self._live: dict[str, tuple[VoiceSession, RealtimeSession]] = {}  # bound: the calls

    async def join(self, session: VoiceSession, binding: ChannelBinding) -> None:
        """Begin a call. Raises HomeElsewhereError if another worker has the room's."""
        room_id = session.room_id
        await self._own.homes.take(room_id)
        model = await self._provider.open(session, _config(binding))
        self._live[room_id] = session, model
        self._own.tasks.serve(self._listen(session, model), name=f"conversation in {room_id}")

    async def _listen(self, session: VoiceSession, model: RealtimeSession) -> None:
        async for item in model:
            if isinstance(item, RealtimeTranscript) and item.is_final:
                await self._write_down(session, item)
            elif isinstance(item, RealtimeToolCall) and not item.cancelled:
                self._own.tasks.spawn(self._use_tool(session, model, item), name=f"tool {item.name}")

    async def _write_down(self, session: VoiceSession, item: RealtimeTranscript) -> None:
        """Commit the words; no agent of the room is asked, because the model answers itself."""
        event = RealtimeTranscriptionEvent(session, item.text, item.role, is_final=True, item_id=item.item_id)
        said = await self._own.turns.run_gate(
            HookTrigger.ON_TRANSCRIPTION,
            event,
            room_id=session.room_id,
            direction=ChannelDirection.INBOUND if item.role == "user" else ChannelDirection.OUTBOUND,
        )
        if not said.allowed:
            return
        content = TextContent(body=said.payload.text)
        if item.role == "user":
            message = InboundMessage(
                channel_id=self.channel_id,
                sender_id=session.participant_id,
                content=content,
                addressed_to=(),
                idempotency_key=item.item_id,
                session=session,
            )
            await self._own.inbox.receive(message, room_id=session.room_id)
            return
        source = EventSource(
            channel_id=self.channel_id, channel_type=self.channel_type, direction=ChannelDirection.OUTBOUND
        )
        words = RoomEvent(
            room_id=session.room_id,
            source=source,
            content=content,
            addressed_to=(),
            generation=Generation(provider=self._provider.name, finish_reason="stop"),
            idempotency_key=item.item_id,
        )
        await self._own.rooms.post(session.room_id, words)

    async def _use_tool(self, session: VoiceSession, model: RealtimeSession, call: RealtimeToolCall) -> None:
        asked = RealtimeToolCallEvent(session, call.call_id, call.name, call.arguments)
        answer = await self._own.turns.run_gate(
            HookTrigger.ON_REALTIME_TOOL_CALL, asked, room_id=session.room_id
        )
        result = answer.payload.result if answer.allowed else f"refused: {answer.reason}"
        await model.submit_tool_results({call.call_id: str(result)})

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Give the model the messages written in the room; it answers people only."""
        live = self._live.get(binding.room_id)
        if live is None:
            raise NoHomeError(f"there is no call in room {binding.room_id!r}")
        is_person = event.generation is None
        role = "user" if is_person else "assistant"
        await live[1].inject_text(text_of(event.content), role=role, respond=is_person)
        return ChannelOutput.empty()

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Change how the model behaves, or end its conversation."""
        live = self._live.get(room_id)
        if live is None:
            return
        if binding.access is not Access.NONE:
            await live[1].update(_config(binding))
            return
        del self._live[room_id]
        await live[1].aclose()
        await self._own.homes.leave(room_id)

    async def close(self) -> None:
        for _, model in self._live.values():
            await model.aclose()
        await self._provider.close()

    @property
    def _own(self) -> Services:
        assert self.services is not None
        return self.services


def _config(binding: ChannelBinding) -> RealtimeConfig:
    said: Mapping[str, Any] = binding.metadata
    return RealtimeConfig(system_prompt=said.get("system_prompt"), voice=said.get("voice"))
