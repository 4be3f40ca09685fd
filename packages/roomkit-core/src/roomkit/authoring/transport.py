"""A channel over any provider that sends to an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, override

from pydantic import TypeAdapter, ValidationError

from roomkit._names import nearest
from roomkit.abc.channel import Channel, own_channel_type
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.abc.provider import MarksRead, Provider, ReceivesWebhooks, ShowsTyping
from roomkit.authoring.addresses import one_spelling
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import CompositeContent, EventContent, MediaContent
from roomkit.models.enums import ChannelType, EphemeralEventType
from roomkit.models.hints import ReplyHints

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.provider import SendsToAddress
    from roomkit.abc.services import Services
    from roomkit.authoring.window import ReplyWindow
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import TemplateContent
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["TransportChannel"]


_MOST_REPLACED = 1_000


class TransportChannel(Channel):
    """A channel configured by its type, capabilities, provider, and where the address is kept.

    The recipient is the binding's `metadata[recipient_key]`. `defaults` are hints of the provider's role,
    such as `SMSHints.from_`: a value is fixed, None is read from the binding's metadata at each delivery.
    Others come from the event, under the channel's type in `channel_data.extra`
    (`{"email": {"subject": "Your order"}}`), and from `hints`. A delivery
    without a provider is skipped (`no_provider`); without an address it fails (`missing_recipient`).
    Of several `providers` the first is the preferred one. A message goes on to the next only if the failure
    is the provider's fault and it certainly has not taken the message (`ProviderError.accepted` is False), so
    none is sent by two of them; the parts of a message that is split go by one. Raises InvalidInputError
    for two providers of one name.
    `paced_by` names the hint whose value the vendor's limits count, such as the sending number
    `from_`; without it they count for the channel. With a `window`, free messages go out only for so long
    after the recipient last wrote: see `ReplyWindow`. Typing and read marks are shown by the first provider
    that can: see `ShowsTyping`, `MarksRead`.
    """

    needs_vendor_ids = True

    def __init__(
        self,
        channel_id: str,
        channel_type: ChannelType,
        *,
        provider: SendsToAddress | None = None,
        providers: Sequence[SendsToAddress] = (),
        capabilities: ChannelCapabilities | None = None,
        recipient_key: str = "recipient_id",
        defaults: Mapping[str, Any] | None = None,
        paced_by: str | None = None,
        window: ReplyWindow | None = None,
    ) -> None:
        super().__init__(channel_id)
        self.channel_type = own_channel_type(channel_type)
        self.providers = _providers_of(channel_id, provider, providers)
        if len(self.providers) > 1:
            self.provider_names = tuple(each.name for each in self.providers)
        self.recipient_key = recipient_key
        self._capabilities = capabilities or ChannelCapabilities()
        self._defaults = dict(defaults or {})
        self._paced_by = paced_by
        self._window = window
        self._replaced: dict[str, TemplateContent | None] = {}  # bound: _MOST_REPLACED
        """What went out in place of messages that were planned when the window was closed."""
        able: Sequence[object] = self.providers
        self._typist = next((each for each in able if isinstance(each, ShowsTyping)), None)
        self._marker = next((each for each in able if isinstance(each, MarksRead)), None)
        self.typing_seconds = None if self._typist is None else self._typist.typing_seconds
        self.marks_read = self._marker is not None

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        providers: Sequence[object] = self.providers
        for provider in providers:
            if isinstance(provider, Provider):
                provider.bind(services.for_part(provider))

    @override
    async def start(self) -> None:
        providers: Sequence[object] = self.providers
        for provider in providers:
            if isinstance(provider, Provider):
                await provider.start()

    @override
    def webhooks(self) -> Mapping[str, ReceivesWebhooks]:
        providers: Sequence[object] = self.providers
        found = [each for each in providers if isinstance(each, ReceivesWebhooks)]
        return {getattr(each, "name", type(each).__name__): each for each in found}

    @property
    @override
    def info(self) -> dict[str, Any]:
        return {name: value for name, value in self._defaults.items() if value is not None}

    @property
    def provider(self) -> SendsToAddress | None:
        """The preferred provider."""
        return self.providers[0] if self.providers else None

    @property
    @override
    def provider_name(self) -> str | None:
        return self.providers[0].name if self.providers else None

    @override
    def is_idempotent(self, provider: str | None) -> bool:
        return all(each.idempotent for each in self.providers if provider in (None, each.name))

    @override
    def returns_key(self, provider: str | None) -> bool:
        providers: Sequence[object] = self.providers
        found = [each for each in providers if isinstance(each, Provider) and provider in (None, each.name)]
        return bool(found) and all(each.returns_key for each in found)

    @override
    def capabilities(self) -> ChannelCapabilities:
        return self._capabilities

    @override
    def pace_key(self, binding: ChannelBinding, event: RoomEvent) -> str:
        name = self._paced_by
        value = self._option(name, binding) if name is not None else None
        return self.channel_id if value is None else f"{self.channel_type}:{value}"

    @override
    def normalize(self, address: str) -> str:
        return one_spelling(self.address_type, address)

    @override
    def address_of(self, metadata: Mapping[str, Any]) -> str | None:
        to = metadata.get(self.recipient_key)
        return self.normalize(str(to)) if to else None

    @override
    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        if (shared := message.conversation) is not None:
            return {"address": shared, "metadata": {self.recipient_key: shared}}
        sender = message.sender_id
        return {"participant_id": sender, "address": sender, "metadata": {self.recipient_key: sender}}

    def _option(self, name: str, binding: ChannelBinding) -> Any:
        """Return the value of a hint that the channel was made with: the fixed one, else the binding's."""
        fixed = self._defaults.get(name)
        return binding.metadata.get(name) if fixed is None else fixed

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        event = self.event_of(message, context)
        kind = self._type_of(message.content)
        if kind is not self.channel_type:
            event = event.replace(source=event.source.replace(channel_type=kind))
        return event

    def _type_of(self, content: EventContent) -> ChannelType:
        """A text message that carries media is an MMS."""
        if self.channel_type is not ChannelType.SMS:
            return self.channel_type
        parts = content.parts if isinstance(content, CompositeContent) else (content,)
        has_media = any(isinstance(part, MediaContent) for part in parts)
        return ChannelType.MMS if has_media else ChannelType.SMS

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        if not self.providers:
            return ChannelOutput.skipped("no_provider")
        delivery = context.delivery
        provider = self.providers[0]
        if delivery is not None and delivery.provider is not None:
            provider = next((each for each in self.providers if each.name == delivery.provider), provider)
        to = binding.metadata.get(self.recipient_key)
        if not to:
            raise ProviderError(
                f"channel {self.channel_id!r} has no recipient in room {binding.room_id!r}: attach it with "
                f"metadata={{{self.recipient_key!r}: ...}}",
                error_code=ErrorCode.MISSING_RECIPIENT,
                provider=provider.name,
            )
        hints = self._hints(provider, event, binding, context)
        key = delivery.id if delivery is not None else None
        template = None
        if self._window is not None and not self._window.lets_out(event.content, self._now(), binding):
            template = await self._template_for(self._window, event, binding, key, provider.name)
        if template is not None:
            if key not in (None, f"{event.id}:{self.channel_id}"):
                return ChannelOutput.empty()  # a further part: the template went out for all of them
            event = event.replace(content=template)
        result = await provider.send(event, str(to), idempotency_key=key, hints=hints)
        return ChannelOutput(provider_result=result, rendered=template)

    async def _template_for(
        self, window: ReplyWindow, event: RoomEvent, binding: ChannelBinding, key: str | None, provider: str
    ) -> TemplateContent | None:
        """Return what goes out in place of an event now; None for itself. Raises ProviderError.

        The state is read again: the recipient may have written since the delivery was planned, or to another
        room. What is decided for the first part of a message holds for all.
        """
        is_further = key not in (None, f"{event.id}:{self.channel_id}")
        if is_further and event.id in self._replaced:
            return self._replaced[event.id]
        others: Sequence[ChannelBinding] = ()
        if self.services is not None and binding.address is not None:
            others = await self.services.rooms.find_bindings(binding.address)
        template = window.substitute(event.content, self._now(), binding, *others, provider=provider)
        self._replaced[event.id] = template
        if len(self._replaced) > _MOST_REPLACED:
            del self._replaced[next(iter(self._replaced))]
        return template

    def _now(self) -> datetime:
        return utcnow() if self.services is None else self.services.clock.now()

    @override
    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        return {} if self._window is None else self._window.opened_by(message, self._now())

    @override
    def merged_state(self, kept: ChannelBinding, other: ChannelBinding) -> Mapping[str, Any]:
        merged = super().merged_state(kept, other)
        return merged if self._window is None else {**merged, **self._window.merged(kept, other)}

    @override
    async def show_signal(
        self, signal: EphemeralEvent, binding: ChannelBinding, context: RoomContext
    ) -> None:
        to = binding.metadata.get(self.recipient_key)
        if not to:
            return
        if signal.type is EphemeralEventType.READ_RECEIPT:
            if self._marker is not None:
                await self._marker.mark_read(str(to), signal.data["message_ids"])
        elif self._typist is not None:
            is_typing = signal.type is EphemeralEventType.TYPING_START
            await self._typist.show_typing(str(to), is_typing, answering=signal.data.get("answering"))

    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        """Return what the channel itself knows for a send, by the names of its role's hints; no I/O.

        It goes before what the event and the binding say. By default nothing.
        """
        return {}

    def _hints(
        self, provider: SendsToAddress, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> Hints:
        """Return the hints of a send. Raises ProviderError for what they cannot be."""
        given = event.channel_data.extra.get(self.channel_type, {})
        if not isinstance(given, Mapping):
            given = {"": given}
        bound = {name: self._option(name, binding) for name in self._defaults}
        said = {name: value for name, value in bound.items() if value is not None}
        fixed = {name: value for name, value in self._defaults.items() if value is not None}
        names = {**said, **given, **self.hints(event, binding, context), **fixed}
        if context.answered and issubclass(provider.hints_type, ReplyHints):
            names.setdefault("reply_to", context.answered[0])
        hints = _checked_hints(provider, names, self.channel_id) if names else provider.hints_type()
        return replace(hints, about=tuple(context.about)) if context.about else hints

    @override
    def file_headers(self, url: str) -> Mapping[str, str]:
        providers: Sequence[object] = self.providers
        found = (each.file_headers(url) for each in providers if isinstance(each, Provider))
        return next(filter(None, found), {})

    @override
    async def locate_file(self, url: str) -> str:
        providers: Sequence[object] = self.providers
        for each in providers:
            found = await each.locate_file(url) if isinstance(each, Provider) else None
            if found is not None:
                return found
        return url

    @override
    async def close(self) -> None:
        await _close_all(self.providers)


def _checked_hints(provider: SendsToAddress, names: Mapping[str, Any], channel_id: str) -> Hints:
    """Return hints by their names as the provider takes them. Raises ProviderError."""
    kind = provider.hints_type
    known = [each.name for each in fields(kind) if each.name != "about"]  # which the kit says
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        try:
            checked: Hints = _adapter(kind).validate_python(dict(names))
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            said = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        else:
            return checked
    else:
        near = nearest(unknown, known)
        said = f"unknown hint {unknown!r}: " + (f"did you mean {near!r}?" if near else f"use {known}")
    raise ProviderError(
        f"the hints of a send by channel {channel_id!r} are no {kind.__name__}: {said}",
        error_code=ErrorCode.INVALID_REQUEST,
        provider=provider.name,
    )


_adapters: dict[type[Hints], TypeAdapter[Any]] = {}  # bound: the types of hints


def _adapter(kind: type[Hints]) -> TypeAdapter[Any]:
    found = _adapters.get(kind)
    if found is None:
        found = _adapters[kind] = TypeAdapter(kind)
    return found


def _providers_of(
    channel_id: str, provider: SendsToAddress | None, providers: Sequence[SendsToAddress]
) -> tuple[SendsToAddress, ...]:
    """Return the providers of a channel, given as one or as several. Raises InvalidInputError."""
    if provider is not None and providers:
        raise InvalidInputError(f"channel {channel_id!r} was given provider and providers: give one of them")
    found = (provider,) if provider is not None else tuple(providers)
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInputError(
            f"channel {channel_id!r} has two providers {twice!r}: receipts are matched by name, so give "
            "each another"
        )
    return found


async def _close_all(providers: Sequence[SendsToAddress]) -> None:
    """Close every provider; raise the first failure once all were closed."""
    failure: Exception | None = None
    for each in providers:
        try:
            await each.close()
        except Exception as error:  # noqa: BLE001  # raised below: the others are closed all the same
            failure = failure or error
    if failure is not None:
        raise failure
