"""The timers of one owner, under names of its own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, override

from pydantic import ValidationError

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import problems_of
from roomkit.abc.services.timers import TimerFn, Timers
from roomkit.kernel.flow.timers import GIVEN, TimerOutcome
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.scope import Work, check_committed
from roomkit.models.base import EMPTY, new_id
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.cluster.timers import TimerRunner
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.services.owner import Owner
    from roomkit.models.options import KitOptions

__all__ = ["KitTimers"]

_LONGEST_DATA = 16_384


@checks_arguments(of_services=True)
class KitTimers(Timers):
    """Stores timers with the owner's namespace before their kinds and ids, and its channel behind them."""

    def __init__(
        self,
        owner: Owner,
        *,
        settings: KitOptions,
        store: ConversationStore,
        supervisor: Supervisor,
        runner: TimerRunner,
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        self._owner = owner
        self._settings = settings
        self._store = store
        self._supervisor = supervisor
        self._runner = runner
        self._enter = enter

    def _named(self, name: str) -> str:
        if not name:
            raise InvalidInputError(f"{name!r} cannot name a timer or its kind: give text")
        owner = self._owner
        return f"{owner.namespace}.{name}" + ("" if owner.channel_id is None else f"@{owner.channel_id}")

    def _own(self, stored: Timer, kind: str, own_id: str) -> Timer:
        """Return a stored timer as its owner set it."""
        return stored.replace(id=own_id, kind=kind, data=stored.data.get(GIVEN, EMPTY))

    @override
    def on(self, kind: str, fn: TimerFn) -> None:
        async def fire(stored: Timer) -> TimerOutcome:
            timer = self._own(stored, kind, str(stored.data.get("id")))
            return TimerOutcome(await self._call(fn, timer), changed=True)

        if not self._runner.register(self._named(kind), fire):
            raise InvalidInputError(
                f"timers of kind {kind!r} of {self._owner.namespace!r} have a handler already: register one"
            )

    async def _call(self, fn: TimerFn, timer: Timer) -> datetime | None:
        name = f"handler of timer {timer.id} of {self._owner.namespace}"
        with Work(timer.room_id or ""):  # what it writes is still taken while the kit closes
            again: object = await self._supervisor.call(fn(timer), name, self._settings.delivery_timeout)
        if again is not None and not (isinstance(again, datetime) and again.tzinfo is not None):
            raise InvalidInputError(
                f"{name} returned {type(again).__name__}: return an aware datetime to set it again, or None"
            )
        return again

    @override
    def make(
        self,
        kind: str,
        due: datetime,
        *,
        id: str | None = None,
        room_id: str | None = None,
        data: Mapping[str, Any] = EMPTY,
        subject: str | None = None,
    ) -> Timer:
        own_id = id or new_id()
        if due.tzinfo is None:
            raise InvalidInputError(
                f"timer {own_id!r} cannot be due at {due!r}: give a datetime with a time zone"
            )
        fields = {
            "id": self._named(own_id),
            "kind": self._named(kind),
            "room_id": room_id,
            "due_at": due,
            "data": {"id": own_id, GIVEN: data},
            "subject": subject,
        }
        return _made(own_id, fields)

    @override
    async def set(
        self,
        kind: str,
        due: datetime,
        *,
        id: str | None = None,
        room_id: str | None = None,
        data: Mapping[str, Any] = EMPTY,
        subject: str | None = None,
    ) -> Timer:
        check_committed("a timer")
        stored = self.make(kind, due, id=id, room_id=room_id, data=data, subject=subject)
        await self._enter()
        await self._store.set_timer(stored)
        self._runner.expect(due)
        return self._own(stored, kind, str(stored.data["id"]))

    @override
    async def cancel(self, id: str) -> bool:
        check_committed("a timer")
        await self._enter()
        return await self._store.delete_timer(self._named(id))


def _made(own_id: str, fields: Mapping[str, Any]) -> Timer:
    try:
        timer = Timer.model_validate(fields)
    except ValidationError as wrong:
        raise InvalidInputError(f"timer {own_id!r} cannot be stored: {problems_of(wrong)}") from None
    if len(json.dumps(timer.data[GIVEN])) > _LONGEST_DATA:
        raise InvalidInputError(
            f"the data of timer {own_id!r} is longer than {_LONGEST_DATA} bytes as JSON: keep ids in it, and "
            "the rest in the room or in values"
        )
    return timer
