"""The register of consents: written before a message is judged by anything else, read before each attempt."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from roomkit.abc.errors import StaleValueError
from roomkit.authoring.addresses import one_spelling
from roomkit.kernel.runtime.kept_secret import KeptSecret
from roomkit.models.consent import ALL_PURPOSES, Consent
from roomkit.models.content import ConsentContent
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.value import Value

if TYPE_CHECKING:
    from pydantic import SecretStr

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.models.event import RoomEvent

__all__ = ["Consents", "Suppression"]

type Suppression = Literal["keep", "forget"]
"""What becomes of revoked consents when a person is erased."""

_NAMESPACE = "core.consent"
_MOST_SEEN = 8
"""How many of a value's last messages are remembered, so that a redelivered one changes nothing."""


class Consents:
    """Keeps one value for each organization, address and purpose; no cache, so it holds on every worker.

    Addresses are kept as HMAC-SHA-256 of their kind and their one spelling. A revocation has no person's
    name: it survives their erasure, and is found again by the address alone. A grant has the address as its
    subject and is erased with the person.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        announce: Callable[[ConsentContent, str | None], None],
        suppression_key: SecretStr | None = None,
    ) -> None:
        self._announce = announce
        self._store = store
        self._clock = clock
        self._secret = KeptSecret(store, _NAMESPACE, suppression_key)

    # -- writing ------------------------------------------------------------------------------

    async def put(
        self, said: ConsentContent, organization_id: str | None, *, message_key: str | None = None
    ) -> Consent:
        """Store a consent for an address and purpose; return the one in force.

        The newer of two counts, by the vendor's time where it is given. A message that was seen before, by
        its key, changes nothing. Raises StoreError: nothing is kept then.
        """
        at = said.at or self._clock.now()
        key = await self._value_key(said.address_type, said.address, said.purpose)
        while True:
            before = await self._store.get_value(_NAMESPACE, key, organization_id=organization_id)
            held = None if before is None else _consent_of(before)
            if before is not None and held is not None:
                if message_key is not None and message_key in before.data["seen"]:
                    return held
                if at < held.at:
                    return held
            wanted = self._value(said, organization_id, key, at, before, message_key)
            try:
                put = await self._store.put_value(
                    wanted, if_revision=0 if before is None else before.revision
                )
            except StaleValueError:
                continue  # another worker was first: judge again by what it put
            if held is None or held.state is not said.state:
                self._announce(said, organization_id)
            return _consent_of(put)

    def _value(
        self,
        said: ConsentContent,
        organization_id: str | None,
        key: tuple[str, ...],
        at: datetime,
        before: Value | None,
        message_key: str | None,
    ) -> Value:
        seen = () if before is None else before.data["seen"]
        if message_key is not None:
            seen = (*seen, message_key)[-_MOST_SEEN:]
        is_grant = said.state is ConsentState.GRANTED
        return Value(
            namespace=_NAMESPACE,
            key=key,
            organization_id=organization_id,
            subject=one_spelling(said.address_type, said.address) if is_grant else None,
            data={
                "state": said.state.value,
                "purpose": said.purpose,
                "at": at.isoformat(),
                "source": said.source,
                "seen": list(seen),
            },
        )

    async def forget(self, address_type: str, address: str, organization_id: str | None) -> int:
        """Remove all that is kept of an address, revocations too; return how many there were."""
        prefix = await self._prefix(address_type, address)
        removed = 0
        async for value in self._values(prefix, organization_id):
            removed += await self._store.delete_value(_NAMESPACE, value.key, organization_id=organization_id)
        return removed

    # -- reading ------------------------------------------------------------------------------

    async def get(
        self, address_type: str, address: str, purpose: str, organization_id: str | None
    ) -> Consent | None:
        """Return the latest consent for exactly this purpose, None without one."""
        key = await self._value_key(address_type, address, purpose)
        value = await self._store.get_value(_NAMESPACE, key, organization_id=organization_id)
        return None if value is None else _consent_of(value)

    async def count_revocations(
        self, addresses: Iterable[tuple[str, str]], organization_id: str | None
    ) -> int:
        """Return how many revocations are kept of a person's addresses."""
        return len([value async for value in self.revocations(addresses, organization_id)])

    async def revocations(
        self, addresses: Iterable[tuple[str, str]], organization_id: str | None
    ) -> AsyncIterator[Value]:
        """Yield the revocations that are kept of a person's addresses, each under its hash."""
        for address_type, address in addresses:
            prefix = await self._prefix(address_type, address)
            async for value in self._values(prefix, organization_id):
                if _consent_of(value).state is ConsentState.REVOKED:
                    yield value

    async def allows(
        self,
        address_type: str,
        address: str,
        purpose: str,
        organization_id: str | None,
        *,
        event: RoomEvent,
        delivery_id: str,
        is_required: bool,
    ) -> bool:
        """Return whether an event may be sent to an address for a purpose, now.

        A revocation for the purpose or for all of them forbids it; one for no organization counts in each.
        With `is_required` so does the lack of a grant. One delivery that answers the message by which it was
        revoked is allowed: its confirmation. Raises StoreError.
        """
        prefix = await self._prefix(address_type, address)
        has_grant = False
        for scope in dict.fromkeys((organization_id, None)):
            async for value in self._values(prefix, scope):
                consent = _consent_of(value)
                if consent.purpose not in (purpose, ALL_PURPOSES):
                    continue
                if consent.state is ConsentState.GRANTED:
                    has_grant = True
                elif not await self._confirms(value, event, delivery_id):
                    return False
        return has_grant or not is_required

    async def _confirms(self, revoked: Value, event: RoomEvent, delivery_id: str) -> bool:
        """Return whether a delivery is the one confirmation of a revocation."""
        if revoked.data.get("confirmation") == delivery_id:
            return True
        if "confirmation" in revoked.data:
            return False
        for event_id in filter(None, (event.parent_event_id, event.correlation_id)):
            asked = await self._store.get_event(event_id)
            if asked is not None and asked.type is EventType.CONSENT and await self._is_of(asked, revoked):
                data = {**revoked.data, "confirmation": delivery_id}
                try:
                    await self._store.put_value(revoked.replace(data=data), if_revision=revoked.revision)
                except StaleValueError:
                    return False  # another delivery confirms it, or it was revoked again
                return True
        return False

    async def _is_of(self, asked: RoomEvent, revoked: Value) -> bool:
        said = asked.content
        if not isinstance(said, ConsentContent) or said.state is not ConsentState.REVOKED:
            return False
        return revoked.key == await self._value_key(said.address_type, said.address, said.purpose)

    # -- keys ---------------------------------------------------------------------------------

    async def _prefix(self, address_type: str, address: str) -> tuple[str, str]:
        who = json.dumps([address_type, one_spelling(address_type, address)])
        return address_type, hmac.new(await self._secret.get(), who.encode(), sha256).hexdigest()

    async def _value_key(self, address_type: str, address: str, purpose: str) -> tuple[str, ...]:
        return (*await self._prefix(address_type, address), purpose)

    async def _values(self, prefix: tuple[str, str], organization_id: str | None) -> AsyncIterator[Value]:
        after = None
        while page := await self._store.list_values(
            _NAMESPACE, prefix, organization_id=organization_id, after=after
        ):
            for value in page:
                yield value
            after = page[-1].key


def _consent_of(value: Value) -> Consent:
    data: Mapping[str, Any] = value.data
    return Consent(
        state=ConsentState(data["state"]),
        purpose=data["purpose"],
        at=datetime.fromisoformat(data["at"]),
        source=data["source"],
    )
