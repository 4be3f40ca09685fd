"""Who an event goes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from roomkit.abc.attributes import unreadable
from roomkit.kernel.flow.contract import owner_of
from roomkit.models.enums import AgentResponsePolicy, ChannelCategory, EventType
from roomkit.models.visibility import admits
from roomkit.models.vocabulary import about

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.errors import ForeignCodeError
    from roomkit.abc.store import RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["Known", "Target", "answers_to", "named_targets", "recipients"]

_OWN = frozenset(EventType)
"""The core's event types."""


class Target:
    """One binding an event goes to; `channel` is None when the kit does not know it."""

    __slots__ = ("binding", "channel", "deliver", "failure", "is_agent", "is_plain", "is_prompt")

    def __init__(self, binding: ChannelBinding, channel: Channel | None) -> None:
        self.binding = binding
        self.channel = channel
        self.failure: ForeignCodeError | None = None
        """Why the channel could not say whether it takes the event: the delivery fails."""
        self.is_agent = binding.category is ChannelCategory.INTELLIGENCE
        self.is_plain = (
            binding.rate_limit is None and binding.recipient_rate_limit is None and binding.fallback is None
        )
        """Whether its binding asks for nothing before or after its channel is called."""
        self.deliver: object = None
        """The method of the channel's class that `is_prompt` was found for."""
        self.is_prompt = False
        """Whether `deliver` never waits."""


type Known = dict[int, Target]
"""The targets of bindings that get every ordinary event, by the binding's address, which they keep."""
_MOST_KNOWN = 8192


def recipients(
    record: RoomRecord,
    channels: Mapping[str, Channel],
    event: RoomEvent,
    policy: AgentResponsePolicy,
    *,
    answerable: bool = True,
    known: Known | None = None,
) -> list[Target]:
    """Return the bindings `event` goes to, in order of attachment; a binding's target is kept in `known`.

    Not a channel that is another recipient's fallback. Not the source, unless its channel serves several
    recipients; not who may not read, nor whom the event's visibility leaves out; a reaction only to those
    that can show one; intelligences only as `answers_to` says, and not while they are muted.
    """
    source_id = event.source.channel_id
    visibility = event.visibility
    # What a plugin made up goes only to channels that know it, unless the plugin says otherwise.
    asks = event.type not in _OWN and about(EventType, event.type).get("delivered") is not True
    is_consent, is_reaction = event.type is EventType.CONSENT, event.type is EventType.REACTION
    kept = known if event.type is EventType.MESSAGE and visibility == "all" else None
    found: list[Target] = []  # bound: the room's bindings
    has_fallbacks = False
    for channel_id, binding in record.bindings.items():
        channel = channels.get(channel_id)
        failure = None
        if channel_id == source_id:
            try:
                if channel is None or not channel.delivers_to_source:
                    continue
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # a property may raise anything: its delivery fails
                failure = unreadable(owner_of(channel_id), "delivers_to_source", error)
        if kept is not None and failure is None:
            former = kept.get(id(binding))
            if former is not None and former.channel is channel:
                found.append(former)
                continue
        if not binding.can_read or (
            visibility != "all" and not admits(visibility, channel_id, binding.category)
        ):
            continue
        if is_consent and binding.category is not ChannelCategory.INTELLIGENCE:
            continue  # words addressed to the kit are not a message to others
        if is_reaction and not binding.capabilities.supports_reactions:
            continue
        target = Target(binding, channel)
        target.failure = failure
        if asks and not target.is_agent and event.type not in binding.capabilities.event_types:
            continue
        if target.is_agent and (
            not answerable or binding.muted or not answers_to(record, target, event, policy)
        ):
            continue
        if binding.fallback is not None:
            has_fallbacks = True
        elif kept is not None and failure is None and not target.is_agent:
            if len(kept) >= _MOST_KNOWN:
                kept.clear()
            kept[id(binding)] = target
        found.append(target)
    return _without_fallbacks(record, found) if has_fallbacks else found


def _without_fallbacks(record: RoomRecord, targets: list[Target]) -> list[Target]:
    """Return the targets without those that stand in for another of them, directly or in turn."""
    standing_in: set[str] = set()  # bound: the room's bindings
    for target in targets:
        binding: ChannelBinding | None = target.binding
        if binding is None or binding.channel_id in standing_in:
            continue
        chain = [binding.channel_id]
        while binding is not None and (following := binding.fallback) is not None and following not in chain:
            chain.append(following)
            binding = record.bindings.get(following)
        standing_in.update(chain[1:])
    return [target for target in targets if target.binding.channel_id not in standing_in]


def answers_to(record: RoomRecord, target: Target, event: RoomEvent, policy: AgentResponsePolicy) -> bool:
    """Return whether the intelligence is asked to act on the event.

    An addressed event is put to those it names. Any other is put to all, but another agent's
    answer only when the room's policy, else the kit's, lets agents go on among themselves.
    """
    try:
        if target.channel is not None and event.type not in target.channel.responds_to:
            if about(EventType, event.type).get("answered") is not True:
                return False
            if EventType.MESSAGE not in target.channel.responds_to:
                return False
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a property may raise anything: its delivery fails
        target.failure = unreadable(owner_of(target.binding.channel_id), "responds_to", error)
    if event.addressed_to is not None:
        return target.binding.channel_id in event.addressed_to
    source = record.bindings.get(event.source.channel_id)
    if source is None or source.category is not ChannelCategory.INTELLIGENCE:
        return True
    return (record.room.agent_response_policy or policy) is AgentResponsePolicy.AGENT_CHAIN


def named_targets(
    record: RoomRecord, channels: Mapping[str, Channel], channel_ids: Iterable[str]
) -> list[Target]:
    """Return the targets of these channels, those that are attached to the room."""
    bindings = record.bindings
    return [Target(bindings[each], channels.get(each)) for each in channel_ids if each in bindings]
