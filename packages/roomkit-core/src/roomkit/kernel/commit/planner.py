"""What becomes of a draft in its room: refused, blocked, or committed for some recipients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.kernel.commit.attempt import Attempt, Block, block_of
from roomkit.kernel.flow.draft import Written
from roomkit.kernel.flow.permissions import amends, may_amend, may_speak, newcomer, said_by
from roomkit.kernel.flow.recipients import Known, Target, named_targets, recipients
from roomkit.models.enums import EventStatus, RoomStatus
from roomkit.models.visibility import narrowest

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.verdicts import GateVerdict
    from roomkit.kernel.flow.draft import Draft
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.models.event import RoomEvent
    from roomkit.models.options import KitOptions

__all__ = ["CommitPlanner"]


class CommitPlanner:
    """Plans the commit of a draft for the room as it was loaded; the writer asks again if it changed."""

    def __init__(
        self, *, settings: KitOptions, store: ConversationStore, clock: Clock, channels: Channels
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._channels = channels
        self._known: Known = {}  # bound: by `recipients`

    async def planned(self, record: RoomRecord, draft: Draft) -> Draft | Written:
        """Return the draft as it is for this state of the room, or why nothing of it is stored."""
        if draft.plan is not None:
            planned = draft.plan(draft, record)
            if planned is None:
                return Written(unchanged=True)
            draft = planned
        if draft.lifecycle:
            return draft
        if record.status is not RoomStatus.ACTIVE and _refuses(record.status, draft.event):
            return Written(blocked=True, reason=f"room_{record.status}")
        event, people = draft.event, record.participants
        source = event.source
        if people and source.participant_id is not None and draft.plan is None:
            name = draft.address or source.participant_id
            person = people.get(name)
            if (
                person is None
                or source.channel_id not in person.connected_via
                or (draft.address is not None and person.external_id not in (None, name))
            ):
                event = said_by(record, event, name, is_address=draft.address is not None)
                draft.event = event
        reason = None if draft.streamed else may_speak(record, event)
        if reason is None and amends(event):
            target = await self._store.get_event(getattr(event.content, "target_event_id", ""))
            reason = may_amend(record, event, target)
            if reason is None and target is not None:
                # New words for a whisper are a whisper.
                visibility = narrowest(event.visibility, target.visibility)
                return replace(draft, event=event.replace(visibility=visibility))
        return draft if reason is None else Written(blocked=True, reason=reason)

    def attempt(self, record: RoomRecord, version: int, draft: Draft, verdict: GateVerdict | None) -> Attempt:
        """Decide on the room as it is: whether the event is blocked, and whom it goes to."""
        event = draft.event if verdict is None else verdict.payload
        binding = record.bindings.get(event.source.channel_id)
        block = None
        if draft.blocked is not None:
            block = Block(*draft.blocked)
        elif not draft.lifecycle:
            block = block_of(
                event, None if draft.streamed else binding, verdict, self._settings.max_chain_depth
            )
        targets: Sequence[Target] = ()
        if block is not None:
            event = event.replace(status=EventStatus.BLOCKED, blocked_by=block.by, block_reason=block.reason)
            if draft.refused_as is not None:
                event = event.replace(content=draft.refused_as)
        else:
            if binding is not None and binding.visibility != "all" and not draft.as_shown:
                event = event.replace(visibility=narrowest(event.visibility, binding.visibility))
            if draft.visible_to != "all":
                event = event.replace(visibility=narrowest(event.visibility, draft.visible_to))
            if draft.targets is not None:
                targets = named_targets(record, self._channels, draft.targets)
            elif not draft.lifecycle:
                policy = self._settings.agent_response_policy
                targets = recipients(
                    record, self._channels, event, policy, answerable=draft.answerable, known=self._known
                )
        injected = draft.injected if verdict is None else (*draft.injected, *verdict.injected_events)
        return Attempt(draft, record, version, event, block, targets, injected, verdict)

    def exceeds_turn(self, attempt: Attempt) -> bool:
        """Whether a commit changes a person, or a room that is not simply active, or has an agent answer."""
        record, event = attempt.record, attempt.event
        if record.status is not RoomStatus.ACTIVE or any(target.is_agent for target in attempt.targets):
            return True
        binding = record.bindings.get(event.source.channel_id)
        return newcomer(record, event, binding, self._clock.now(), attempt.draft.address) is not None


def _refuses(status: RoomStatus, event: RoomEvent) -> bool:
    """Whether a room of that status takes no such event; one that moves takes events begun before."""
    if status is RoomStatus.MOVING:
        return event.chain_depth == 0 and event.correlation_id is None
    return not status.is_open
