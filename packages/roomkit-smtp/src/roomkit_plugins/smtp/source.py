"""Mails of a mailbox, as they come in: IMAP (RFC 3501) with IDLE (RFC 2177)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.abc.log import get_logger
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.base import utcnow
from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.smtp.folder import FolderConnection
from roomkit_plugins.wire.mail.addresses import mailbox_of
from roomkit_plugins.wire.mail.inbound import MailReader, read_mail, unread_mail

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.source import EmitCallback
    from roomkit.models.source import SourceHealth
    from roomkit_plugins.smtp.config import IMAPConfig
    from roomkit_plugins.smtp.connections import GivesToken
    from roomkit_plugins.smtp.folder import MailInBox, OpenFolder

__all__ = ["IMAPSource"]

_log = get_logger("roomkit.imap")
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
_FIRST_DAY = date(1970, 1, 1)
_IN_A_THREAD = 20_000
"""Bytes of a mail from which on it is read in a worker thread."""


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a folder was read: up to `uid`, in the numbering `validity`; the last mail was of `day`."""

    validity: int
    uid: int
    day: date

    @property
    def data(self) -> dict[str, Any]:
        return {"validity": self.validity, "uid": self.uid, "day": self.day.isoformat()}


class IMAPSource(BaseSourceProvider):
    """Takes in the mails of one folder, in their order, each once it is there.

    How far it was read is kept under the kit's values: another worker, or this one when it starts again,
    continues from there. A mail counts as read once what it says is committed; one that is read twice, as
    when the server numbers its mails again, is known by its Message-ID. Attach it with `single=True` where
    there are several workers. `token` returns an access token for a server that takes no passwords (XOAUTH2).
    """

    def __init__(self, config: IMAPConfig, *, token: GivesToken | None = None) -> None:
        super().__init__()
        if config.password is None and token is None:
            raise InvalidInputError(
                f"the mailbox on {config.host!r} has no password: set IMAP_PASSWORD, or give IMAPConfig "
                "password or IMAPSource token"
            )
        self._config = config
        self._token = token
        self._mailbox: FolderConnection | None = None
        self._position: _Position | None = None
        self._backoff = _FIRST_BACKOFF
        self._unparsed = 0
        own = [config.username or "", *config.own_addresses]
        self._reader = MailReader(
            channel_id=config.channel_id,
            provider=config.provider,
            own=[mailbox_of(each).address for each in own if "@" in each],
            authserv_id=config.authserv_id,
        )

    @property
    @override
    def name(self) -> str:
        return f"imap:{self._config.username}@{self._config.host}/{self._config.mailbox}"

    @property
    def uid(self) -> int:
        """The number of the last mail that was taken in, 0 before any was."""
        return 0 if self._position is None else self._position.uid

    @override
    async def start(self, emit: EmitCallback) -> None:
        """Read until stopped. Raises ProviderError for what another try would end in as well.

        Such as a login that is refused, or a folder that is not there.
        """
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTING)
        try:
            while not self._should_stop():
                await self._session(emit)
        except ProviderError as error:
            self._set_status(SourceStatus.ERROR, str(error))
            raise
        finally:
            if self.status is not SourceStatus.ERROR:
                self._set_status(SourceStatus.STOPPED)

    @override
    async def stop(self) -> None:
        await super().stop()
        if self._mailbox is not None:
            self._mailbox.abort()

    @override
    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot; `uid` and `unparsed` are in its metadata."""
        return self._health.replace(metadata={"uid": self.uid, "unparsed": self._unparsed})

    # -- one connection -----------------------------------------------------------------------

    async def _session(self, emit: EmitCallback) -> None:
        """Read over one connection, until it breaks or the source is stopped; then wait before the next."""
        mailbox = self._mailbox = FolderConnection(self._config)
        try:
            folder = await mailbox.open(None if self._token is None else await self._token())
            position = await self._found(mailbox, folder)
            self._set_status(SourceStatus.CONNECTED)
            self._backoff = _FIRST_BACKOFF
            while not self._should_stop():
                position = await self._drain(mailbox, position, emit)
                await self._wait(mailbox, folder)
        except ProviderError as error:
            if self._should_stop():
                return
            if not error.retryable:
                raise
            self._set_status(SourceStatus.RECONNECTING, str(error))
            await self._pause()
        finally:
            self._mailbox = None
            await mailbox.close()

    async def _wait(self, mailbox: FolderConnection, folder: OpenFolder) -> None:
        if self._should_stop():
            return
        if folder.has_idle:
            await mailbox.wait(self._config.poll_seconds)
        else:
            await self._stopped_within(self._config.poll_seconds)

    async def _pause(self) -> None:
        await self._stopped_within(self._backoff)
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF)

    async def _stopped_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # -- mails --------------------------------------------------------------------------------

    async def _drain(self, mailbox: FolderConnection, position: _Position, emit: EmitCallback) -> _Position:
        """Take in what is after a position, in its order; return the new one."""
        for uid in await mailbox.uids_after(position.uid):
            if self._should_stop():
                break
            mail = await mailbox.read(uid)
            if mail is not None and not await self._take(mail, emit):
                await self._stopped_within(self._backoff)
                break
            day = position.day if mail is None else max(position.day, mail.at)
            position = await self._keep(_Position(position.validity, uid, day))
            if mail is not None:
                await self._process(mailbox, uid)
        return position

    async def _take(self, mail: MailInBox, emit: EmitCallback) -> bool:
        """Hand on what a mail says; return whether all of it may be acknowledged."""
        for part in await self._read(mail):
            if isinstance(part, InboundMessage | DeliveryStatus):
                result = await emit(part)
                if isinstance(result, InboundResult) and not result.stored:
                    return False
            elif isinstance(part, UnparsedPart):
                self._report(part)
        self._record_message()
        return True

    async def _read(self, mail: MailInBox) -> Sequence[WebhookPart]:
        if not mail.is_whole:
            why = f"it has {mail.size} bytes, more than {self._config.max_bytes}; it is in the mailbox"
            return [unread_mail(mail.data, why, self._reader)]
        if len(mail.data) < _IN_A_THREAD:
            return read_mail(mail.data, self._reader)
        return await asyncio.to_thread(read_mail, mail.data, self._reader)

    def _report(self, part: UnparsedPart) -> None:
        self._unparsed += 1
        _log.warning("%s: %s", self.name, part.reason)
        if self.services is not None:
            self.services.report(
                "webhook_unparsed",
                channel_id=part.channel_id,
                provider="imap",
                reason=part.reason,
                raw=part.raw,
            )

    async def _process(self, mailbox: FolderConnection, uid: int) -> None:
        """Mark, move or delete a mail that was taken in; it was, whatever becomes of that."""
        try:
            await mailbox.process(uid)
        except ProviderError as error:
            _log.warning("%s: mail %d was taken in, but not processed: %s", self.name, uid, error)
            if error.retryable:
                raise

    # -- the position -------------------------------------------------------------------------

    async def _found(self, mailbox: FolderConnection, folder: OpenFolder) -> _Position:
        """Return where to continue in a folder."""
        kept = await self._load()
        if kept is None:
            if self._config.begin == "all":
                return await self._keep(_Position(folder.validity, 0, _FIRST_DAY))
            return await self._keep(_Position(folder.validity, folder.next_uid - 1, self._today()))
        if kept.validity == folder.validity:
            return kept
        _log.warning("%s: the server numbered its mails again; those since %s are read", self.name, kept.day)
        first = await mailbox.first_since(kept.day)
        uid = folder.next_uid - 1 if first is None else first - 1
        return await self._keep(_Position(folder.validity, uid, kept.day))

    def _today(self) -> date:
        return (utcnow() if self.services is None else self.services.clock.now()).date()

    @property
    def _key(self) -> tuple[str, ...]:
        config = self._config
        return ("imap", config.host, config.username or "", config.mailbox)

    async def _load(self) -> _Position | None:
        if self.services is None:
            return self._position
        value = await self.services.values.get(*self._key)
        if value is None:
            return None
        said = value.data
        return _Position(int(said["validity"]), int(said["uid"]), date.fromisoformat(str(said["day"])))

    async def _keep(self, position: _Position) -> _Position:
        """Keep a position before anything is done on it."""
        if self.services is not None:
            await self.services.values.put(*self._key, data=position.data, fence=self.home)
        self._position = position
        return position
