"""What a model reads of the timeline: events as messages, every kind of content, every speaker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import islice, takewhile
from operator import call, eq, is_
from typing import TYPE_CHECKING
from weakref import ref

from roomkit.models.ai import AIImagePart, AIMessage, AITextPart
from roomkit.models.base import EMPTY
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
    text_of,
)
from roomkit.models.enums import ChannelCategory, ChannelType

if TYPE_CHECKING:
    from roomkit.models.ai import AIPart
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.context import RoomContext
    from roomkit.models.event import EventSource, Heard, RoomEvent

__all__ = ["Transcript", "Transcripts", "parts_of"]

MAX_TRANSCRIPTS = 512
"""Of how many rooms, those that spoke last, an agent keeps the messages that the events became."""
MAX_LABEL = 64
_NO_PEOPLE = (ChannelType.SYSTEM, ChannelType.AI)


class Transcript:
    """Turns events of one room into messages, as one agent (its `binding`) sees them.

    People without a display name are kept apart by their ids when several speak in the events.

    Messages are kept for the room's next turn as long as their events are: the transcript itself keeps
    neither events, participants nor bindings, so that nothing of what the store erases stays here.
    """

    __slots__ = (
        "__weakref__",
        "_agents",
        "_alternates",
        "_bindings",
        "_channel_id",
        "_context",
        "_crowd",
        "_drop",
        "_events",
        "_messages",
        "_names",
        "_participants",
        "_roles",
        "_speakers",
        "_vision",
    )

    def __init__(self, binding: ChannelBinding, context: RoomContext, *, vision: bool) -> None:
        self._channel_id = binding.channel_id
        self._vision = vision
        itself = ref(self)
        forget = partial(_forget, itself)
        self._participants = [ref(one, forget) for one in context.participants]
        self._bindings = [ref(one, forget) for one in context.bindings]
        self._drop = partial(_drop, itself)
        self._agents = {
            one.channel_id for one in context.bindings if one.category is ChannelCategory.INTELLIGENCE
        }
        self._names: dict[tuple[str, str | None], str | None] = {}  # bound: the speakers of the events
        self._context: RoomContext | None = None
        """The room, while its events become messages."""
        self._crowd = False
        self.forget()

    def forget(self) -> None:
        """Forget every message."""
        self._events: list[ref[RoomEvent]] = []  # bound: the events of a window
        self._speakers: Sequence[str | None] = ()
        self._messages: list[AIMessage | None] = []  # bound: likewise
        self._roles: Sequence[str | None] = ()
        """The role of each message that is plain text."""
        self._alternates = True

    def is_of(self, binding: ChannelBinding, context: RoomContext, *, vision: bool) -> bool:
        """Return whether one made of these would turn every event into the same message."""
        return (
            self._vision is vision
            and self._channel_id == binding.channel_id
            and (*map(call, self._participants),) == context.participants
            and (*map(call, self._bindings),) == context.bindings
        )

    def messages(self, events: Sequence[RoomEvent], context: RoomContext) -> Sequence[AIMessage | None]:
        """Return each of the events as a message, None for one that says nothing.

        `events` are all that the agent is shown, and may see. Messages of the call before are reused as far
        as its events are the same objects in the same order: a full window costs its new events only.
        """
        start, count = _overlap(self._events, events)
        added = events[count:]
        kept = self._events[start : start + count]
        speakers = [*self._speakers[start : start + count], *map(self._person, added)]
        crowd = len({*speakers} - {None}) > 1
        if crowd is not self._crowd:
            count, added = 0, events
        self._crowd, self._context = crowd, context
        try:
            new = [*map(self._message, added)]
        except BaseException:
            self.forget()
            raise
        finally:
            self._context = None
            self._names.clear()
        roles = [*self._roles[start : start + count], *map(_role_of, new)]
        # Of roles that alternated, any part does: only the new ones are looked at, and the last before them.
        self._alternates = _alternate(roles[max(count - 1, 0) if self._alternates else 0 :])
        self._events = [*kept, *[ref(event, self._drop) for event in events[len(kept) :]]]
        self._messages = [*self._messages[start : start + count], *new]
        self._speakers, self._roles = speakers, roles
        return self._messages

    def drop(self, event: ref[RoomEvent]) -> None:
        """Drop the message of an event that is gone."""
        if event in self._events:
            self._messages[self._events.index(event)] = None

    @property
    def is_legal(self) -> bool:
        """Whether all messages are plain text whose roles alternate, beginning with the user."""
        return self._alternates and self._roles[:1] == ["user"]

    def _message(self, event: RoomEvent) -> AIMessage | None:
        own = event.source.channel_id == self._channel_id
        said = event.content
        if event.generation is not None and event.generation.heard:
            said = self._perceived(event, event.generation.heard)
        content = _content(said, vision=self._vision and not own)
        if not content:
            return None
        # What it is made of was checked, and a window may have hundreds.
        return AIMessage.trusted(
            {
                "role": "assistant" if own else "user",
                "content": content,
                "name": None if own else self._speaker(event),
                "metadata": EMPTY,
            }
        )

    def _perceived(self, event: RoomEvent, heard: Sequence[Heard]) -> EventContent:
        """Return an answer as the person it was for perceived it, over the channel that gave them most."""
        channels = self._channels_of(event.source.on_behalf_of)
        theirs = [each.chars for each in heard if each.channel_id in channels]
        chars, text = max(theirs or [each.chars for each in heard]), text_of(event.content)
        unheard = text[chars:].strip()
        if not unheard:
            return event.content
        return TextContent(body=f"{text[:chars].rstrip()} [not heard: {unheard}]".lstrip())

    def _channels_of(self, participant_id: str | None) -> set[str]:
        """Return the channels that carry messages to a participant."""
        room = self._context
        person = None if room is None else room.get_participant(participant_id)
        if room is None or person is None:
            return set()
        bound = {one.channel_id for one in room.bindings if one.participant_id == person.id}
        return {*bound, *person.connected_via, person.channel_id}

    def _person(self, event: RoomEvent) -> str | None:
        """Return the id of the speaker if that is a person."""
        source = event.source
        is_none = source.channel_id in self._agents or source.channel_type in _NO_PEOPLE
        return None if is_none else source.participant_id

    def _speaker(self, event: RoomEvent) -> str | None:
        source = event.source
        if event.generation is not None:  # a speech-to-speech model's words come by a call's channel
            return f"[agent {_label(source.channel_id)}]"
        key = (source.channel_id, source.participant_id)
        if key not in self._names:
            self._names[key] = self._named(source)
        return self._names[key]

    def _named(self, source: EventSource) -> str | None:
        if source.channel_type is ChannelType.SYSTEM:
            return "[system]"
        if source.channel_id in self._agents or source.channel_type is ChannelType.AI:
            return f"[agent {_label(source.channel_id)}]"
        room = self._context
        person = None if room is None else room.get_participant(source.participant_id)
        if person is not None and person.display_name:
            return _label(person.display_name) or None
        return _label(source.participant_id) if self._crowd and source.participant_id else None


class Transcripts:
    """The transcripts of one agent, `rooms` by id, the one used last at the end."""

    def __init__(self) -> None:
        self.rooms: OrderedDict[str, Transcript] = OrderedDict()  # bound: MAX_TRANSCRIPTS

    def of(self, binding: ChannelBinding, view: RoomContext, *, vision: bool) -> Transcript:
        """Return the transcript of the turn before in a room; a new one if its reader differs."""
        room_id = binding.room_id
        transcript = self.rooms.get(room_id)
        if transcript is None or not transcript.is_of(binding, view, vision=vision):
            transcript = self.rooms[room_id] = Transcript(binding, view, vision=vision)
            if len(self.rooms) > MAX_TRANSCRIPTS:
                self.rooms.popitem(last=False)
        self.rooms.move_to_end(room_id)
        return transcript


def _forget(itself: ref[Transcript], _gone: object) -> None:
    transcript = itself()
    if transcript is not None:
        transcript.forget()


def _drop(itself: ref[Transcript], event: ref[RoomEvent]) -> None:
    transcript = itself()
    if transcript is not None:
        transcript.drop(event)


def _overlap(before: Sequence[ref[RoomEvent]], now: Sequence[RoomEvent]) -> tuple[int, int]:
    """Return from where, and for how many, the events of `before` are the very first ones of `now`."""
    if not now:
        return 0, 0
    first = now[0]
    for start, event in enumerate(before):
        if event() is first:
            kept = (*map(call, before[start:]),)
            if kept == now[: len(kept)]:
                return start, len(kept)
            return start, sum(takewhile(bool, map(is_, kept, now)))
    return 0, 0


def _alternate(roles: Sequence[str | None]) -> bool:
    """Return whether all of the messages are plain text, and no two neighbours of one role."""
    return None not in roles and not any(map(eq, roles, islice(roles, 1, None)))


def parts_of(content: EventContent, *, vision: bool) -> list[AIPart]:
    """Return what a model gets of `content`; none when it says nothing.

    Images become image parts when `vision` is set; what a model cannot take, such as a film, is
    named in a short note.
    """
    match content:
        case CompositeContent():
            return [part for one in content.parts for part in parts_of(one, vision=vision)]
        case EditContent():
            return parts_of(content.new_content, vision=vision)
        case MediaContent() if vision and content.mime_type.lower().startswith("image/"):
            image = AIImagePart(url=content.url, mime_type=content.mime_type)
            return [*_texts(content.caption or ""), image]
    return _texts("\n".join(filter(None, (_words(content), _note(content)))))


def _words(content: EventContent) -> str:
    return "" if isinstance(content, LocationContent) else text_of(content)


def _note(content: EventContent) -> str:
    match content:
        case MediaContent():
            kind = "image" if content.mime_type.lower().startswith("image/") else "file"
            return _bracket(kind, [content.filename, content.mime_type])
        case AudioContent() if not content.transcript:
            return _bracket("audio", [_seconds(content.duration_seconds), "no transcript"])
        case VideoContent():
            return _bracket("video", [_seconds(content.duration_seconds), content.mime_type])
        case LocationContent():
            place = f"{content.latitude}, {content.longitude}"
            return _bracket("location", [content.label, content.address, place])
        case TemplateContent() if not content.body:
            values = [f"{key}={value}" for key, value in content.parameters.items()]
            return _bracket("template", [content.template_id, *values])
        case RichContent():
            return _choices(content)
    return ""


def _choices(content: RichContent) -> str:
    cards = [str(card.get("title", "")) for card in content.cards]
    choices = [str(button.get("text", "")) for button in content.buttons]
    shown = (("cards", cards), ("choices", [*choices, *content.quick_replies]))
    return "\n".join(_bracket(kind, names) for kind, names in shown if any(names))


def _bracket(kind: str, details: Sequence[str | None]) -> str:
    return f"[{kind}: {', '.join(filter(None, details))}]"


def _seconds(duration: float | None) -> str | None:
    return None if duration is None else f"{duration:g} s"


def _texts(text: str) -> list[AIPart]:
    return [AITextPart(text=text)] if text.strip() else []


def _content(content: EventContent, *, vision: bool) -> str | tuple[AIPart, ...]:
    """Return what `parts_of` gives as plain text where that is all there is."""
    if isinstance(content, TextContent):
        return content.body if content.body.strip() else ""
    parts = parts_of(content, vision=vision)
    if len(parts) == 1 and parts[0].type == "text":
        return parts[0].text
    return tuple(parts)


def _role_of(message: AIMessage | None) -> str | None:
    return message.role if message is not None and isinstance(message.content, str) else None


def _label(name: str) -> str:
    """Return `name` on one line and without brackets, which mark notes of ours."""
    return " ".join(name.translate({91: None, 93: None}).split())[:MAX_LABEL]
