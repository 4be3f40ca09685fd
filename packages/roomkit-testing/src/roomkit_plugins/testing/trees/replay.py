"""A room as its timeline says that it was: entry by entry, each judged by the rights of its instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from roomkit.models.content import DeleteContent, EditContent, EventContent, SystemContent, text_of
from roomkit.models.enums import Access, ChannelCategory, EventStatus, EventType, RoomStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID, RoomEvent
from roomkit.models.visibility import admits
from roomkit_plugins.testing.history import Violation
from roomkit_plugins.testing.trees.commands import AGENT
from roomkit_plugins.testing.trees.player import VETO, command_of

__all__ = ["Replay", "Standing", "category_of", "first_text", "label_of", "was_streamed"]


@dataclass(slots=True)
class Standing:
    """What a channel may do in a room."""

    access: Access
    visibility: str
    muted: bool = False

    @property
    def may_write(self) -> bool:
        """Whether it may add to the timeline."""
        return self.access.can_write and not self.muted


@dataclass(slots=True)
class _Message:
    """A message that may be amended."""

    event: RoomEvent
    text: str
    visibility: str
    deleted: bool = False


@dataclass(slots=True)
class Replay:
    """Walks a timeline; `found` are the violations, `planned` the recipients of each event.

    `planned` has the transports only: which agents are asked is for the kit to decide, within `askable`.
    """

    channels: Sequence[str]
    standings: dict[str, Standing] = field(default_factory=dict)
    banned: set[str] = field(default_factory=set)
    status: RoomStatus = RoomStatus.ACTIVE
    messages: dict[str, _Message] = field(default_factory=dict)
    planned: dict[str, set[str]] = field(default_factory=dict)
    askable: set[str] = field(default_factory=set)
    notes: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Each note: its index, its code, the channel or person it is about, and the new value."""
    found: list[Violation] = field(default_factory=list)

    def enter(self, event: RoomEvent) -> None:
        """Go on by one entry."""
        if isinstance(event.content, SystemContent):
            self._note(event, event.content)
            return
        self._judge_source(event)
        if event.status is EventStatus.BLOCKED:
            self._judge_block(event)
            return
        if not was_streamed(event):
            self._judge_right(event)
            self._judge_visibility(event)
        self._amend(event)
        self._plan(event)
        if self.status is RoomStatus.PAUSED:
            self.status = RoomStatus.ACTIVE

    def _wrong(self, kind: str, event: RoomEvent, detail: str) -> None:
        self.found.append(
            Violation(kind, event.source.channel_id, event.id, f"index {event.index}: {detail}")
        )

    # -- notes --------------------------------------------------------------------------------

    def _note(self, event: RoomEvent, content: SystemContent) -> None:
        code, data = str(content.code), content.data
        about = str(data.get("channel_id") or event.source.participant_id or "")
        value = ""
        standing = self.standings.get(about)
        if code == "channel_attached":
            self.standings[about] = Standing(Access(data["access"]), data["visibility"])
        elif code == "channel_detached":
            self.standings.pop(about, None)
        elif code == "participant_banned":
            self.banned.add(about)
        elif code in ("room_closed", "room_closed_by_timer"):
            self.status = RoomStatus.CLOSED
        elif code == "room_paused_by_timer":
            self.status = RoomStatus.PAUSED
        elif standing is not None:
            value = _changed(standing, code, content)
        self.notes.append((event.index, code, about, value))

    # -- messages -------------------------------------------------------------------------

    def _judge_source(self, event: RoomEvent) -> None:
        source = event.source
        if self.status is RoomStatus.CLOSED:
            self._wrong("after_close", event, "the room was closed before")
        is_there = source.channel_id == SYSTEM_CHANNEL_ID or source.channel_id in self.standings
        if not is_there and not was_streamed(event):
            self._wrong("not_attached", event, "its channel was not in the room")
        if source.participant_id in self.banned:
            self._wrong("banned", event, f"{source.participant_id} was banned before")

    def _judge_block(self, event: RoomEvent) -> None:
        standing = self.standings.get(event.source.channel_id)
        command = command_of(event)
        why = event.block_reason
        just = (
            (why == VETO and command is not None and command.vetoed)
            or (why == "source_muted" and standing is not None and standing.muted)
            or (why == "source_read_only" and standing is not None and not standing.access.can_write)
            or why == "event_chain_depth_limit"
        )
        if not just:
            self._wrong("unjust", event, f"it was blocked as {why}")

    def _judge_right(self, event: RoomEvent) -> None:
        command = command_of(event)
        if command is not None and command.vetoed:
            self._wrong("vetoed", event, "a gate had refused it")
        standing = self.standings.get(event.source.channel_id)
        if standing is None or standing.may_write:
            return
        kind = "muted" if standing.muted else "read_only"
        self._wrong(kind, event, "its channel had no right to write")

    def _judge_visibility(self, event: RoomEvent) -> None:
        standing = self.standings.get(event.source.channel_id)
        target = self._target(event)
        caps = [each.visibility for each in (standing, target) if each is not None]
        for channel_id in self.channels:
            kind = category_of(channel_id)
            if admits(event.visibility, channel_id, kind) and not all(
                admits(cap, channel_id, kind) for cap in caps
            ):
                self._wrong("too_visible", event, f"{event.visibility!r} is wider than {caps}")

    def _target(self, event: RoomEvent) -> _Message | None:
        return self.messages.get(getattr(event.content, "target_event_id", ""))

    def _amend(self, event: RoomEvent) -> None:
        content = event.content
        if not isinstance(content, EditContent | DeleteContent):
            if event.type is EventType.MESSAGE:
                self.messages[event.id] = _Message(event, first_text(event), event.visibility)
            return
        target = self._target(event)
        if target is None or target.deleted:
            self._wrong("amends_nothing", event, f"{content.target_event_id} is not a message of the room")
            return
        if event.source.channel_id != SYSTEM_CHANNEL_ID and not _is_author(event, target.event):
            self._wrong("not_author", event, f"{target.event.id} was written by another")
        if isinstance(content, EditContent):
            target.text = text_of(content.new_content)
        else:
            target.deleted = True

    def _plan(self, event: RoomEvent) -> None:
        admitted = {
            channel_id
            for channel_id, standing in self.standings.items()
            if channel_id != event.source.channel_id
            and standing.access.can_read
            and admits(event.visibility, channel_id, category_of(channel_id))
        }
        self.planned[event.id] = admitted - {AGENT}
        if AGENT in admitted and not self.standings[AGENT].muted and event.type is EventType.MESSAGE:
            self.askable.add(event.id)


def category_of(channel_id: str) -> ChannelCategory:
    """Return the category of a channel of a tree."""
    return ChannelCategory.INTELLIGENCE if channel_id == AGENT else ChannelCategory.TRANSPORT


def was_streamed(event: RoomEvent) -> bool:
    """Return whether people saw it before it was committed: it stays, though the agent may say no more."""
    return event.generation is not None and event.generation.stream_id is not None


def first_text(event: RoomEvent) -> str:
    """Return what an event said before it was edited."""
    former = () if event.amendment is None else event.amendment.former_contents
    return text_of(former[0] if former else event.content)


def label_of(event: RoomEvent) -> str | None:
    """Return the label of the command that made an event; None for a note and an agent's answer."""
    command = command_of(event)
    if command is not None:
        return command.label
    return next(_labels(event.content), None)


def _labels(content: EventContent) -> Iterator[str]:
    if isinstance(content, EditContent):
        yield text_of(content.new_content)
    elif isinstance(content, DeleteContent) and content.reason is not None:
        yield content.reason


def _changed(standing: Standing, code: str, content: SystemContent) -> str:
    """Make a change to a channel's standing; return the new value."""
    if code in ("channel_muted", "channel_unmuted"):
        standing.muted = code == "channel_muted"
    elif code == "channel_access_changed":
        standing.access = Access(content.data["access"])
        return str(standing.access)
    elif code == "channel_visibility_changed":
        standing.visibility = str(content.data["visibility"])
        return standing.visibility
    return ""


def _is_author(event: RoomEvent, target: RoomEvent) -> bool:
    person = event.source.participant_id
    return person is not None and person == target.source.participant_id
