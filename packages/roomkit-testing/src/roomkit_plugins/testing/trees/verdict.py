"""The verdict on a played tree: the store's contents against the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from roomkit.abc.store import ConversationStore
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import SystemContent, text_of
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, EventStatus, ParticipantStatus, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.testing.history import Sending, Violation, ledger_violations
from roomkit_plugins.testing.trees.commands import AGENT, CARRIER, KEYED, TALKERS, CommandOutcome, TreeCommand
from roomkit_plugins.testing.trees.course import CommandRun, Story
from roomkit_plugins.testing.trees.ghost import FENCED
from roomkit_plugins.testing.trees.player import answer_to, command_of
from roomkit_plugins.testing.trees.replay import Replay, Standing, first_text, label_of

__all__ = ["judge"]

_CHANNELS = (*TALKERS, CARRIER, AGENT)
_MANY = 1_000_000
_CODES = {
    "mute": "channel_muted",
    "unmute": "channel_unmuted",
    "access": "channel_access_changed",
    "visibility": "channel_visibility_changed",
    "attach": "channel_attached",
    "ban": "participant_banned",
}
"""The notes of commands that always leave one."""


@dataclass(slots=True)
class _Room:
    """A room's contents in the store, and the commands run on it."""

    room: Room
    timeline: Sequence[RoomEvent]
    bindings: Sequence[ChannelBinding]
    people: Mapping[str, ParticipantStatus]
    rows: Sequence[Delivery]
    sendings: Sequence[Sending]
    commands: Mapping[str, TreeCommand]
    """Every command of the tree that is for this room, by label."""
    attempts: Sequence[CommandRun]
    """Those given from outside."""
    outcomes: Mapping[str, CommandOutcome]
    replay: Replay
    by_id: Mapping[str, RoomEvent]
    by_label: Mapping[str, Sequence[RoomEvent]]
    found: list[Violation] = field(default_factory=list)

    def wrong(self, kind: str, event_id: str, detail: str, channel_id: str = "") -> None:
        """Note a violation."""
        self.found.append(Violation(kind, channel_id, event_id, detail))

    def did(self, *codes: str, about: str | None = None) -> bool:
        """Whether the timeline has a note of one of these codes, about that channel or person."""
        return any(code in codes and (about is None or who == about) for _, code, who, _ in self.replay.notes)


async def judge(
    store: ConversationStore,
    story: Story,
    *,
    watched: Collection[str] = (CARRIER,),
    repeats: bool = False,
) -> list[Violation]:
    """Return everything that is wrong at the end of a tree, [] when nothing is.

    `watched` are the channels whose sendings the story has; with `repeats` a worker may have died, and a
    delivery be sent twice under its key. Kinds of violations: of the timeline `lost`, `doubled`, `swapped`,
    `gap`, `stray`, `unjust`; of rights `muted`, `read_only`, `banned`, `not_attached`, `after_close`,
    `vetoed`, `too_visible`, `not_author`, `amends_nothing`, `not_amended`; of changes `unnoted`,
    `not_kept`, `not_deleted`, `remains`; of deliveries `unplanned`, `not_planned`, `twice`, `out_of_order`,
    `failed`, `skipped`, `fenced` and those of `ledger_violations`.
    """
    found: list[Violation] = []  # bound: the violations
    for number, room_id in enumerate(story.tree.room_ids):
        room = await store.get_room(room_id)
        commands = {each.label: each for each in story.tree.walk() if each.room == number}
        deleted = any(command.kind == "delete" for command in commands.values())
        if room is None:
            found += await _remains(store, room_id, deleted)
            continue
        facts = await _read(store, story, number, room, commands)
        for check in _CHECKS:
            check(facts)
        _judge_ledger(facts, watched, repeats)
        found += facts.replay.found
        found += facts.found
    return found


async def _read(
    store: ConversationStore, story: Story, number: int, room: Room, commands: Mapping[str, TreeCommand]
) -> _Room:
    timeline = await store.list_events(room.id, limit=_MANY)
    replay = Replay(_CHANNELS)
    by_label: dict[str, list[RoomEvent]] = {}
    for event in timeline:
        replay.enter(event)
        label = label_of(event)
        if label is not None:
            by_label.setdefault(label, []).append(event)
    return _Room(
        room=room,
        timeline=timeline,
        bindings=await store.list_bindings(room.id),
        people={each.id: each.status for each in await store.list_participants(room.id)},
        rows=await store.list_deliveries(room.id, limit=_MANY),
        sendings=story.sendings.get(room.id, ()),
        commands=commands,
        attempts=[each for each in story.attempts if each.command.room == number],
        outcomes=story.reported,
        replay=replay,
        by_id={event.id: event for event in timeline},
        by_label=by_label,
    )


async def _remains(store: ConversationStore, room_id: str, deleted: bool) -> list[Violation]:
    if not deleted:
        return [Violation("lost", "", "", f"room {room_id} is missing, and no command deleted it")]
    left = [
        *await store.list_events(room_id, limit=1),
        *await store.list_bindings(room_id),
        *await store.list_deliveries(room_id, limit=1),
        *await store.list_timers(room_id),
    ]
    return [Violation("remains", "", "", f"of room {room_id}, which was deleted: {each!r}") for each in left]


# -- the timeline -----------------------------------------------------------------------------


def _judge_indexes(facts: _Room) -> None:
    """Without gaps, and as the room counts them."""
    indexes = [event.index for event in facts.timeline]
    if indexes != list(range(len(indexes))) or facts.room.event_count != len(indexes):
        facts.wrong("gap", "", f"{facts.room.event_count} events by the room's count have indexes {indexes}")


def _judge_labels(facts: _Room) -> None:
    """Nothing of another room, nothing twice, and each answer to a message that asked for it, once."""
    for label, events in facts.by_label.items():
        command = facts.commands.get(label)
        if command is None:
            facts.wrong("stray", events[0].id, f"{label} is not a command to this room")
        elif len(events) > 1 and command.kind in KEYED:
            facts.wrong("doubled", events[1].id, f"{label} is there {len(events)} times")
    answers = Counter(
        first_text(event)
        for event in facts.timeline
        if event.source.channel_id == AGENT and command_of(event) is None and not _was_cut(event)
        if not isinstance(event.content, SystemContent)
    )
    asked = {answer_to(label) for label, command in facts.commands.items() if command.answered}
    for text, number in answers.items():
        if text not in asked:
            facts.wrong("stray", "", f"{text!r} answers nothing of this room", AGENT)
        elif number > 1:
            facts.wrong("doubled", "", f"{text!r} is there {number} times", AGENT)


def _was_cut(event: RoomEvent) -> bool:
    """Return whether an answer was cut: only the part that was seen is stored."""
    return event.generation is not None and event.generation.finish_reason not in (None, "stop")


def _judge_acknowledged(facts: _Room) -> None:
    """Check that acknowledged events are stored."""
    for label in facts.commands:
        outcome = facts.outcomes.get(label)
        if outcome is not None and outcome.event_id is not None and outcome.event_id not in facts.by_id:
            facts.wrong("lost", outcome.event_id, f"{label} was acknowledged, and is not there")


def _judge_order(facts: _Room) -> None:
    """Check that a command begun after another's end comes after it, and a gate's writes before its event."""
    stored = [(each, _index(facts, each.command.label)) for each in facts.attempts]
    for one, other in combinations([(each, index) for each, index in stored if index is not None], 2):
        for (first, before), (second, after) in ((one, other), (other, one)):
            if first.ended is not None and first.ended < second.started and before > after:
                detail = f"{second.command.label} comes before {first.command.label}, which had ended"
                facts.wrong("swapped", facts.timeline[after].id, detail)
    for command in facts.commands.values():
        for child in command.children:
            _judge_child(facts, command, child)


def _judge_child(facts: _Room, command: TreeCommand, child: TreeCommand) -> None:
    outer, inner = _index(facts, command.label), _index(facts, child.label)
    if outer is None or inner is None:
        return
    if (inner < outer) != (child.inside == "gate"):
        detail = f"{child.label} at {inner} is from the {child.inside} of {command.label} at {outer}"
        facts.wrong("swapped", facts.timeline[inner].id, detail)
    parent, event = facts.timeline[outer], facts.timeline[inner]
    if child.inside != "gate" and event.correlation_id != (parent.correlation_id or parent.id):
        facts.wrong("stray", event.id, f"{child.label} is not of the cascade of {command.label}")


def _index(facts: _Room, label: str) -> int | None:
    events = facts.by_label.get(label)
    return None if events is None else events[0].index


def _judge_refusals(facts: _Room) -> None:
    """Check that each missing event was refused for a valid reason."""
    for label, command in facts.commands.items():
        outcome = facts.outcomes.get(label)
        refused = outcome is not None and outcome.reason and outcome.event_id is None
        if outcome is not None and refused and not any(_is_just(facts, command, outcome.reason)):
            facts.wrong("unjust", "", f"{label} ({command.kind}) was refused: {outcome.reason}")


def _is_just(facts: _Room, command: TreeCommand, reason: str) -> Iterator[bool]:
    amending = command.kind in ("edit", "erase", "host_edit", "host_erase")
    if reason in ("room_closed", "RoomClosedError"):
        yield facts.did("room_closed", "room_closed_by_timer")
    elif reason in ("channel_detached", "channel_not_attached", "ChannelNotFoundError"):
        yield facts.did("channel_detached", about=command.channel)
    elif reason == "participant_banned":
        yield facts.did("participant_banned", about=command.person)
    elif reason in ("target_event_not_found", "EventNotFoundError"):
        yield amending and command.elsewhere
        yield amending and any(event.status is EventStatus.BLOCKED for event in facts.timeline)
        # Nor does one amend what its channel cannot see, or could not at that moment.
        yield amending and facts.did("channel_access_changed", about=command.channel)
        yield amending and facts.did("channel_visibility_changed")
    elif reason in ("target_not_amendable", "InvalidInputError"):
        yield amending and any(message.deleted for message in facts.replay.messages.values())
    elif reason in ("not_original_author", "identity_required_for_edit"):
        authors = {each.event.source.participant_id for each in facts.replay.messages.values()}
        yield amending and bool(authors - {command.person})


def _judge_amendments(facts: _Room) -> None:
    """Each message says what its last edit says, and is deleted when a deletion is in the timeline."""
    for message in facts.replay.messages.values():
        event = message.event
        if event.deleted != message.deleted or (not event.deleted and text_of(event.content) != message.text):
            facts.wrong(
                "not_amended", event.id, f"it should say {message.text!r}, deleted: {message.deleted}"
            )


# -- changes ----------------------------------------------------------------------------------


def _judge_changes(facts: _Room) -> None:
    """Check that each change is noted before later commands, and is stored."""
    for attempt in facts.attempts:
        index = _index(facts, attempt.command.label)
        if index is not None:
            _judge_notes(facts, attempt, index)
    _judge_notes(facts, None, len(facts.timeline))
    kept = {each.channel_id: Standing(each.access, each.visibility, each.muted) for each in facts.bindings}
    if kept != facts.replay.standings or facts.room.status is not facts.replay.status:
        facts.wrong(
            "not_kept",
            "",
            f"the store has {facts.room.status} and {kept}, "
            f"the timeline {facts.replay.status} and {facts.replay.standings}",
        )


def _judge_notes(facts: _Room, before: CommandRun | None, index: int) -> None:
    done = Counter(
        _note_of(each.command)
        for each in facts.attempts
        if each.command.kind in _CODES and each.ended is not None
        if each.outcome is not None and not each.outcome.reason
        if before is None or each.ended < before.started
    )
    noted = Counter((code, about, value) for at, code, about, value in facts.replay.notes if at < index)
    for note, number in (done - noted).items():
        if note[0] == _CODES["ban"] and facts.replay.status is RoomStatus.CLOSED:
            continue  # a closed room's timeline grows no more, but no one is readmitted
        facts.wrong("unnoted", "", f"{note} was done {number} times more than the timeline has it by {index}")


def _judge_bans(facts: _Room) -> None:
    """Who was banned stays banned."""
    for attempt in facts.attempts:
        command, outcome = attempt.command, attempt.outcome
        if command.kind != "ban" or outcome is None or outcome.reason:
            continue
        if facts.people.get(command.person) is not ParticipantStatus.BANNED:
            facts.wrong("not_kept", "", f"{command.person} was banned by {command.label}")


def _judge_ends(facts: _Room) -> None:
    """A room that was closed has the note of it, and one that was deleted is not there."""
    done = {each.command.kind for each in facts.attempts if each.outcome is not None and each.outcome.done}
    if "close" in done and not facts.did("room_closed", "room_closed_by_timer"):
        facts.wrong("unnoted", "", "the room was closed")
    if "delete" in done:
        facts.wrong("not_deleted", "", f"room {facts.room.id} was deleted, and is there")


def _note_of(command: TreeCommand) -> tuple[str, str, str]:
    about = command.person if command.kind == "ban" else command.channel
    return _CODES[command.kind], about, command.value


# -- deliveries -------------------------------------------------------------------------------


def _judge_plans(facts: _Room) -> None:
    """Each event has a row for each channel that was to see it when it was committed, and for no other."""
    rows: dict[str, set[str]] = {}
    for row in facts.rows:
        rows.setdefault(row.event_id, set()).add(row.channel_id)
    for event in facts.timeline:
        has = rows.pop(event.id, set())
        planned = facts.replay.planned.get(event.id, set())
        if AGENT in has and event.id not in facts.replay.askable:
            facts.wrong("not_planned", event.id, "it may not be asked", AGENT)
        for channel_id in planned - has:
            facts.wrong("unplanned", event.id, "there is no delivery", channel_id)
        for channel_id in has - planned - {AGENT}:
            facts.wrong("not_planned", event.id, "there is a delivery", channel_id)
    for event_id, channel_ids in rows.items():
        facts.wrong("stray", event_id, f"deliveries to {channel_ids} are of no event of this room")


def _judge_ledger(facts: _Room, watched: Collection[str], repeats: bool) -> None:
    """Every delivery ended, and what its channel was sent is what the ledger has, in order."""
    facts.found += ledger_violations(facts.rows, facts.sendings, carriers=watched)
    for row in facts.rows:
        if row.reason == FENCED:
            facts.wrong("fenced", row.event_id, "a worker ended it that had lost its lease", row.channel_id)
        elif row.channel_id != AGENT and row.state is DeliveryState.FAILED:
            facts.wrong("failed", row.event_id, f"{row.error}", row.channel_id)
        gone = facts.did("channel_detached", about=row.channel_id)
        if row.channel_id in watched and row.state is DeliveryState.SKIPPED and not gone:
            facts.wrong("skipped", row.event_id, f"{row.reason}", row.channel_id)
    for channel_id in watched:
        _judge_sendings(facts, channel_id, repeats)


def _judge_sendings(facts: _Room, channel_id: str, repeats: bool) -> None:
    sent = [each.event_id for each in facts.sendings if each.channel_id == channel_id]
    first = list(dict.fromkeys(sent))
    if len(first) < len(sent) and not repeats:
        twice = [event_id for event_id, number in Counter(sent).items() if number > 1]
        facts.wrong("twice", twice[0], f"it was sent {len(sent) - len(first)} times too often", channel_id)
    indexes = [facts.by_id[event_id].index for event_id in first if event_id in facts.by_id]
    if indexes != sorted(indexes):
        facts.wrong("out_of_order", "", f"it was sent the events {indexes}", channel_id)


_CHECKS: Sequence[Callable[[_Room], None]] = (
    _judge_indexes,
    _judge_labels,
    _judge_acknowledged,
    _judge_order,
    _judge_refusals,
    _judge_amendments,
    _judge_changes,
    _judge_bans,
    _judge_ends,
    _judge_plans,
)
