"""Keeps where people stand with their verification: by person, in values that go with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.agents.verification.codes import new_salt
from roomkit_plugins.agents.verification.standing import PersonStanding, Verification

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.services import Services, Values
    from roomkit.kernel.kit import RoomKit

__all__ = ["Book", "Whom"]

_KEPT = timedelta(days=30)
"""For how long it is known that a verification expired or was revoked."""


class Whom(NamedTuple):
    """A person: an identity of one organization, or of none."""

    identity_id: str
    organization_id: str | None = None

    @property
    def name(self) -> str:
        """What keys and timers about the person are named by; ids may be too long for those."""
        return sha256(repr(tuple(self)).encode(errors="surrogatepass")).hexdigest()[:40]


class Book:
    """Reads and changes standings. Changes are conditional writes: none is lost, on any worker."""

    def __init__(self, kit: RoomKit) -> None:
        self._kit = kit

    @property
    def services(self) -> Services:
        """The services of the plugin."""
        return self._kit.services_of(NAMESPACE)

    def now(self) -> datetime:
        """Return the present instant by the kit's clock."""
        return self._kit.clock.now()

    def _values(self, whom: Whom) -> Values:
        return self.services.values.of(whom.organization_id)

    async def read(self, whom: Whom) -> PersonStanding | None:
        """Return where a person stands; None if there is nothing."""
        value = await self._values(whom).get("verification", whom.name)
        return None if value is None else PersonStanding.model_validate(value.data)

    async def change(
        self, whom: Whom, fn: Callable[[PersonStanding], PersonStanding], *, kept: timedelta = _KEPT
    ) -> PersonStanding:
        """Replace a standing by `fn(standing)`, which is pure and may be called again; return it."""
        made: list[PersonStanding] = []

        def apply(data: Any) -> Any:
            before = PersonStanding(salt=new_salt()) if data is None else PersonStanding.model_validate(data)
            made[:] = [fn(before)]
            return made[0].model_dump(mode="json", exclude_defaults=True)

        await self._values(whom).change(
            "verification", whom.name, fn=apply, expires_in=max(kept, _KEPT), subject=whom.identity_id
        )
        return made[0]

    async def keep_challenge(self, whom: Whom, challenge_id: str, within: timedelta) -> None:
        """Keep whose a challenge is, for its delivery."""
        await self._values(whom).put(
            "code",
            challenge_id,
            data={"identity": whom.identity_id},
            subject=whom.identity_id,
            expires_in=within,
        )

    async def whose(self, challenge_id: str, organization_id: str | None) -> Whom | None:
        """Return whose a challenge is; None once it is over or its person was erased."""
        value = await self.services.values.of(organization_id).get("code", challenge_id)
        return None if value is None else Whom(value.data["identity"], organization_id)

    async def seen(self, whom: Whom) -> Verification:
        """Return the verification of a person as it is now."""
        return self.shown(whom, await self.read(whom))

    def shown(self, whom: Whom, standing: PersonStanding | None) -> Verification:
        """Return a standing as programs see it."""
        about = Verification(identity_id=whom.identity_id, organization_id=whom.organization_id)
        if standing is None:
            return about
        return about.replace(
            status=standing.status(self.now()),
            method=standing.method,
            verified_at=standing.verified_at,
            expires_at=standing.expires_at,
            reason=standing.reason,
        )
