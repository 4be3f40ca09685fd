"""Vendors that accept everything, and fail on command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roomkit.abc.email import EmailProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.http import HTTPProvider
from roomkit.abc.messenger import MessengerProvider
from roomkit.abc.provider import Provider
from roomkit.abc.rcs import RCSDeliveryResult, RCSProvider
from roomkit.abc.sms import SMSProvider
from roomkit.abc.teams import TeamsProvider
from roomkit.abc.telegram import TelegramProvider
from roomkit.abc.whatsapp import WhatsAppProvider
from roomkit.models.base import new_id
from roomkit.models.content import DeleteContent, text_of
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit.models.hints import (
    EmailHints,
    HTTPHints,
    MessengerHints,
    RCSHints,
    SMSHints,
    TeamsHints,
    TelegramHints,
    WhatsAppHints,
)
from roomkit_plugins.testing.mocks.script import Hang, Script

__all__ = [
    "MockEmailProvider",
    "MockHTTPProvider",
    "MockMessengerProvider",
    "MockRCSProvider",
    "MockSMSProvider",
    "MockTeamsProvider",
    "MockTelegramProvider",
    "MockWhatsAppProvider",
]

type Step = ProviderResult | Exception | Hang | None


class MockProvider(Provider):
    """What the mocks of all text providers share: they record every send, and play a script.

    `script` says what each send does, in order: a `ProviderResult` is returned, an exception
    raised, a `Hang` waited for, None sends. After it every send ends in `fail_with`, or well.
    `delay` seconds of the loop's clock pass first. With `idempotent`, a key that was sent before gets its
    first result again, and nothing is sent. Each send is a dict with `event`, `to`,
    `idempotency_key`, `hints` and what those say for its role: in `attempts` when it was asked for, in `sent`
    when it went well, or in `amended` if it was about an earlier message. `shown` is what the recipient sees
    of each message by its id, after edits and deletions, `reacted` the emoji on it; a message that is amended
    keeps its id.
    """

    def __init__(
        self,
        *,
        script: Iterable[Step] = (),
        fail_with: ProviderResult | Exception | None = None,
        delay: float = 0.0,
        name: str | None = None,
        idempotent: bool = False,
    ) -> None:
        self.idempotent = idempotent
        self._known: dict[str, ProviderResult] = {}  # bound: the life of a test
        self.attempts: list[dict[str, Any]] = []  # bound: the life of a test
        self.sent: list[dict[str, Any]] = []  # bound: the life of a test
        self.amended: list[dict[str, Any]] = []  # bound: the life of a test
        self.shown: dict[str, str] = {}  # bound: the life of a test
        self.reacted: dict[str, list[str]] = {}  # bound: the life of a test
        self.fail_with = fail_with
        self.closed = False
        self._script: Script[ProviderResult] = Script(script, delay=delay)
        self._name = name or type(self).__name__
        self.signals: list[dict[str, Any]] = []  # bound: the life of a test

    @property
    def name(self) -> str:
        """The provider's component name: the class's, unless another was given."""
        return self._name

    @property
    def texts(self) -> list[str]:
        """The words of everything that was sent."""
        return [text_of(send["event"].content) for send in self.sent]

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    async def _send(self, **send: Any) -> ProviderResult:
        self.attempts.append(send)
        if not send["to"].strip():
            raise ProviderError(
                f"{self.name} was given no recipient; put one into the binding's metadata",
                error_code=ErrorCode.MISSING_RECIPIENT,
                provider=self.name,
            )
        key = send["idempotency_key"] if self.idempotent else None
        if key in self._known:
            return self._known[key]
        result = await self._script.play() or self.fail_with
        if isinstance(result, Exception):
            raise result
        result = result or self._accepted(send)
        if result.success:
            self._show(send, result.provider_message_id or "")
            if key is not None:
                self._known[key] = result
        return result

    def _show(self, send: dict[str, Any], message_id: str) -> None:
        """Show the recipient a message, or what an event changes of one."""
        event, about = send["event"], _about(send)
        if not about:
            self.sent.append(send)
            self.shown[message_id] = text_of(event.content)
            return
        self.amended.append(send)
        if event.type is EventType.REACTION:
            is_put = event.metadata.get("action") != "remove"
            self.reacted[about[0]] = [text_of(event.content)] if is_put else []
        elif isinstance(event.content, DeleteContent):
            self.shown.pop(about[0], None)
        else:
            self.shown[about[0]] = text_of(event.content)

    def _accepted(self, send: Mapping[str, Any]) -> ProviderResult:
        about = _about(send)  # a message that is changed keeps its id, as at most vendors
        return ProviderResult(success=True, provider_message_id=about[0] if about else new_id())


def _about(send: Mapping[str, Any]) -> tuple[str, ...]:
    hints = send["hints"]
    return () if hints is None else tuple(hints.about)


class _TypingProvider(MockProvider):
    """What the mocks share whose vendors show typing.

    `signals` has each call of `show_typing`, and of `mark_read` where there is one, as a dict. Each takes
    `signal_delay` seconds, and raises `fail_signals_with` if that is set.
    """

    typing_seconds = 20.0
    signal_delay = 0.0
    fail_signals_with: Exception | None = None

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Record that someone types, or no longer."""
        await self._signal(to=to, is_typing=is_typing, answering=answering)

    async def _signal(self, **said: Any) -> None:
        self.signals.append(said)
        await asyncio.sleep(self.signal_delay)
        if self.fail_signals_with is not None:
            raise self.fail_signals_with


class _ReadingProvider(_TypingProvider):
    """What the mocks share whose vendors show typing and read marks."""

    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        """Record what was read."""
        await self._signal(to=to, message_ids=list(message_ids))


class MockSMSProvider(MockProvider, SMSProvider):
    """An SMS vendor; `sent` also has `from`, "" when the sender was left open."""

    from_number = "+15550001234"

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        sender = hints.from_ if hints is not None else None
        return await self._send(
            event=event, to=to, idempotency_key=idempotency_key, hints=hints, **{"from": sender or ""}
        )


class MockRCSProvider(_ReadingProvider, RCSProvider):
    """An RCS vendor; `sent` also has `fallback`, and `calls` is another name of `attempts`.

    With `simulate_fallback` no phone has RCS: a message that may fall back goes as an SMS, any other is
    refused. With `simulate_failure` every send is refused.
    """

    def __init__(
        self,
        sender_id: str = "mock_rcs_agent",
        *,
        simulate_fallback: bool = False,
        simulate_failure: bool = False,
        script: Iterable[Step] = (),
        fail_with: ProviderResult | Exception | None = None,
        delay: float = 0.0,
        name: str | None = None,
        idempotent: bool = False,
    ) -> None:
        if simulate_failure:
            fail_with = RCSDeliveryResult(success=False, error="simulated_failure")
        super().__init__(script=script, fail_with=fail_with, delay=delay, name=name, idempotent=idempotent)
        self._sender_id = sender_id
        self.simulate_fallback = simulate_fallback

    @property
    def sender_id(self) -> str:
        """The RCS agent that messages are sent as."""
        return self._sender_id

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every send that was asked for."""
        return self.attempts

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: RCSHints | None = None,
    ) -> RCSDeliveryResult:
        """Record the message, and play the script."""
        fallback = hints is None or hints.fallback
        result = await self._send(
            event=event, to=to, idempotency_key=idempotency_key, hints=hints, fallback=fallback
        )
        if isinstance(result, RCSDeliveryResult):
            return result
        return RCSDeliveryResult(**dict(result))

    async def check_capability(self, phone_number: str) -> bool:
        """Return whether the phone has RCS: all have, unless a fallback is simulated."""
        return not self.simulate_fallback

    def _accepted(self, send: Mapping[str, Any]) -> ProviderResult:
        if not self.simulate_fallback:
            return RCSDeliveryResult(success=True, provider_message_id=new_id())
        if send["fallback"]:
            return RCSDeliveryResult(
                success=True, provider_message_id=new_id(), channel_used="sms", fallback=True
            )
        raise ProviderError(
            f"{send['to']} has no RCS, and a fallback was not allowed",
            error_code=ErrorCode.INVALID_RECIPIENT,
            provider=self.name,
        )


class MockEmailProvider(MockProvider, EmailProvider):
    """An e-mail vendor; `sent` also has `from` and `subject`, "" when they were left open."""

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: EmailHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        said = hints or EmailHints()
        return await self._send(
            event=event,
            to=to,
            subject=said.subject or "",
            idempotency_key=idempotency_key,
            hints=hints,
            **{"from": said.from_ or ""},
        )


class MockMessengerProvider(_ReadingProvider, MessengerProvider):
    """A Messenger vendor."""

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: MessengerHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        return await self._send(event=event, to=to, idempotency_key=idempotency_key, hints=hints)


class MockTeamsProvider(_TypingProvider, TeamsProvider):
    """A Teams vendor."""

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TeamsHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        return await self._send(event=event, to=to, idempotency_key=idempotency_key, hints=hints)


class MockTelegramProvider(_TypingProvider, TelegramProvider):
    """A Telegram vendor."""

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TelegramHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        return await self._send(event=event, to=to, idempotency_key=idempotency_key, hints=hints)


class MockHTTPProvider(MockProvider, HTTPProvider):
    """An HTTP endpoint."""

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: HTTPHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        return await self._send(event=event, to=to, idempotency_key=idempotency_key, hints=hints)


class MockWhatsAppProvider(_ReadingProvider, WhatsAppProvider):
    """A WhatsApp vendor; `templates` and `reactions` hold sends that are not messages."""

    def __init__(
        self,
        *,
        script: Iterable[Step] = (),
        fail_with: ProviderResult | Exception | None = None,
        delay: float = 0.0,
        name: str | None = None,
        idempotent: bool = False,
    ) -> None:
        super().__init__(script=script, fail_with=fail_with, delay=delay, name=name, idempotent=idempotent)
        self.templates: list[dict[str, Any]] = []  # bound: the life of a test
        self.reactions: list[dict[str, Any]] = []  # bound: the life of a test

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: WhatsAppHints | None = None,
    ) -> ProviderResult:
        """Record the message, and play the script."""
        return await self._send(event=event, to=to, idempotency_key=idempotency_key, hints=hints)

    async def send_template(
        self, to: str, template_name: str, params: Mapping[str, str] | None = None
    ) -> ProviderResult:
        """Record the template."""
        self.templates.append({"to": to, "template_name": template_name, "params": dict(params or {})})
        return ProviderResult(success=True, provider_message_id=new_id())

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> ProviderResult:
        """Record the reaction."""
        self.reactions.append({"chat": chat, "sender": sender, "message_id": message_id, "emoji": emoji})
        return ProviderResult(success=True, provider_message_id=new_id())
