"""Spans and the names of their attributes."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import StrEnum, unique
from typing import Any

from roomkit._dataclasses import dataclass
from roomkit.models.base import new_id, utcnow

__all__ = ["Attr", "Span", "SpanKind"]


@unique
class SpanKind(StrEnum):
    """What a span measures."""

    PIPELINE_INBOUND = "pipeline.inbound"
    PIPELINE_OUTBOUND = "pipeline.outbound"
    STT_TRANSCRIBE = "stt.transcribe"
    STT_STREAM = "stt.stream"
    TTS_SYNTHESIZE = "tts.synthesize"
    LLM_GENERATE = "llm.generate"
    LLM_TOOL_CALL = "llm.tool_call"
    TURN_WAIT = "turn.wait"
    TURN_SERVE = "turn.serve"
    REALTIME_SESSION = "realtime.session"
    REALTIME_TURN = "realtime.turn"
    REALTIME_TOOL_CALL = "realtime.tool_call"
    HOOK_SYNC = "hook.sync"
    HOOK_ASYNC = "hook.async"
    INBOUND_PIPELINE = "framework.inbound"
    ROUTE = "framework.route"
    BROADCAST = "framework.broadcast"
    DELIVERY = "framework.delivery"
    VOICE_SESSION = "voice.session"
    PIPELINE_SPEECH_SEGMENT = "pipeline.speech_segment"
    STORE_QUERY = "store.query"
    BACKEND_CONNECT = "backend.connect"
    CUSTOM = "custom"


class Attr:
    """Well-known attribute keys."""

    PROVIDER = "provider"
    MODEL = "model"
    ROOM_ID = "room_id"
    SESSION_ID = "session_id"
    TRACE_ID = "trace_id"
    CHANNEL_ID = "channel_id"
    TTFB_MS = "ttfb_ms"
    DURATION_MS = "duration_ms"
    STT_TEXT = "stt.text"
    STT_TEXT_LENGTH = "stt.text_length"
    STT_CONFIDENCE = "stt.confidence"
    STT_IS_FINAL = "stt.is_final"
    STT_MODE = "stt.mode"
    TTS_VOICE = "tts.voice"
    TTS_CHAR_COUNT = "tts.char_count"
    TTS_TEXT_LENGTH = "tts.text_length"
    LLM_INPUT_TOKENS = "llm.input_tokens"
    LLM_OUTPUT_TOKENS = "llm.output_tokens"
    LLM_CACHE_READ_TOKENS = "llm.cache_read_tokens"
    LLM_CACHE_CREATION_TOKENS = "llm.cache_creation_tokens"
    LLM_REASONING_TOKENS = "llm.reasoning_tokens"
    LLM_TOOL_COUNT = "llm.tool_count"
    LLM_TOOL_NAME = "llm.tool_name"
    LLM_TOOL_CALL_ID = "llm.tool_call_id"
    LLM_STREAMING = "llm.streaming"
    TURN_ID = "turn.id"
    TURN_OUTCOME = "turn.outcome"
    HOOK_NAME = "hook.name"
    HOOK_TRIGGER = "hook.trigger"
    HOOK_RESULT = "hook.result"
    PIPELINE_FRAME_COUNT = "pipeline.frame_count"
    PIPELINE_BYTES_PROCESSED = "pipeline.bytes_processed"
    PIPELINE_STAGES = "pipeline.stages"
    PIPELINE_FRAMES = "pipeline.frames"
    REALTIME_PROVIDER = "realtime.provider"
    REALTIME_TOOL_NAME = "realtime.tool_name"
    DELIVERY_CHANNEL_TYPE = "delivery.channel_type"
    DELIVERY_RECIPIENT = "delivery.recipient"
    DELIVERY_SUCCESS = "delivery.success"
    DELIVERY_ERROR = "delivery.error"
    DELIVERY_MESSAGE_ID = "delivery.message_id"
    STORE_OPERATION = "store.operation"
    STORE_TABLE = "store.table"
    BACKEND_TYPE = "backend.type"


@dataclass(slots=True)
class Span:
    """One measured piece of work."""

    name: str
    kind: SpanKind = SpanKind.CUSTOM
    id: str = field(default_factory=lambda: new_id()[:16])
    parent_id: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    start_time: datetime = field(default_factory=utcnow)
    end_time: datetime | None = None
    status: str = "ok"
    error_message: str | None = None
    room_id: str | None = None
    session_id: str | None = None
    channel_id: str | None = None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while the span is open."""
        if self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds() * 1000
