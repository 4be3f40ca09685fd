"""The parts of an MMS, joined durably: whichever worker gets each of them, and though one is killed between.

A part is a stored value, and each has a timer of its own. When one fires, the parts that are complete are put
aside, received as one message under a key made of them, and only then forgotten: what is killed in between is
done again with the same parts, and parts that come meanwhile are another message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError
from roomkit.models.delivery import InboundMessage
from roomkit_plugins.voicemeup.wire import MMSPart, message_of

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit.models.timer import Timer

__all__ = ["MMSParts"]

_KIND = "mms"
_KEPT = "30d"
"""How long parts wait for a worker, and those that were received are known, should they come again."""
_AGAIN = 60.0
"""Seconds until a message that could not be taken is tried again."""

type _State = Mapping[str, Any]
"""`parts` wait until `due`, POSIX seconds; `sending` are being received; `done` are ids of received ones."""


class MMSParts:
    """Joins the parts of MMS that come by one channel.

    `timeout` is how many seconds words and files wait for each other, `quiet` how many further files are
    waited for once both are there. Made in the provider's `bind`.
    """

    def __init__(self, services: Services, *, timeout: float, quiet: float) -> None:
        self._services = services
        self._timeout, self._quiet = timedelta(seconds=timeout), timedelta(seconds=quiet)
        services.timers.on(_KIND, self._fire)

    async def keeps(self, found: WebhookPart) -> bool:
        """Keep what a webhook says if it is a part of an MMS; False for anything else, and what is too long.

        Raises StoreError.
        """
        if not isinstance(found, InboundMessage) or not (part := MMSPart(found.raw_payload)).is_of_several:
            return False
        try:
            await self._keep(part, found.channel_id)
        except InvalidInputError:
            return False  # a key or a value has a limit: it is a message of its own then
        return True

    async def _keep(self, part: MMSPart, channel_id: str) -> None:
        """Keep a part until its message is complete, durable on return; one that is known changes nothing."""
        # The timer comes first: killed after the other order, a worker would leave a part that nothing fires.
        latest = self._now() + self._timeout
        await self._set_timer(part, channel_id, latest)
        added = partial(_added, part=part, now=self._now(), timeout=self._timeout, quiet=self._quiet)
        value = await self._services.values.change(
            *_key(part, channel_id), fn=added, expires_in=_KEPT, subject=part.sender
        )
        due = _due(value.data if value is not None else {})
        if due is not None and (due < latest or self._now() >= latest):
            await self._set_timer(part, channel_id, due)

    async def _set_timer(self, part: MMSPart, channel_id: str, due: datetime) -> None:
        data = {"key": list(_key(part, channel_id)), "channel_id": channel_id}
        await self._services.timers.set(_KIND, due, id=part.id, data=data, subject=part.sender)

    async def _fire(self, timer: Timer) -> datetime | None:
        """Receive the parts that are complete; return when the others are, or are tried again."""
        key, channel_id = tuple(timer.data["key"]), str(timer.data["channel_id"])
        values = self._services.values
        value = await values.change(*key, fn=partial(_taken, now=self._now()))
        if value is None:
            return None  # the person was erased
        sending = [MMSPart(raw) for raw in value.data.get("sending", ())]
        if sending:
            result = await self._services.inbox.receive(message_of(sending, channel_id))
            if not result.stored:
                return self._now() + timedelta(seconds=result.retry_after or _AGAIN)
            value = await values.change(*key, fn=partial(_sent, ids=[part.id for part in sending]))
        return _due(value.data if value is not None else {})

    def _now(self) -> datetime:
        return self._services.clock.now()


def _key(part: MMSPart, channel_id: str) -> tuple[str, ...]:
    return (_KIND, channel_id, *part.group)


def _due(state: _State) -> datetime | None:
    """Return when parts are complete; None if none wait."""
    return datetime.fromtimestamp(float(state["due"]), UTC) if state.get("parts") else None


def _added(
    state: _State | None, *, part: MMSPart, now: datetime, timeout: timedelta, quiet: timedelta
) -> _State:
    """Return the state with a part, if it is not known."""
    said = state or {}
    waiting: Sequence[_State] = said.get("parts", ())
    known = {*said.get("done", ()), *(MMSPart(raw).id for raw in (*waiting, *said.get("sending", ())))}
    if part.id in known:
        return said
    raws = [*waiting, part.raw]
    due = now + (quiet if _is_complete([MMSPart(raw) for raw in raws]) else timeout)
    return {**said, "parts": raws, "due": due.timestamp()}


def _is_complete(parts: Sequence[MMSPart]) -> bool:
    """Whether words, or the page that they come with, and a file are there."""
    return any(part.is_page for part in parts) and any(part.url for part in parts)


def _taken(state: _State | None, *, now: datetime) -> _State | None:
    """Put the parts aside that are complete, unless others are."""
    if state is None or state.get("sending"):
        return state
    due = _due(state)
    if due is None or now < due:
        return state
    return {**state, "parts": [], "sending": state["parts"]}


def _sent(state: _State | None, *, ids: Sequence[str]) -> _State | None:
    """Forget received parts but for their ids; another worker may have done it."""
    if state is None:
        return None
    left = [raw for raw in state.get("sending", ()) if MMSPart(raw).id not in ids]
    done = dict.fromkeys((*state.get("done", ()), *ids))
    return {**state, "sending": left, "done": list(done)}
