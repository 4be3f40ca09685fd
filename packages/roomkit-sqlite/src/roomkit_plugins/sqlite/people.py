"""People as they are known over all rooms."""

from __future__ import annotations

import sqlite3

from roomkit.models.identity import Identity
from roomkit_plugins.sql.refusals import no_identity
from roomkit_plugins.sqlite.rows import dump, load
from roomkit_plugins.sqlite.sql import one

__all__ = ["create_identity", "delete_identity", "link_address"]


def create_identity(connection: sqlite3.Connection, identity: Identity) -> None:
    """Add an identity with its addresses, or replace the one of that id with its own."""
    connection.execute("DELETE FROM identity_addresses WHERE identity = ?", (identity.id,))
    connection.execute(
        "INSERT INTO identities (id, organization_id, data) VALUES (?, ?, ?) ON CONFLICT (id) "
        "DO UPDATE SET organization_id = excluded.organization_id, data = excluded.data",
        (identity.id, identity.organization_id or "", dump(identity)),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO identity_addresses (organization_id, channel_type, address, identity) "
        "VALUES (?, ?, ?, ?)",
        [(*address, identity.id) for address in identity.addresses],
    )


def delete_identity(connection: sqlite3.Connection, identity_id: str) -> bool:
    """Remove an identity and its addresses."""
    return connection.execute("DELETE FROM identities WHERE id = ?", (identity_id,)).rowcount > 0


def link_address(connection: sqlite3.Connection, identity_id: str, channel_type: str, address: str) -> None:
    """Add an address to an identity."""
    row = one(connection, "SELECT data FROM identities WHERE id = ?", (identity_id,))
    if row is None:
        raise no_identity(identity_id)
    identity = load(Identity, row[0])
    known = identity.channel_addresses.get(channel_type, ())
    if address not in known:
        addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
        create_identity(connection, identity.replace(channel_addresses=addresses))
