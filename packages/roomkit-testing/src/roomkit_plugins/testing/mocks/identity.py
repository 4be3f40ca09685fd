"""A resolver that knows the identities given to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roomkit.abc.identity import IdentityResolver
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import Identity, IdentityResult
from roomkit_plugins.testing.mocks.script import Hang, Script

__all__ = ["MockIdentityResolver"]


class MockIdentityResolver(IdentityResolver):
    """Finds identities by sender id; `calls` keeps the messages it was asked about.

    `mapping` gives IDENTIFIED, `ambiguous` AMBIGUOUS with its candidates, all others
    `unknown_status`. `script` plays exceptions and hangs first; `delay` is on the loop's clock.
    """

    def __init__(
        self,
        mapping: Mapping[str, Identity] | None = None,
        ambiguous: Mapping[str, Sequence[Identity]] | None = None,
        unknown_status: IdentificationStatus = IdentificationStatus.UNKNOWN,
        *,
        script: Sequence[Exception | Hang | None] = (),
        delay: float = 0.0,
    ) -> None:
        self.calls: list[InboundMessage] = []  # bound: the life of a test
        self._mapping = dict(mapping or {})
        self._ambiguous = dict(ambiguous or {})
        self._unknown_status = unknown_status
        self._script: Script[None] = Script(script, delay=delay)

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Return who the sender is, as far as the mappings say."""
        self.calls.append(message)
        await self._script.play()
        sender = message.sender_id
        if sender in self._mapping:
            return IdentityResult(
                status=IdentificationStatus.IDENTIFIED, identity=self._mapping[sender], address=sender
            )
        if sender in self._ambiguous:
            return IdentityResult(
                status=IdentificationStatus.AMBIGUOUS,
                candidates=tuple(self._ambiguous[sender]),
                address=sender,
            )
        return IdentityResult(status=self._unknown_status, address=sender)
