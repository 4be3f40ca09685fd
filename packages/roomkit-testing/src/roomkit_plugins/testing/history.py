"""Checks what each recipient saw against the timeline, and what vendors were sent against the ledger.

Order, once each, nothing lost or betrayed; every delivery ended, and repeated only under its own key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.visibility import sees

__all__ = ["Recipient", "Sending", "Violation", "assert_history", "ledger_violations", "violations"]


@dataclass(slots=True, frozen=True)
class Recipient:
    """One binding and the events handed to it, in order.

    It should have seen the events `after_index` and before `before_index` (both exclusive) while it
    was attached, by the permissions of `binding`; `wants` narrows that, to messages by default.
    """

    binding: ChannelBinding
    seen: Sequence[RoomEvent]
    after_index: int = -1
    before_index: int | None = None
    sees_own: bool = False
    at_least_once: bool = False
    """Whether a repetition is allowed: after the death of a worker, it is."""
    wants: Callable[[RoomEvent], bool] = lambda event: event.type is EventType.MESSAGE

    def should_see(self, event: RoomEvent) -> bool:
        """Return whether `event` was to be handed to this recipient."""
        if event.index <= self.after_index:
            return False
        if self.before_index is not None and event.index >= self.before_index:
            return False
        if event.source.channel_id == self.binding.channel_id and not self.sees_own:
            return False
        return not event.deleted and self.may_see(event) and self.wants(event)

    def may_see(self, event: RoomEvent) -> bool:
        """Return whether `event` may be shown to this recipient at all.

        A deleted event may have been shown before it was deleted.
        """
        if event.status is EventStatus.BLOCKED or not self.binding.can_read:
            return False
        return sees(self.binding, event.replace(amendment=None) if event.deleted else event)


@dataclass(slots=True, frozen=True)
class Violation:
    """One way in which a history is wrong. `kind` is stable."""

    kind: str
    channel_id: str
    event_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.channel_id or 'the timeline'} and event {self.event_id}: {self.detail}"


@dataclass(slots=True, frozen=True)
class Sending:
    """One time a vendor was sent something: for which channel and event, under which idempotency key."""

    channel_id: str
    event_id: str
    key: str
    message_id: str | None = None
    """The id that the vendor gave to it."""
    claims: int | None = None
    """How often the delivery had been reclaimed when its worker began it."""


def violations(timeline: Sequence[RoomEvent], recipients: Sequence[Recipient]) -> list[Violation]:
    """Return everything that is wrong with a history, [] when nothing is.

    Of the timeline: `not_rising` and `repeated_id`. Of a recipient: `out_of_order`, `twice`,
    `lost`, `betrayed` (it saw an event that it may not see), `unknown` (an event never committed).
    """
    found = list(_of_timeline(timeline))
    for recipient in recipients:
        found += _of_recipient(timeline, recipient)
    return found


def assert_history(timeline: Sequence[RoomEvent], recipients: Sequence[Recipient]) -> None:
    """Raise AssertionError with every violation, see `violations`."""
    found = violations(timeline, recipients)
    if found:
        raise AssertionError(f"{len(found)} violations:\n" + "\n".join(map(str, found)))


def ledger_violations(
    rows: Sequence[Delivery], sendings: Sequence[Sending], *, carriers: Collection[str]
) -> list[Violation]:
    """Return everything that is wrong between a ledger and what its vendors were sent, [] when nothing is.

    `open`: a row has not ended. `unplanned`: something was sent that has no row. `unsent`: a row of a
    channel in `carriers` says sent, and nothing was. `key_changed`: one delivery was sent under two
    keys. `key_shared`: two deliveries were sent under one key. `late_outcome`: a row has the outcome of a
    worker that had lost the delivery to another one; for sendings that say their `message_id` and `claims`.
    """
    found = [
        Violation("open", row.channel_id, row.event_id, f"it is {row.state}, held by {row.holder}")
        for row in rows
        if row.state is DeliveryState.PENDING
    ]
    keys: dict[tuple[str, str], str] = {}
    users: dict[str, tuple[str, str]] = {}
    for sending in sendings:
        delivery = (sending.channel_id, sending.event_id)
        if keys.setdefault(delivery, sending.key) != sending.key:
            found.append(Violation("key_changed", *delivery, f"{keys[delivery]} and {sending.key}"))
        if users.setdefault(sending.key, delivery) != delivery:
            found.append(Violation("key_shared", *delivery, f"{sending.key} is that of {users[sending.key]}"))
    planned = {(row.channel_id, row.event_id) for row in rows}
    found += [
        Violation("unplanned", *delivery, keys[delivery]) for delivery in keys if delivery not in planned
    ]
    found += [
        Violation("unsent", row.channel_id, row.event_id, "the ledger says that it was")
        for row in rows
        if row.state is DeliveryState.SENT
        and row.channel_id in carriers
        and (row.channel_id, row.event_id) not in keys
    ]
    return found + list(_late_outcomes(rows, sendings))


def _late_outcomes(rows: Sequence[Delivery], sendings: Sequence[Sending]) -> Iterator[Violation]:
    made = {(each.channel_id, each.event_id, each.message_id): each.claims for each in sendings}
    for row in rows:
        claims = made.get((row.channel_id, row.event_id, row.provider_message_id))
        if row.provider_message_id is not None and claims is not None and claims < row.claims:
            yield Violation(
                "late_outcome",
                row.channel_id,
                row.event_id,
                f"{row.provider_message_id} was sent after {claims} claims, the row has {row.claims}",
            )


def _of_timeline(timeline: Sequence[RoomEvent]) -> list[Violation]:
    found: list[Violation] = []  # bound: the timeline
    ids: set[str] = set()
    newest = -1
    for event in timeline:
        if event.index <= newest:
            found.append(Violation("not_rising", "", event.id, f"index {event.index} comes after {newest}"))
        newest = max(newest, event.index)
        if event.id in ids:
            found.append(Violation("repeated_id", "", event.id, "two entries have this id"))
        ids.add(event.id)
    return found


def _of_recipient(timeline: Sequence[RoomEvent], recipient: Recipient) -> list[Violation]:
    channel_id = recipient.binding.channel_id
    committed = {event.id: event for event in timeline}
    found: list[Violation] = []  # bound: the events seen
    counted: set[str] = set()
    newest = -1
    for shown in recipient.seen:
        event = committed.get(shown.id)
        if event is None:
            found.append(Violation("unknown", channel_id, shown.id, "it was never committed"))
            continue
        if not recipient.may_see(event):
            detail = f"visibility {event.visibility!r}, status {event.status}"
            found.append(Violation("betrayed", channel_id, event.id, detail))
        if event.id in counted:
            if not recipient.at_least_once:
                found.append(Violation("twice", channel_id, event.id, f"index {event.index}"))
            continue
        counted.add(event.id)
        if event.index < newest:
            detail = f"index {event.index} came after {newest}"
            found.append(Violation("out_of_order", channel_id, event.id, detail))
        newest = max(newest, event.index)
    found += [
        Violation("lost", channel_id, event.id, f"index {event.index} was never seen")
        for event in timeline
        if recipient.should_see(event) and event.id not in counted
    ]
    return found
