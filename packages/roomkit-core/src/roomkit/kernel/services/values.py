"""Values of one owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, override

from pydantic import ValidationError

from roomkit.abc.duration import seconds_of
from roomkit.abc.errors import InvalidInputError, StaleValueError
from roomkit.abc.records import problems_of
from roomkit.abc.services.values import Values
from roomkit.abc.store import HomeRecord
from roomkit.kernel.flow.state import check_namespace
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.scope import check_committed, room_at_work
from roomkit.models.value import Value

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.services.homes import Home
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.services.owner import Owner
    from roomkit.models.base import Json

__all__ = ["KitValues"]

_TRIES = 64
_PAGE = 100


class _Of(Enum):
    """Whose values they are, where no organization is named."""

    THE_ROOM_AT_WORK = "the room's"


@checks_arguments(of_services=True)
class KitValues(Values):
    """Reads and writes the store, under the owner's namespace."""

    def __init__(
        self,
        owner: Owner,
        *,
        store: ConversationStore,
        clock: Clock,
        enter: Callable[[], Awaitable[None]],
        organization_id: str | _Of | None = _Of.THE_ROOM_AT_WORK,
    ) -> None:
        self._owner = owner
        self._store = store
        self._clock = clock
        self._enter = enter
        self._organization_id = organization_id

    @override
    def of(self, organization_id: str | None) -> KitValues:
        return KitValues(
            self._owner,
            store=self._store,
            clock=self._clock,
            enter=self._enter,
            organization_id=organization_id,
        )

    async def _organization(self) -> str | None:
        """Return whose values they are now; starts the kit if need be."""
        await self._enter()
        if not isinstance(self._organization_id, _Of):
            return self._organization_id
        room_id = room_at_work()
        room = None if room_id is None else await self._store.get_room(room_id)
        return None if room is None else room.organization_id

    @override
    async def get(self, *key: str) -> Value | None:
        return self._unexpired(await self._read(await self._organization(), key))

    async def _read(self, organization_id: str | None, key: tuple[str, ...]) -> Value | None:
        return await self._store.get_value(self._owner.namespace, key, organization_id=organization_id)

    def _unexpired(self, value: Value | None) -> Value | None:
        return None if value is None or value.is_expired(self._clock.now()) else value

    @override
    async def put(
        self,
        *key: str,
        data: Mapping[str, Any],
        if_revision: int | None = None,
        expires_in: float | timedelta | str | None = None,
        subject: str | None = None,
        room_id: str | None = None,
        derived: bool = False,
        fence: Home | None = None,
    ) -> Value:
        check_committed("a value")
        value = self._made(
            key=key,
            data=data,
            expires_at=self._expiry(expires_in),
            subject=subject,
            room_id=room_id,
            derived=derived,
            organization_id=await self._organization(),
        )
        if if_revision == 0:
            return await self._put_where_none_is(value, _fence(fence))
        return await self._store.put_value(value, if_revision=if_revision, fence=_fence(fence))

    async def _put_where_none_is(self, value: Value, fence: HomeRecord | None) -> Value:
        """Put a value where there is none, or one whose time is over."""
        try:
            return await self._store.put_value(value, if_revision=0, fence=fence)
        except StaleValueError:
            there = await self._read(value.organization_id, value.key)
            if self._unexpired(there) is not None:
                raise
        revision = 0 if there is None else there.revision
        return await self._store.put_value(value, if_revision=revision, fence=fence)

    def _expiry(self, expires_in: float | timedelta | str | None) -> datetime | None:
        if expires_in is None:
            return None
        return self._clock.now() + timedelta(seconds=seconds_of(expires_in))

    def _made(self, **fields: Any) -> Value:
        namespace = self._owner.namespace
        check_namespace(namespace)
        try:
            return Value(namespace=namespace, **fields)
        except ValidationError as error:
            raise InvalidInputError(
                f"the value {list(fields['key'])!r} of {namespace!r} cannot be kept: {problems_of(error)}; "
                "nothing was stored"
            ) from None

    @override
    async def change(
        self,
        *key: str,
        fn: Callable[[Json | None], Mapping[str, Any] | None],
        expires_in: float | timedelta | str | None = None,
        subject: str | None = None,
        room_id: str | None = None,
        derived: bool | None = None,
        fence: Home | None = None,
    ) -> Value | None:
        check_committed("a value")
        organization_id = await self._organization()
        wanted: dict[str, Any] = {
            "expires_at": self._expiry(expires_in),
            "subject": subject,
            "room_id": room_id,
            "derived": derived,
        }
        given = {name: each for name, each in wanted.items() if each is not None}
        for _ in range(_TRIES):
            there = await self._read(organization_id, key)
            before = self._unexpired(there)
            data = fn(None if before is None else before.data)
            if data is None and there is None:
                return None
            try:
                if data is None:
                    revision = None if there is None else there.revision
                    await self._delete(organization_id, key, revision, _fence(fence))
                    return None
                kept = {} if before is None else _kept(before)
                value = self._made(
                    **{**kept, **given, "key": key, "data": data, "organization_id": organization_id}
                )
                revision = 0 if there is None else there.revision
                return await self._store.put_value(value, if_revision=revision, fence=_fence(fence))
            except StaleValueError:
                continue
        raise StaleValueError(
            f"the value {list(key)!r} of {self._owner.namespace!r} was not changed: it moved {_TRIES} times "
            "in between; try again"
        )

    @override
    async def delete(self, *key: str, if_revision: int | None = None, fence: Home | None = None) -> bool:
        check_committed("a value")
        return await self._delete(await self._organization(), key, if_revision, _fence(fence))

    async def _delete(
        self,
        organization_id: str | None,
        key: tuple[str, ...],
        if_revision: int | None,
        fence: HomeRecord | None,
    ) -> bool:
        return await self._store.delete_value(
            self._owner.namespace, key, organization_id=organization_id, if_revision=if_revision, fence=fence
        )

    @override
    async def scan(self, *prefix: str, subject: str | None = None) -> AsyncIterator[Value]:
        organization_id = await self._organization()
        after: tuple[str, ...] | None = None
        while True:
            page = await self._store.list_values(
                self._owner.namespace,
                prefix,
                organization_id=organization_id,
                subject=subject,
                after=after,
                limit=_PAGE,
            )
            for value in page:
                if self._unexpired(value) is not None:
                    yield value
            if len(page) < _PAGE:
                return
            after = page[-1].key


def _fence(home: Home | None) -> HomeRecord | None:
    """Return a home as it is at this instant: its token rises with the worker's lease."""
    return None if home is None else HomeRecord(home.room_id, home.name, token=home.token)


def _kept(value: Value) -> dict[str, Any]:
    return {
        "expires_at": value.expires_at,
        "subject": value.subject,
        "room_id": value.room_id,
        "derived": value.derived,
    }
