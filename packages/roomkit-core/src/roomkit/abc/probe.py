"""The contract of components that can be asked whether they would work: `roomkit check --live`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["SupportsProbe"]


@runtime_checkable
class SupportsProbe(Protocol):
    """A component that can find out whether its other side would accept it.

    A provider asks its vendor with the credentials it was given, a store its server.
    """

    async def probe(self) -> str:
        """Return in one line what answered, as `account AC1 of example.com is active`.

        Changes nothing on either side, sends nothing to anyone, and costs no money. The component is built
        but not started. The caller has a deadline, and closes the component afterwards. Raises a
        RoomKitError that names the refusal, or the service out of reach, and the remedy.
        """
