"""One organization's view of a kit: its own rooms and people, without a trace of any other's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, override
from weakref import WeakValueDictionary

from roomkit.kernel.inbound.pipeline import Inbound
from roomkit.kernel.operations import RoomOperations
from roomkit.kernel.rooms.checks import check_id
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.models.base import new_id
from roomkit.models.identity import Identity

if TYPE_CHECKING:
    from roomkit.kernel.assembly.kernel import Kernel
    from roomkit.models.enums import AgentResponsePolicy, AutoAttach
    from roomkit.models.room import AIConfig, Room, RoomTimers

__all__ = ["Tenant", "Tenants"]


@checks_arguments()
class Tenant(RoomOperations):
    """The kit's operations on the rooms and people of one organization. Made by `RoomKit.for_organization`.

    A record of another organization is answered as an unknown id is: by the same error with the same words,
    the same None, False or empty list. So ids of rooms, identities and tasks are made up here: whether one
    is taken would disclose that others have it. Channels, hooks and agents are the kit's, and shared.
    """

    def __init__(
        self,
        kernel: Kernel,
        organization_id: str,
        inbound: Inbound,
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(kernel, inbound, organization_id)
        self._id = organization_id
        self._enter_kit = enter

    def __repr__(self) -> str:
        return f"<Tenant {self._id!r}>"

    @property
    def organization_id(self) -> str:
        """The organization."""
        return self._id

    @override
    async def _enter(self, room_id: str | None = None) -> None:
        await self._enter_kit()
        if room_id is not None:
            await self.get_room(room_id)

    async def create_room(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        timers: RoomTimers | None = None,
        retention: str | float | timedelta | None = None,
        ai_config: AIConfig | None = None,
        agent_response_policy: AgentResponsePolicy | None = None,
        auto_attach: AutoAttach | None = None,
    ) -> Room:
        """Create a room of the organization; its id is made up. A name of yours goes into the metadata."""
        return await self._create_room(
            None,
            metadata,
            timers=timers,
            retention=retention,
            ai_config=ai_config,
            organization_id=self._id,
            agent_response_policy=agent_response_policy,
            auto_attach=auto_attach,
        )

    async def create_identity(
        self,
        display_name: str | None = None,
        *,
        channel_addresses: Mapping[str, Sequence[str]] | None = None,
        **fields: Any,
    ) -> Identity:
        """Add an identity of the organization, under an id that is made up.

        `fields` are further ones of `Identity`: `email`, `phone`, `external_id`, `metadata` ...
        """
        given = {"id": new_id(), "organization_id": self._id, "display_name": display_name}
        addresses = dict(channel_addresses or {})
        identity = Identity.model_validate({**fields, **given, "channel_addresses": addresses})
        return await self._store.create_identity(identity)

    async def resolve_identity(self, channel_type: str, address: str) -> Identity | None:
        """Return who has that address in the organization."""
        return await self._store.resolve_identity(channel_type, address, organization_id=self._id)


class Tenants:
    """Makes views, one for an organization at a time: its messages are routed one by one."""

    def __init__(self, kernel: Kernel, enter: Callable[[], Awaitable[None]]) -> None:
        self._kernel = kernel
        self._enter = enter
        self._views: WeakValueDictionary[str, Tenant] = WeakValueDictionary()

    def of(self, organization_id: str) -> Tenant:
        """Return the view of an organization, the same object while it is referenced."""
        view = self._views.get(check_id(organization_id, "organization"))
        if view is None:
            view = self._views[organization_id] = self._make(organization_id)
        return view

    def _make(self, organization_id: str) -> Tenant:
        inbound = self._kernel.entry.organizations.of(organization_id)
        return Tenant(self._kernel, organization_id, inbound, self._enter)
