"""What becomes of people, channels and state when two rooms become one. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from roomkit.abc.attributes import read
from roomkit.abc.errors import ForeignCodeError, InvalidInputError, RoomKitError
from roomkit.abc.moved import moved_key
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.permissions import address_type_of
from roomkit.kernel.flow.state import changed_state, with_binding_state
from roomkit.models.enums import ChannelCategory, ParticipantStatus
from roomkit.models.participant import namesake_id
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.store import RoomRecord
    from roomkit.models.base import Json
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.participant import Participant

__all__ = ["Joined", "Keep", "MergeOf", "joined", "merged_bindings", "merged_state", "moved_binding"]

type Keep = Literal["source", "into"]
"""Whose binding is written to, where both rooms have one of a channel."""

type MergeOf = Callable[[str], Callable[[Json | None, Json | None], Json | None] | None]
"""Return the function that merges two rooms' state of a namespace, None where none was added."""

_KEEPS = ("source", "into")


class Joined(NamedTuple):
    """Participants to put into a room, and by which ids those who had others are known there."""

    people: Sequence[Participant]
    names: Mapping[str, str]


def joined(people: Iterable[Participant], source: RoomRecord, into: RoomRecord) -> Joined:
    """Join participants to those of another room: by identity, then by address; else they stay apart."""
    there = dict(into.participants)
    put: dict[str, Participant] = {}  # bound: `people`
    names: dict[str, str] = {}  # bound: `people`
    for person in people:
        match = _match(person, source, there.values(), into)
        if match is None:
            after = person.replace(id=_free_id(person, source, there), room_id=into.room_id)
        else:
            after = _as_one(match, person)
        there[after.id] = put[after.id] = after
        if after.id != person.id:
            names[person.id] = after.id
    return Joined(tuple(put.values()), names)


def _match(
    person: Participant, source: RoomRecord, others: Iterable[Participant], into: RoomRecord
) -> Participant | None:
    found = list(others)
    identity = person.identity_id
    for other in found:
        if identity is not None and identity == other.identity_id:
            return other
    addresses = _addresses(person, source)
    for other in found:
        same_person = identity is None or other.identity_id is None
        if same_person and not addresses.isdisjoint(_addresses(other, into)):
            return other
    return None


def _addresses(person: Participant, record: RoomRecord) -> set[tuple[str, str]]:
    """Return a participant's addresses, each with its kind."""
    found = {(address_type_of(record.bindings, channel_id), who) for channel_id, who in person.senders}
    if person.address_type is not None:
        found.add((person.address_type, person.external_id or person.id))
    return found


def _free_id(person: Participant, source: RoomRecord, there: Mapping[str, Participant]) -> str:
    kind = person.address_type or address_type_of(source.bindings, person.channel_id)
    for own_id in (person.id, namesake_id(kind, person.external_id or person.id)):
        if own_id not in there:
            return own_id
    return moved_key(source.room_id, person.id)


def _as_one(there: Participant, came: Participant) -> Participant:
    """Return one participant for two; a ban of either holds."""
    status = there.status
    if ParticipantStatus.BANNED in (there.status, came.status):
        status = ParticipantStatus.BANNED
    elif ParticipantStatus.ACTIVE in (there.status, came.status):
        status = ParticipantStatus.ACTIVE
    known = there.senders
    further = [each for each in sorted(came.senders) if each not in known]
    identified = (
        {
            "identity_id": came.identity_id,
            "identification": came.identification,
            "candidates": came.candidates,
            "resolved_at": came.resolved_at,
            "resolved_by": came.resolved_by,
        }
        if there.identity_id is None and came.identity_id is not None
        else {}
    )
    return there.replace(
        status=status,
        display_name=there.display_name or came.display_name,
        joined_at=min(there.joined_at, came.joined_at),
        metadata={**came.metadata, **there.metadata},
        also=(*there.also, *further),
        **identified,
    )


def moved_binding(binding: ChannelBinding, into: RoomRecord, names: Mapping[str, str]) -> ChannelBinding:
    """Return a binding as one of another room."""
    who = binding.participant_id
    return binding.replace(
        room_id=into.room_id,
        participant_id=names.get(who, who) if who is not None else None,
        last_read_index=None,
    )


def merged_bindings(
    source: RoomRecord,
    into: RoomRecord,
    names: Mapping[str, str],
    keep: Keep | None,
    channels: Mapping[str, Channel],
) -> list[ChannelBinding]:
    """Return the bindings that the room gets.

    Raises InvalidInputError where it is open who is written to, and for state that cannot be kept;
    ForeignCodeError for a channel that does not merge it.
    """
    put: list[ChannelBinding] = []  # bound: the bindings of the source
    undecided: list[str] = []  # bound: likewise
    for binding in source.bindings.values():
        came, there = moved_binding(binding, into, names), into.bindings.get(binding.channel_id)
        if there is None:
            put.append(came)
        elif not _writes_elsewhere(came, there):
            state = _state_of(there, came, channels)
            if (also := _also(there, came)) or state != there.state:
                put.append(with_binding_state(there.replace(also=also), state))
        elif keep is None:
            undecided.append(binding.channel_id)
        else:
            kept, other = (came, there) if keep == "source" else (there, came)
            state = _state_of(kept, other, channels)
            put.append(with_binding_state(kept.replace(also=_also(kept, other)), state))
    if undecided:
        raise InvalidInputError(
            f"rooms {source.room_id!r} and {into.room_id!r} write to different recipients by "
            f"{', '.join(sorted(undecided))}: say with keep='source' or keep='into' whose recipient is "
            "written to; the other one is still recognised"
        )
    return put


def _writes_elsewhere(one: ChannelBinding, other: ChannelBinding) -> bool:
    """Whether two bindings of a transport write to different recipients."""
    if one.category is not ChannelCategory.TRANSPORT:
        return False
    if one.address is not None or other.address is not None:
        return one.address != other.address
    return (one.participant_id, one.metadata) != (other.participant_id, other.metadata)


def _state_of(
    kept: ChannelBinding, other: ChannelBinding, channels: Mapping[str, Channel]
) -> Mapping[str, Any]:
    """Return the state of a binding that stands for two, as its channel says. Raises ForeignCodeError."""
    channel = channels.get(kept.channel_id)
    if channel is None:
        return {**other.state, **kept.state}
    merge = partial(channel.merged_state, kept, other)
    found: Mapping[str, Any] = read(owner_of(kept.channel_id), "merged_state()", merge, Mapping)
    return found


def _also(kept: ChannelBinding, other: ChannelBinding) -> tuple[str, ...]:
    """Return the further addresses of a binding that stands for two."""
    found = (*kept.also, *((other.address,) if other.address is not None else ()), *other.also)
    return tuple(each for each in dict.fromkeys(found) if each != kept.address)


def merged_state(source: RoomRecord, into: RoomRecord, merge_of: MergeOf) -> tuple[Json, list[str]]:
    """Return the state of the merged room, and the namespaces of which the source's is dropped.

    Where no function was added for a namespace, the room's own stays, the source's where it has none.
    Raises ForeignCodeError for a function that fails, InvalidInputError for state that cannot be kept.
    """
    ours, theirs = into.room.state, source.room.state
    changes: list[tuple[str, Json | None]] = []  # bound: the namespaces of the source
    dropped: list[str] = []  # bound: likewise
    for namespace, state in theirs.items():
        merge = merge_of(namespace)
        if merge is not None:
            changes.append((namespace, _merged(namespace, merge, ours.get(namespace), state)))
        elif namespace not in ours:
            changes.append((namespace, state))
        else:
            dropped.append(namespace)
    return changed_state(into.room_id, ours, changes), dropped


def _merged(
    namespace: str,
    merge: Callable[[Json | None, Json | None], Json | None],
    ours: Json | None,
    theirs: Json | None,
) -> Json | None:
    try:
        return merge(ours, theirs)
    except RoomKitError:
        raise
    except Exception as error:  # a plugin's function may raise anything
        raise ForeignCodeError(
            f"the merge of the state of {namespace!r} raised {error_text(error)}: let it return the merged "
            "state, or None; nothing was moved"
        ) from error
