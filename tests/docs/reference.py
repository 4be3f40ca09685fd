"""Writes the pages of the reference that are made from code.

    python -m tests.docs.reference            write them
    python -m tests.docs.reference --check    only say which are out of date

Facts come from the code; what they are for is said here, and a test compares the two.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from roomkit.abc import errors
from roomkit.abc.errors import ErrorCode, RoomKitError
from roomkit.abc.voice import errors as voice_errors
from roomkit.kernel.runtime.framework_events import FRAMEWORK_EVENTS
from roomkit.models.enums import HookTrigger
from roomkit.models.hook import GATES
from tests.docs.api import api
from tests.docs.configuration import configuration
from tests.docs.contents import contents
from tests.docs.features import features
from tools.source import Tree

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/reference"
API = ROOT / "docs/api"
DECLARING = ("roomkit.models", "roomkit.abc")
NOTE = "<!-- Made by `python -m tests.docs.reference` from the code; do not edit. -->"

TRIGGERS: dict[str, tuple[str, str]] = {
    "before_broadcast": ("`RoomEvent`", "anything is about to be added to a timeline"),
    "after_broadcast": ("`RoomEvent`", "an event's deliveries have ended"),
    "on_room_created": ("`RoomEvent`", "a room was created"),
    "on_room_paused": ("`RoomEvent`", "a room was paused by its timer"),
    "on_room_closed": ("`RoomEvent`", "a room was closed, by call or by its timer"),
    "on_rooms_merged": ("`RoomEvent`", "a room was merged into this one, once; a long one is still moving"),
    "on_room_split": ("`RoomEvent`", "events of the room were moved to another one, once"),
    "on_channel_attached": ("`RoomEvent`", "a channel was attached to a room"),
    "on_channel_detached": ("`RoomEvent`", "a channel was detached from a room"),
    "on_channel_muted": ("`RoomEvent`", "a channel was muted"),
    "on_channel_unmuted": ("`RoomEvent`", "a channel was unmuted"),
    "on_identity_ambiguous": ("`RoomEvent`", "a sender may be one of several; `kit.identity_hook` decides"),
    "on_identity_unknown": ("`RoomEvent`", "a sender is unknown; `kit.identity_hook` decides"),
    "on_participant_identified": ("`RoomEvent`", "a participant was tied to an identity"),
    "on_task_created": ("`RoomEvent`", "a hook or an agent left a task, or `kit.add_task` added one"),
    "on_task_updated": ("`RoomEvent`", "`kit.update_task` changed a task"),
    "on_observation": ("`RoomEvent`", "a hook or an agent left an observation"),
    "on_delivery_status": (
        "`DeliveryStatus`",
        "a vendor's receipt came in; without a delivery, `event_id` is None",
    ),
    "on_error": ("`RoomEvent`", "an intelligence failed to answer"),
    "on_invoke": ("`Invoke`", "a vendor waits for the app's answer"),
    "on_session_started": ("`SessionStartedEvent`", "a stranger's message opened a room"),
    "on_protocol_trace": ("`ProtocolTrace`", "a channel exchanged a message with its vendor"),
    "on_ai_thinking": ("`AIThinkingPart`", "a model has thought aloud"),
    "before_tool_use": ("`ToolUse`", "an agent is about to run a tool"),
    "on_tool_call": ("`ToolUse`", "a tool has answered, failed or was refused"),
    "on_phase_transition": ("`PhaseTransition`", "a conversation entered another phase"),
    "on_handoff": ("`Handoff`", "an agent handed the conversation to another, or to a person"),
    "on_handoff_rejected": ("`Handoff`", "a handoff was refused"),
    "on_task_delegated": ("`Task`", "work was given to another agent"),
    "on_task_completed": ("`DelegatedTaskResult`", "a delegated task was completed, failed or was cancelled"),
    "on_speech_start": ("`VoiceSession`", "a person began to speak"),
    "on_speech_end": ("`VoiceSession`", "a person stopped speaking"),
    "on_transcription": ("`TranscriptionEvent`", "speech became text"),
    "on_partial_transcription": ("`PartialTranscriptionEvent`", "speech is becoming text"),
    "on_vad_silence": ("`VADSilenceEvent`", "silence was detected"),
    "on_vad_audio_level": ("`VADAudioLevelEvent`", "the level the voice detector heard"),
    "on_input_audio_level": ("`AudioLevelEvent`", "the level of inbound audio"),
    "on_output_audio_level": ("`AudioLevelEvent`", "the level of outbound audio"),
    "before_tts": ("`str`", "a text is about to be spoken"),
    "after_tts": ("`str`", "a text was spoken"),
    "on_tts_cancelled": ("`TTSCancelledEvent`", "speaking was broken off"),
    "on_barge_in": ("`BargeInEvent`", "a person spoke into the answer"),
    "on_speaker_change": ("`SpeakerChangeEvent`", "another person speaks"),
    "on_dtmf": ("`DTMFDetectedEvent`", "a key was pressed"),
    "on_turn_complete": ("`TurnCompleteEvent`", "a speaker has finished"),
    "on_turn_incomplete": ("`TurnIncompleteEvent`", "a speaker has not finished"),
    "on_backchannel": ("`BackchannelEvent`", "a listener said no more than uh-huh"),
    "on_recording_started": ("`RecordingStartedEvent`", "a recording began"),
    "on_recording_stopped": ("`RecordingStoppedEvent`", "a recording ended"),
    "before_bridge_audio": ("`BridgeAudioEvent`", "sound is about to go from one call to another"),
    "on_realtime_tool_call": ("`RealtimeToolCallEvent`", "a speech-to-speech model calls a tool"),
    "on_realtime_text_injected": ("`RoomEvent`", "a text was put into a speech-to-speech session"),
}

REASONS: dict[str, str] = {
    "rate_limited": "more came by this channel than `inbound_rate_limit` lets through",
    "process_timeout": "what leads up to the commit took longer than `process_timeout`; nothing was stored",
    "room_closed": "the room is closed",
    "room_archived": "the room is archived",
    "channel_detached": "the channel was taken out of the room; `attach_channel` brings it back",
    "room_not_found": "there is no such room, and a signal, a connection or `make_room=False` makes none",
    "parent_event_not_found": "the event replied or reacted to is not in the room, or hidden",
    "channel_not_attached": "the source is not attached to the room",
    "participant_banned": "the sender was banned from the room",
    "participant_removed": "the sender was removed from the room, and has not connected again since",
    "source_detached": "the source that brought it was detached, and had not ended",
    "source_muted": "the channel is muted in the room",
    "source_read_only": "the channel may not write to the room",
    "event_chain_depth_limit": "an answer to an answer to an answer: more than `max_chain_depth`",
    "hook_failed": "a gate raised, or gave no verdict; it was registered to block then",
    "hook_timeout": "a gate was late; it was registered to block then",
    "identity_challenge_sent": "the sender was asked who they are",
    "identity_rejected": "an identity hook rejected the sender without a reason of its own",
    "unknown_sender": "the resolver rejected the sender without a reason of its own",
    "identity_hook_failed": "an identity hook raised or was late: a failing hook admits no one",
    "content_type_mismatch": "the event's type and its content do not belong together",
    "target_event_not_found": "the event to edit or delete is not in the room",
    "target_not_amendable": "the event to edit or delete is no message, or is deleted",
    "not_authorized": "only an owner deletes as ADMIN, and only the host as SYSTEM",
    "identity_required_for_edit": "who wrote the one or the other is not known",
    "not_original_author": "only its author may edit or delete it",
}


def pages() -> dict[Path, Iterator[str]]:
    """Return the lines of every page. They are made when they are read: some pages take seconds."""
    return {
        FOLDER / "hooks.md": _hooks(),
        FOLDER / "framework-events.md": _framework_events(),
        FOLDER / "errors.md": _errors(),
        FOLDER / "inbound-results.md": _reasons(),
        FOLDER / "configuration.md": configuration(),
        FOLDER / "contents.md": contents(),
        ROOT / "docs/features.md": features(),
        **{API / name: lines for name, lines in api().items()},
    }


def written(lines: Iterator[str]) -> str:
    """Return the text of a page."""
    return f"{NOTE}\n\n" + "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fired_by() -> dict[str, list[str]]:
    """Say for each trigger which distributions name it in their code: those fire it."""
    found: dict[str, list[str]] = {trigger: [] for trigger in HookTrigger}
    for distribution in Tree().distributions:
        for module in distribution.modules:
            if module.generated or module.name.startswith(DECLARING) or distribution.short == "testing":
                continue
            if "HookTrigger" not in module.text:  # parsing all modules takes seconds
                continue
            for node in ast.walk(module.syntax):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "HookTrigger"
                ):
                    name = node.attr.lower()
                    if distribution.name not in found[name]:
                        found[name].append(distribution.name)
    return found


def _hooks() -> Iterator[str]:
    fired = fired_by()
    now = [trigger for trigger in HookTrigger if fired[trigger]]
    later = [trigger for trigger in HookTrigger if not fired[trigger]]
    yield "# Hook triggers"
    yield ""
    yield "A *gate* may block or rewrite what it is shown; a hook on any other trigger only observes."
    yield "A hook is `async def (payload, context)`, registered with `@kit.hook(HookTrigger.X)`; a gate"
    yield "returns a `HookResult`. Where the payload is a `RoomEvent` of the framework's own, its content is"
    yield "a `SystemContent` with a stable `code`."
    yield ""
    yield f"## Triggers that fire now: {len(now)}"
    yield ""
    yield from _table(
        ("trigger", "kind", "payload", "when", "fired by"),
        (
            (
                f"`{trigger.name}`",
                _kind(trigger),
                *TRIGGERS[trigger],
                ", ".join(f"`{by}`" for by in fired[trigger]),
            )
            for trigger in now
        ),
    )
    yield ""
    yield f"## Triggers of packages that are not built yet: {len(later)}"
    yield ""
    yield "They can be registered, so that a program is ready for them; nothing fires them today."
    yield ""
    yield from _table(
        ("trigger", "kind", "payload", "when"),
        ((f"`{trigger.name}`", _kind(trigger), *TRIGGERS[trigger]) for trigger in later),
    )


def _kind(trigger: HookTrigger) -> str:
    return "**gate**" if trigger in GATES else "observer"


def _framework_events() -> Iterator[str]:
    yield "# Framework events"
    yield ""
    yield 'Events that the framework publishes: `@kit.on("type")`, or `@kit.on("*")` for all. A handler is'
    yield "`async def (event: FrameworkEvent)`; it gets its events in order and delays no message. The ids"
    yield "are on the event (`room_id`, `channel_id`, `event_id`), the rest is in `event.data`."
    yield "Plugins publish more under names of their own."
    yield ""
    yield from _table(
        ("type", "what happened", "`data`"),
        (_framework_event(kind, about) for kind, about in FRAMEWORK_EVENTS.items()),
    )


def _framework_event(kind: str, about: str) -> tuple[str, str, str]:
    what, _, data = about.partition(": ")
    return f"`{kind}`", what, ", ".join(f"`{name}`" for name in data.split(", ") if name)


def error_classes() -> list[type[RoomKitError]]:
    """List the public errors, in order of their definition."""
    return [
        getattr(module, name)
        for module in (errors, voice_errors)
        for name in module.__all__
        if name != "ErrorCode"
    ]


def _errors() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "Every error RoomKit raises on purpose is a `RoomKitError`; `error.code` is stable,"
    yield "the message says what to do next."
    yield ""
    yield from _table(
        ("error", "`code`", "meaning"),
        (
            (f"`{error.__name__}`", f"`{error.code}`", inspect.getdoc(error).partition("\n")[0].rstrip("."))  # type: ignore[union-attr]
            for error in sorted(error_classes(), key=lambda error: error.__name__)
        ),
    )
    yield ""
    yield "## Error codes of providers"
    yield ""
    yield "`ProviderError.error_code`, and `Delivery.error.code` in the ledger. What is *retryable* is tried"
    yield "again by the binding's retry policy; what is *the provider's fault* counts towards its breaker."
    yield ""
    yield from _table(
        ("`ErrorCode`", "retryable", "the provider's fault"),
        ((f"`{code}`", _yes(code.retryable), _yes(code.blames_provider)) for code in ErrorCode),
    )


def _yes(fact: bool) -> str:
    return "yes" if fact else ""


def reasons_in_code() -> set[str]:
    """Collect the reasons the kernel gives, read from its source as text."""
    found: set[str] = set()
    for module in Tree().core:
        if module.name in (
            "roomkit.kernel.flow.permissions",
            "roomkit.kernel.inbound.drafting",
            "roomkit.kernel.inbound.identity",
            "roomkit.kernel.inbound.pipeline",
        ):
            found |= set(_reasons_of(module.syntax))
        elif module.name in (
            "roomkit.kernel.commit.attempt",
            "roomkit.kernel.commit.hooks",
            "roomkit.kernel.commit.writer",
            "roomkit.kernel.inbound.sources",
        ):
            found |= {each for each in _reasons_of(module.syntax) if each in REASONS}
            found |= {each for each in _constants(module.syntax) if each in REASONS}
    return found | {"process_timeout"}


def _reasons_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Return(value=value) if value is not None:
                yield from _words(value)
            case ast.keyword(arg="reason", value=value):
                yield from _words(value)
            case ast.Call(func=ast.Name(id="Refused"), args=[value]):
                yield from _words(value)
            case ast.Call(func=ast.Attribute(attr="reject"), args=[value]):
                yield from _words(value)
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                yield from _words(value)


def _words(value: ast.AST) -> Iterator[str]:
    """Yield the codes an expression may come to; `room_{status}` stands for both that are not open."""
    if isinstance(value, ast.JoinedStr) and "room_" in ast.unparse(value):
        yield from ("room_closed", "room_archived")
    elif isinstance(value, ast.BoolOp | ast.IfExp):
        for part in ast.iter_child_nodes(value):
            if not isinstance(part, ast.Compare):
                yield from _words(part)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and _is_code(value.value):
        yield value.value


def _is_code(word: str) -> bool:
    return (
        word.isidentifier() and word.islower() and "_" in word and not word.startswith("participant_joined")
    )


def _constants(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _reasons() -> Iterator[str]:
    yield "# Why was a message refused?"
    yield ""
    yield "`InboundResult.reason`, when `blocked` is true. A gate's `HookResult.block(reason)` and an"
    yield "identity hook's `reject(reason)` give their own words instead; these are the framework's."
    yield ""
    yield from _table(("`reason`", "meaning"), ((f"`{reason}`", about) for reason, about in REASONS.items()))


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only say which are out of date."""
    stale = []
    for path, lines in pages().items():
        text = written(lines)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if "--check" not in arguments:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(path)  # noqa: T201 - a command says what it did
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
