"""The vocabularies. Every enum is a `StrEnum`: its JSON form is its value."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum, unique

from roomkit.models.vocabulary import OpenVocabulary, Vocabulary, about

__all__ = [
    "Access",
    "AgentResponsePolicy",
    "AutoAttach",
    "ChannelCategory",
    "ChannelDirection",
    "ChannelMediaType",
    "ChannelType",
    "ConsentState",
    "DeleteType",
    "DeliveryMode",
    "DeliveryState",
    "DoubleText",
    "EphemeralEventType",
    "EventStatus",
    "EventType",
    "HookExecution",
    "HookTrigger",
    "IdentificationStatus",
    "LengthPolicy",
    "MediaForm",
    "ParticipantRole",
    "ParticipantStatus",
    "ReceiptState",
    "RoomStatus",
    "SourceStatus",
    "TaskStatus",
    "Visibility",
]


@unique
class ChannelType(OpenVocabulary):
    """What kind of channel an event came from or goes to; plugins declare more."""

    SMS = "sms"
    MMS = "mms"
    RCS = "rcs"
    EMAIL = "email"
    WHATSAPP = "whatsapp"
    WHATSAPP_PERSONAL = "whatsapp_personal"
    WEBSOCKET = "websocket"
    AI = "ai"
    VOICE = "voice"
    REALTIME_VOICE = "realtime_voice"
    PUSH = "push"
    MESSENGER = "messenger"
    TELEGRAM = "telegram"
    TEAMS = "teams"
    WEBHOOK = "webhook"
    SYSTEM = "system"


_KIN: dict[str, str] = {ChannelType.MMS: ChannelType.SMS}


def is_one_of(channel_type: str, kinds: Collection[str]) -> bool:
    """Return whether filters for `kinds` let a type through: itself or its kin, as SMS for MMS."""
    if channel_type in kinds:
        return True
    kin = _KIN.get(channel_type) or about(ChannelType, channel_type).get("kin")
    return isinstance(kin, str) and is_one_of(kin, kinds)


@unique
class ChannelCategory(Vocabulary):
    """Whether a channel carries events outside or answers them."""

    TRANSPORT = "transport"
    INTELLIGENCE = "intelligence"


@unique
class ChannelDirection(Vocabulary):
    """Of an event: where it came from. Of a binding: which ways events may pass."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BIDIRECTIONAL = "bidirectional"


@unique
class ChannelMediaType(Vocabulary):
    """The content kinds a channel can carry natively; others are transcoded for it."""

    TEXT = "text"
    RICH = "rich"
    MEDIA = "media"
    AUDIO = "audio"
    VIDEO = "video"
    LOCATION = "location"
    TEMPLATE = "template"
    CUSTOM = "custom"


@unique
class EventType(OpenVocabulary):
    """What a timeline entry is."""

    MESSAGE = "message"
    SYSTEM = "system"
    TYPING = "typing"
    READ_RECEIPT = "read_receipt"
    DELIVERY_RECEIPT = "delivery_receipt"
    PRESENCE = "presence"
    REACTION = "reaction"
    EDIT = "edit"
    DELETE = "delete"
    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    PARTICIPANT_IDENTIFIED = "participant_identified"
    CHANNEL_ATTACHED = "channel_attached"
    CHANNEL_DETACHED = "channel_detached"
    CHANNEL_MUTED = "channel_muted"
    CHANNEL_UNMUTED = "channel_unmuted"
    CHANNEL_UPDATED = "channel_updated"
    TASK_CREATED = "task_created"
    TASK_UPDATED = "task_updated"
    TASK_DELEGATED = "task_delegated"
    TASK_COMPLETED = "task_completed"
    OBSERVATION = "observation"
    DTMF = "dtmf"
    RECORDING_STARTED = "recording_started"
    RECORDING_STOPPED = "recording_stopped"
    CONSENT = "consent"


@unique
class ConsentState(Vocabulary):
    """Whether a person agreed to be written to."""

    GRANTED = "granted"
    REVOKED = "revoked"


@unique
class DeleteType(Vocabulary):
    """By whose authority an event is deleted."""

    SENDER = "sender"
    SYSTEM = "system"
    ADMIN = "admin"


@unique
class EventStatus(Vocabulary):
    """PENDING before the commit; DELIVERED (accepted into the timeline) or BLOCKED after it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    BLOCKED = "blocked"


@unique
class DeliveryState(Vocabulary):
    """How one delivery of one event to one binding ended, or that it has not yet."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


@unique
class ReceiptState(Vocabulary):
    """How far a sent message has come, by the vendor's receipts.

    UNKNOWN, QUEUED, SENDING, SENT, PARTIAL, DELIVERED and READ are steps in this order; PARTIAL means
    that only a part of the message arrived. FAILED, UNDELIVERED, EXPIRED and CANCELED are outcomes without
    success. UNKNOWN is a vendor's word that means none of these, or a state of a newer version.
    """

    UNKNOWN = "unknown"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTIAL = "partial"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    EXPIRED = "expired"
    CANCELED = "canceled"

    @property
    def is_failure(self) -> bool:
        """Whether it says that the message did not arrive."""
        return self in _OUTCOMES

    def follows(self, before: ReceiptState | None) -> bool:
        """Return whether a message that stood at `before` moves on to this state.

        Receipts come late, twice and out of order, so that there is one order of all states, and a message
        stands at the highest it was reported in, in any order of reports: UNKNOWN, QUEUED, SENDING, SENT,
        PARTIAL, EXPIRED, UNDELIVERED, DELIVERED, CANCELED, FAILED, READ. Vendors report EXPIRED and
        UNDELIVERED too early; FAILED and CANCELED are final unless the message was read. A provider
        whose vendor reports bounces after deliveries names them FAILED.
        """
        return before is None or _REACHED[self] > _REACHED[before]

    @classmethod
    def of_word(cls, word: str) -> ReceiptState:
        """Return what a vendor's word means, whatever its case; UNKNOWN for one that is not known.

        A provider whose vendor means something else by a word puts the state's own name into
        `DeliveryStatus.status`, and the word into `raw`.
        """
        return _STATES.get(word.strip().lower(), cls.UNKNOWN)

    @classmethod
    def of_parts(cls, states: Iterable[ReceiptState | None]) -> ReceiptState | None:
        """Return the state of a message from those of its parts; None is a part without a receipt.

        The lowest step; None while a part has no receipt. PARTIAL if some parts, but not all, have an
        outcome without success; if all have, the first of FAILED, UNDELIVERED, EXPIRED, CANCELED among them.
        """
        found = set(states)
        outcomes = found & _OUTCOMES.keys()
        if outcomes:
            return cls.PARTIAL if len(outcomes) < len(found) else min(outcomes, key=_OUTCOMES.__getitem__)
        if not found or None in found:
            return None
        return min((state for state in found if state is not None), key=_REACHED.__getitem__)


_WORDS = {
    ReceiptState.QUEUED: "queued accepted scheduled submission processed held_for_quality_assessment",
    ReceiptState.SENDING: "sending deferred failedattempt",
    ReceiptState.SENT: "sent dispatched delivery_unconfirmed",
    ReceiptState.PARTIAL: "partial partially_delivered",
    ReceiptState.DELIVERED: "delivered",
    ReceiptState.READ: "read seen played open opened click clicked watermark",
    ReceiptState.FAILED: "failed sending_failed aborted rejected dropped suppress suppressed",
    ReceiptState.UNDELIVERED: "undelivered delivery_failed bounce bounced error",
    ReceiptState.EXPIRED: "expired",
    ReceiptState.CANCELED: "canceled cancelled deleted",
}
_STATES = {word: state for state, words in _WORDS.items() for word in words.split()}
# A message is as far as the furthest of its receipts, in this order.
_REACHED: dict[ReceiptState, int] = {
    state: place
    for place, state in enumerate(
        (
            ReceiptState.UNKNOWN,
            ReceiptState.QUEUED,
            ReceiptState.SENDING,
            ReceiptState.SENT,
            ReceiptState.PARTIAL,
            ReceiptState.EXPIRED,
            ReceiptState.UNDELIVERED,
            ReceiptState.DELIVERED,
            ReceiptState.CANCELED,
            ReceiptState.FAILED,
            ReceiptState.READ,
        )
    )
}
_OUTCOMES: dict[ReceiptState | None, int] = {
    state: place
    for place, state in enumerate(
        (ReceiptState.FAILED, ReceiptState.UNDELIVERED, ReceiptState.EXPIRED, ReceiptState.CANCELED)
    )
}


@unique
class Access(Vocabulary):
    """What a binding permits: read is receiving the room's events, write is adding to them."""

    READ_WRITE = "read_write"
    READ_ONLY = "read_only"
    WRITE_ONLY = "write_only"
    NONE = "none"

    @property
    def can_read(self) -> bool:
        """Whether the channel receives the room's events."""
        return self is Access.READ_WRITE or self is Access.READ_ONLY

    @property
    def can_write(self) -> bool:
        """Whether the channel may add events to the room."""
        return self is Access.READ_WRITE or self is Access.WRITE_ONLY


@unique
class DoubleText(Vocabulary):
    """What happens to messages that come while an agent is at work on an earlier one.

    QUEUE answers each in turn; INTERRUPT cancels the turn and restarts with both; FOLD waits a
    moment and answers a burst once; STEER hands them to the running tool loop if they come from
    the person it works for, and answers others in turn.
    """

    QUEUE = "queue"
    INTERRUPT = "interrupt"
    FOLD = "fold"
    STEER = "steer"


@unique
class LengthPolicy(Vocabulary):
    """What happens to text longer than the channel's `max_length`."""

    SPLIT = "split"
    TRUNCATE = "truncate"
    ERROR = "error"


@unique
class AgentResponsePolicy(Vocabulary):
    """Whether agents answer other agents unasked.

    AGENT_CHAIN: every event is put to every agent that may see it, up to the chain depth.
    ADDRESSED_ONLY: an agent's event is put to another agent only when it is addressed to it.
    """

    AGENT_CHAIN = "agent_chain"
    ADDRESSED_ONLY = "addressed_only"


@unique
class AutoAttach(Vocabulary):
    """Whether a message attaches the channel that it comes by to a room that it was routed to.

    KNOWN: the transports of a person whom the room knows, by their address or identity. ALL: any sender's.
    NONE: only `attach_channel` does. A room that is named, by the caller, the adapter or a session, is
    attached to except with NONE; one that the caller names, always.
    """

    NONE = "none"
    KNOWN = "known"
    ALL = "all"


class Visibility(StrEnum):
    """The keywords of the visibility vocabulary; channel ids, alone or comma-separated, are the rest."""

    ALL = "all"
    NONE = "none"
    TRANSPORT = "transport"
    INTELLIGENCE = "intelligence"
    INTERNAL = "internal"


@unique
class IdentificationStatus(Vocabulary):
    """How far a sender is known."""

    IDENTIFIED = "identified"
    PENDING = "pending"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    CHALLENGE_SENT = "challenge_sent"
    REJECTED = "rejected"


@unique
class ParticipantRole(Vocabulary):
    """What a participant is to the room; tool policies and moderation go by it."""

    OWNER = "owner"
    AGENT = "agent"
    MEMBER = "member"
    OBSERVER = "observer"
    BOT = "bot"


@unique
class ParticipantStatus(Vocabulary):
    """Whether a participant is in the room."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    LEFT = "left"
    BANNED = "banned"


@unique
class TaskStatus(Vocabulary):
    """The life of a task."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@unique
class RoomStatus(Vocabulary):
    """The life of a room: CLOSED and ARCHIVED accept nothing more.

    MOVING is open, too: while the room is about to be merged or split, work under way goes on, and new
    messages are refused for some seconds.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    MOVING = "moving"
    CLOSED = "closed"
    ARCHIVED = "archived"

    @property
    def is_open(self) -> bool:
        """Whether the timeline may still grow."""
        return self is RoomStatus.ACTIVE or self is RoomStatus.PAUSED or self is RoomStatus.MOVING


@unique
class MediaForm(Vocabulary):
    """How a channel gets the files of an event that the kit keeps.

    `URL` is a signed URL, valid for an hour; where none can be made, as bytes. `BYTES` is a `data:` URL,
    `TEXT` a line of text, `REFERENCE` the `media:` URL as it is stored, for channels that read it themselves.
    """

    URL = "url"
    BYTES = "bytes"
    TEXT = "text"
    REFERENCE = "reference"


@unique
class DeliveryMode(Vocabulary):
    """How a channel with several recipients hands an event to them."""

    BROADCAST = "broadcast"
    DIRECT = "direct"
    ROUND_ROBIN = "round_robin"


@unique
class HookExecution(Vocabulary):
    """SYNC may block or rewrite where the trigger is a gate; ASYNC only observes."""

    SYNC = "sync"
    ASYNC = "async"


@unique
class HookTrigger(OpenVocabulary):
    """The points at which user code runs. `roomkit.models.hook.GATES` lists those that can block."""

    BEFORE_BROADCAST = "before_broadcast"
    AFTER_BROADCAST = "after_broadcast"
    ON_ROOM_CREATED = "on_room_created"
    ON_ROOM_PAUSED = "on_room_paused"
    ON_ROOM_CLOSED = "on_room_closed"
    ON_ROOMS_MERGED = "on_rooms_merged"
    ON_ROOM_SPLIT = "on_room_split"
    ON_CHANNEL_ATTACHED = "on_channel_attached"
    ON_CHANNEL_DETACHED = "on_channel_detached"
    ON_CHANNEL_MUTED = "on_channel_muted"
    ON_CHANNEL_UNMUTED = "on_channel_unmuted"
    ON_IDENTITY_AMBIGUOUS = "on_identity_ambiguous"
    ON_IDENTITY_UNKNOWN = "on_identity_unknown"
    ON_PARTICIPANT_IDENTIFIED = "on_participant_identified"
    ON_TASK_CREATED = "on_task_created"
    ON_TASK_UPDATED = "on_task_updated"
    ON_OBSERVATION = "on_observation"
    ON_DELIVERY_STATUS = "on_delivery_status"
    ON_ERROR = "on_error"
    ON_INVOKE = "on_invoke"
    ON_SESSION_STARTED = "on_session_started"
    ON_PROTOCOL_TRACE = "on_protocol_trace"
    ON_AI_THINKING = "on_ai_thinking"
    BEFORE_TOOL_USE = "before_tool_use"
    ON_TOOL_CALL = "on_tool_call"
    ON_PHASE_TRANSITION = "on_phase_transition"
    ON_HANDOFF = "on_handoff"
    ON_HANDOFF_REJECTED = "on_handoff_rejected"
    ON_TASK_DELEGATED = "on_task_delegated"
    ON_TASK_COMPLETED = "on_task_completed"
    ON_SPEECH_START = "on_speech_start"
    ON_SPEECH_END = "on_speech_end"
    ON_TRANSCRIPTION = "on_transcription"
    ON_PARTIAL_TRANSCRIPTION = "on_partial_transcription"
    ON_VAD_SILENCE = "on_vad_silence"
    ON_VAD_AUDIO_LEVEL = "on_vad_audio_level"
    ON_INPUT_AUDIO_LEVEL = "on_input_audio_level"
    ON_OUTPUT_AUDIO_LEVEL = "on_output_audio_level"
    BEFORE_TTS = "before_tts"
    AFTER_TTS = "after_tts"
    ON_TTS_CANCELLED = "on_tts_cancelled"
    ON_BARGE_IN = "on_barge_in"
    ON_SPEAKER_CHANGE = "on_speaker_change"
    ON_DTMF = "on_dtmf"
    ON_TURN_COMPLETE = "on_turn_complete"
    ON_TURN_INCOMPLETE = "on_turn_incomplete"
    ON_BACKCHANNEL = "on_backchannel"
    ON_RECORDING_STARTED = "on_recording_started"
    ON_RECORDING_STOPPED = "on_recording_stopped"
    BEFORE_BRIDGE_AUDIO = "before_bridge_audio"
    ON_REALTIME_TOOL_CALL = "on_realtime_tool_call"
    ON_REALTIME_TEXT_INJECTED = "on_realtime_text_injected"


@unique
class EphemeralEventType(OpenVocabulary):
    """Signals that are never stored."""

    TYPING_START = "typing_start"
    TYPING_STOP = "typing_stop"
    PRESENCE_ONLINE = "presence_online"
    PRESENCE_AWAY = "presence_away"
    PRESENCE_OFFLINE = "presence_offline"
    READ_RECEIPT = "read_receipt"
    REACTION = "reaction"
    TOOL_CALL_START = "tool_call_start"
    TOOL_CALL_END = "tool_call_end"
    THINKING_START = "thinking_start"
    THINKING_END = "thinking_end"
    CUSTOM = "custom"


@unique
class SourceStatus(Vocabulary):
    """The state of an event-driven source."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    ERROR = "error"
