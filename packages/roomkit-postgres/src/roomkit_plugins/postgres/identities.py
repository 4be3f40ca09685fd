"""Identities, and the addresses that lead to them."""

from __future__ import annotations

from roomkit.abc.errors import StoreLockedError
from roomkit.models.identity import Identity
from roomkit_plugins.postgres import reading
from roomkit_plugins.postgres.database import Database
from roomkit_plugins.postgres.rows import IDENTITIES, encoded
from roomkit_plugins.sql.refusals import no_identity

__all__ = ["get_identity", "link_address", "put_identity", "resolve_identity"]

_TRIES = 20


async def put_identity(database: Database, identity: Identity, made_from: int | None) -> bool:
    """Add or replace an identity; False if it is no longer of the revision that it was `made_from`."""
    answer = await database.write(
        "roomkit_put_identity($3, $4, $5)",
        encoded(IDENTITIES.dump(identity)),
        encoded(sorted(identity.addresses)),
        made_from,
    )
    return "error" not in answer


async def get_identity(database: Database, identity_id: str, organization_id: str | None) -> Identity | None:
    """Return an identity of the organization; of any when it is None."""
    found = await reading.get_identity(
        database, "i.id = $1 AND ($2::text IS NULL OR i.organization_id = $2)", identity_id, organization_id
    )
    return None if found is None else found[0]


async def resolve_identity(
    database: Database, organization_id: str, channel_type: str, address: str
) -> Identity | None:
    """Return the identity that has an address within the organization."""
    found = await reading.get_identity(
        database,
        "i.id = (SELECT a.identity FROM roomkit_addresses a WHERE a.organization_id = $1 "
        "AND a.channel_type = $2 AND a.address = $3)",
        organization_id,
        channel_type,
        address,
    )
    return None if found is None else found[0]


async def link_address(database: Database, identity_id: str, channel_type: str, address: str) -> None:
    """Let an address lead to an identity. Raises IdentityNotFoundError, StoreLockedError."""
    for _ in range(_TRIES):
        found = await reading.get_identity(  # a damaged one is not written back without the rest
            database, "i.id = $1", identity_id, load=IDENTITIES.load
        )
        if found is None:
            raise no_identity(identity_id)
        identity, revision = found
        known = identity.channel_addresses.get(channel_type, ())
        if address in known:
            return
        addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
        if await put_identity(database, identity.replace(channel_addresses=addresses), revision):
            return
    raise StoreLockedError(f"others change identity {identity_id!r} all the time: try again")
