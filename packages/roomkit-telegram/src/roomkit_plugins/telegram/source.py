"""Telegram's updates by long polling: https://core.telegram.org/bots/api#getupdates (Bot API 10.0)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit.authoring.source import BaseSourceProvider
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telegram.client import TelegramAPI
from roomkit_plugins.telegram.errors import ORIGIN
from roomkit_plugins.telegram.intake import TelegramIntake
from roomkit_plugins.telegram.updates import UPDATES

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.services import Services
    from roomkit.abc.source import EmitCallback
    from roomkit.models.source import SourceHealth
    from roomkit_plugins.telegram.config import TelegramSourceConfig

__all__ = ["TelegramSource"]

_log = get_logger("roomkit.telegram")
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
_OFFSET = "offset"


class TelegramSource(BaseSourceProvider):
    """Takes a bot's updates by long polling, where Telegram cannot reach a webhook.

    Attach it with `single=True`: Telegram answers one poller of a bot, and refuses while a webhook is set.
    Each update is acknowledged once what it says is committed; the offset is kept under the kit's values, so
    that another worker, or this one when it starts again, continues from there. Telegram keeps updates for 24
    hours. `http_client` replaces the connections; its maker closes it.
    """

    def __init__(
        self, config: TelegramSourceConfig, *, http_client: httpx2.AsyncClient | None = None
    ) -> None:
        super().__init__()
        self._config = config
        self._channel_id = config.channel_id
        self._api = TelegramAPI(config, owner=type(self).__name__, http_client=http_client)
        self._intake = TelegramIntake(config, self._api, way="polling")
        self._offset = 0
        self._unparsed = 0
        self._polling: asyncio.Timeout | None = None

    @property
    @override
    def name(self) -> str:
        return f"telegram:{self._config.bot_id}"

    @property
    def offset(self) -> int:
        """The id of the first update that is not acknowledged, 0 before any was."""
        return self._offset

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        self._intake.bind(services)

    @override
    async def start(self, emit: EmitCallback) -> None:
        """Poll until stopped. Raises ProviderError for what another try would end in as well.

        Such as a token that is not valid, or a webhook that is set.
        """
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTING)
        try:
            await self._load()
            while not self._should_stop():
                await self._round(emit)
        except ProviderError as error:
            self._set_status(SourceStatus.ERROR, str(error))
            raise
        finally:
            if self.status is not SourceStatus.ERROR:
                self._set_status(SourceStatus.STOPPED)

    @override
    async def stop(self) -> None:
        await super().stop()
        if self._polling is not None:
            self._polling.reschedule(asyncio.get_running_loop().time())

    @override
    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot; `offset` and `unparsed` are in its metadata."""
        return self._health.replace(metadata={"offset": self._offset, "unparsed": self._unparsed})

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._api.close()

    # -- polling ------------------------------------------------------------------------------

    async def _round(self, emit: EmitCallback) -> None:
        """Ask for updates, and take each in."""
        updates = await self._polled()
        if updates is None:
            return
        if self.status is not SourceStatus.CONNECTED:
            self._set_status(SourceStatus.CONNECTED)
        for update in updates:
            if self._should_stop() or not await self._take(update, emit):
                return

    async def _polled(self) -> list[Any] | None:
        """Return the next updates; None if the source was stopped, or waited after a failure that passes."""
        try:
            return await self._unless_stopped(
                self._api.updates(
                    offset=self._offset,
                    limit=self._config.limit,
                    seconds=self._config.poll_seconds,
                    kinds=list(UPDATES),
                )
            )
        except ProviderError as error:
            if error.status_code == 409:
                raise self._conflict(error) from error
            if not error.retryable:
                raise
            self._set_status(SourceStatus.RECONNECTING, str(error))
            await self._pause(error.retry_after or _FIRST_BACKOFF)
            return None

    def _conflict(self, error: ProviderError) -> ProviderError:
        return ORIGIN.refused(
            f"updates of bot {self._config.bot_id} cannot be polled: a webhook is set, or another poller "
            f"runs; call deleteWebhook, and attach the source with single=True ({error})"
        )

    async def _take(self, update: Any, emit: EmitCallback) -> bool:
        """Take an update in until it is stored, and acknowledge it; False if it was stopped before."""
        number = update.get("update_id") if isinstance(update, dict) else None
        if not isinstance(number, int):
            raise ORIGIN.bad_response("an update without update_id")
        backoff = _FIRST_BACKOFF
        while not await self._handed_in(update, emit):
            if not await self._pause(backoff):
                return False
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
        self._offset = number + 1
        await self._save()
        return True

    async def _handed_in(self, update: Any, emit: EmitCallback) -> bool:
        """Whether everything that an update says is stored, or refused for good."""
        try:
            found = await self._intake.parts(update, self._channel_id)
        except ProviderError as error:
            if error.error_code is ErrorCode.CANCELED:
                raise
            _log.warning("source %s takes an update in again: %s", self.name, error)
            return False
        except ValueError as error:  # it would be no update the next time either
            self._report(str(error), update)
            return True
        for part in found:
            if isinstance(part, UnparsedPart):
                self._report(part.reason, update)
            elif isinstance(part, InboundMessage):
                self._record_message()
                result = await emit(part)
                if isinstance(result, InboundResult) and not result.stored:
                    return False
        await self._acknowledge_press(update)
        return True

    async def _acknowledge_press(self, update: Any) -> None:
        """End the progress bar on the phone of a person who pressed a button: it matters for seconds only."""
        query = update.get("callback_query")
        if not isinstance(query, dict) or not isinstance(query.get("id"), str):
            return
        try:
            await self._api.call("answer_callback_query", {"callback_query_id": query["id"]})
        except ProviderError as error:
            _log.warning("source %s could not acknowledge a pressed button: %s", self.name, error)

    def _report(self, reason: str, update: Any) -> None:
        self._unparsed += 1
        _log.warning("source %s got an update that is no message: %s", self.name, reason)
        if self.services is not None:
            self.services.report(
                "source_unparsed",
                channel_id=self._channel_id,
                source_name=self.name,
                error=reason,
                bytes=len(str(update)),
                unparsed=self._unparsed,
            )

    # -- where it is --------------------------------------------------------------------------

    async def _load(self) -> None:
        if self.services is not None:
            value = await self.services.values.get(_OFFSET, self._config.bot_id)
            found = None if value is None else value.data.get("offset")
            self._offset = found if isinstance(found, int) else 0

    async def _save(self) -> None:
        if self.services is not None:
            await self.services.values.put(
                _OFFSET, self._config.bot_id, data={"offset": self._offset}, fence=self.home
            )

    # -- waiting ------------------------------------------------------------------------------

    async def _unless_stopped[T](self, waiting: Any) -> T | None:
        """Await what may take long; None once the source is stopped."""
        try:
            async with asyncio.timeout(None) as self._polling:
                if self._should_stop():
                    self._polling.reschedule(asyncio.get_running_loop().time())
                found: T = await waiting
                return found
        except TimeoutError:
            if not self._should_stop():
                raise
            return None
        finally:
            self._polling = None

    async def _pause(self, seconds: float) -> bool:
        """Wait; False if the source was stopped meanwhile."""
        await self._unless_stopped(asyncio.sleep(seconds))
        return not self._should_stop()
