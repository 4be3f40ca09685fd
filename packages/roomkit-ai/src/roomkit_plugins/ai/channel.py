"""The channel that puts an AI provider into a room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.attributes import mistyped
from roomkit.abc.channel import Channel
from roomkit.abc.errors import CloseError, InvalidInputError
from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit.abc.tools import ToolOffer, ToolProvider
from roomkit.authoring.coroutines import in_time
from roomkit.authoring.options import checked_options
from roomkit.models.ai import StreamDone
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelMediaType,
    ChannelType,
)
from roomkit.models.event import RoomEvent
from roomkit.models.room import AIConfig, Room
from roomkit.models.visibility import sees
from roomkit_plugins.ai.answers import AnswerEvents
from roomkit_plugins.ai.config import AIChannelConfig
from roomkit_plugins.ai.context import (
    FirstMessages,
    conversation,
    first_request,
    settings_for,
    system_texts,
    view_for,
)
from roomkit_plugins.ai.errors import TurnTimeoutError
from roomkit_plugins.ai.executed import ExecutedProvider
from roomkit_plugins.ai.generation import streams
from roomkit_plugins.ai.history import presentable
from roomkit_plugins.ai.images import with_images
from roomkit_plugins.ai.loop import answer
from roomkit_plugins.ai.memory import SlidingWindowMemory
from roomkit_plugins.ai.offers import offers_for
from roomkit_plugins.ai.own_calls import TurnOwnCalls
from roomkit_plugins.ai.parking import continue_from
from roomkit_plugins.ai.providers import check_providers, checked_schema, diagnosed
from roomkit_plugins.ai.schema import thawed
from roomkit_plugins.ai.signals import Signals
from roomkit_plugins.ai.spending import RoomCosts, Spending, check_prices, spending_for
from roomkit_plugins.ai.tools import (
    NO_OFFER,
    NO_TOOLS,
    Toolbox,
    checked_provider,
    checked_tool,
    runnable,
    with_handlers,
)
from roomkit_plugins.ai.transcript import Transcripts
from roomkit_plugins.ai.turn import Turn
from roomkit_plugins.ai.underway import StuckHandlers

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider, ToolHandler
    from roomkit.abc.executor import TurnExecutor
    from roomkit.abc.provider import Provider
    from roomkit.abc.services import Services
    from roomkit.models.ai import AIMessage
    from roomkit.models.channel import ChannelBinding, RetryPolicy
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ParticipantRole
    from roomkit.models.generation import AIContext, ResponseSchema
    from roomkit.models.parking import ParkedRound
    from roomkit.models.steering import SteeringDirective
    from roomkit_plugins.ai.policy import ToolPolicy
    from roomkit_plugins.ai.prices import ModelPrice
    from roomkit_plugins.ai.tools import RunnableTool, ToolLike

__all__ = ["AIChannel"]

_DEFAULTS = AIChannelConfig()
_NOT_DONE = StreamDone()
_OPTIONS = AIChannelConfig.model_fields.keys() - {"tools", "response_schema"}  # given in more forms, too
_SETTINGS = ("system_prompt", "temperature", "max_tokens", "thinking_budget")


class AIChannel(Channel):
    """An agent: it answers the messages of every room it is attached to.

    `system_prompt`, `temperature`, `max_tokens`, `thinking_budget` and `tools` are defaults: a
    room's `ai_config`, and over it the metadata of the agent's binding, may set each of them. None
    leaves a setting to the provider. Tools are definitions or definitions with a handler;
    `tool_handler` answers the calls of those without. `extra_tools` is offered in every room.

    A turn takes at most `max_tool_rounds` rounds of tool calls and `max_tool_calls` calls, after
    which the model is asked for an answer without them, and `tool_loop_timeout_seconds`; a tool takes
    at most `tool_timeout_seconds`. An answer has at most `max_answer_chars` characters, reasoning
    included, and pauses for at most `answer_idle_seconds` once it has begun. None or 0 seconds mean
    no deadline. A call that gave the same result `max_identical_calls` times is not made again.
    Only offered tools run, with arguments that fit their schema, if `tool_policy` permits them to
    the sender's role and every BEFORE_TOOL_USE gate lets them pass.

    `retry_policy` covers retryable failures of the provider; after it `fallback_provider`, then each of
    `fallback_providers`, is asked once. A stream that breaks is never restarted: a fallback continues after
    the words that were seen, and what it repeats of them is omitted. Failures are raised. With
    `error_reply` that text is said as well, since no error text is ever shown in a room.

    With a `response_schema`, a pydantic model or a JSON Schema, each answer is JSON that fits it: the text
    of one event, said once it is whole and checked; one that does not fit is a failure of the provider. Rooms
    and bindings take a JSON Schema; an empty one asks for prose. With `prices` by model, `generation` has an
    answer's cost; a turn that has spent `max_turn_cost`, or its room `max_room_cost`, fails with BudgetError.

    One object serves any number of rooms at once. `close` closes the providers and the memory.
    Raises InvalidInputError for settings or tools that no turn could use, and ForeignCodeError for a
    provider whose name, model or `supports_` flags cannot be read or have a wrong type. One that breaks
    later fails its turns with that error. `tool_providers` bring tools from elsewhere to every turn, after
    the agent's own; one that fails is logged, and its tools are missing from that turn. With an `executor`
    the provider is asked in a process that serves the agent, under the channel's id, and `provider` only
    describes it here; the tools, the gates and the fallback provider stay in this process.
    """

    channel_type = ChannelType.AI
    category = ChannelCategory.INTELLIGENCE
    direction = ChannelDirection.BIDIRECTIONAL
    speculates = True

    def __init__(
        self,
        channel_id: str,
        provider: AIProvider,
        system_prompt: str | None = _DEFAULTS.system_prompt,
        temperature: float | None = _DEFAULTS.temperature,
        max_tokens: int | None = _DEFAULTS.max_tokens,
        max_context_events: int = _DEFAULTS.max_context_events,
        tool_handler: ToolHandler | None = None,
        max_tool_rounds: int = _DEFAULTS.max_tool_rounds,
        tool_loop_timeout_seconds: float | None = _DEFAULTS.tool_loop_timeout_seconds,
        tool_loop_warn_after: int = _DEFAULTS.tool_loop_warn_after,
        retry_policy: RetryPolicy | None = _DEFAULTS.retry_policy,
        fallback_provider: AIProvider | None = None,
        *,
        memory: MemoryProvider | None = None,
        tool_policy: ToolPolicy | None = _DEFAULTS.tool_policy,
        thinking_budget: int | None = _DEFAULTS.thinking_budget,
        response_schema: ResponseSchema | None = None,
        tools: Iterable[ToolLike] = (),
        tool_providers: Iterable[ToolProvider] = (),
        tool_timeout_seconds: float | None = _DEFAULTS.tool_timeout_seconds,
        max_identical_calls: int = _DEFAULTS.max_identical_calls,
        max_tool_calls: int = _DEFAULTS.max_tool_calls,
        max_answer_chars: int = _DEFAULTS.max_answer_chars,
        answer_idle_seconds: float | None = _DEFAULTS.answer_idle_seconds,
        error_reply: str | None = _DEFAULTS.error_reply,
        fallback_providers: Iterable[AIProvider] = (),
        prices: Mapping[str, ModelPrice] = _DEFAULTS.prices,
        max_turn_cost: float | None = _DEFAULTS.max_turn_cost,
        max_room_cost: float | None = _DEFAULTS.max_room_cost,
        executor: TurnExecutor | None = None,
    ) -> None:
        given = locals()
        super().__init__(channel_id)
        self._options = checked_options(AIChannelConfig, {name: given[name] for name in _OPTIONS})
        self._defaults = checked_options(AIConfig, {name: given[name] for name in _SETTINGS})
        self.provider = provider if executor is None else ExecutedProvider(channel_id, provider, executor)
        self.fallback_provider = fallback_provider
        self.fallback_providers = tuple(fallback_providers)
        check_providers(channel_id, provider, *self._fallbacks)
        self.response_schema = checked_schema(channel_id, response_schema, self.provider)
        if max_turn_cost is not None or max_room_cost is not None:
            asked = () if memory is None else memory.providers
            check_prices(channel_id, self._options.prices, provider, *self._fallbacks, *asked)
        self._runs_tools = any(each.runs_tools for each in (provider, *self._fallbacks))
        self._room_costs = RoomCosts()
        self.memory = memory or SlidingWindowMemory(max_context_events)
        self.tool_handler = tool_handler
        self.tool_policy = tool_policy
        self.retry_policy = retry_policy
        self.error_reply = error_reply
        self.extra_tools: list[ToolLike] = []
        self._offers_more = type(self).tools_for is not AIChannel.tools_for
        self._tools = [checked_tool(tool) for tool in tools]
        self.tool_providers = tuple(map(checked_provider, tool_providers))
        self._answers = AnswerEvents(channel_id, self.channel_type)
        self._turns: dict[str, Turn] = {}  # bound: the turns under way
        self._transcripts = Transcripts()
        self._abandoned = StuckHandlers()

    @override
    def bind(self, services: Services) -> None:
        """Take the kit's services, and hand the providers and the memory theirs."""
        super().bind(services)
        for provider in self._parts():
            provider.bind(services.for_part(provider))
        self.memory.bind(services.for_part(self.memory))
        self._room_costs.bind(services.for_part(self._room_costs))

    @override
    async def start(self) -> None:
        """Start the providers."""
        for provider in self._parts():
            await provider.start()

    def _parts(self) -> Iterable[Provider]:
        return (self.provider, *self._fallbacks, *self.tool_providers)

    @property
    def _fallbacks(self) -> tuple[AIProvider, ...]:
        first = () if self.fallback_provider is None else (self.fallback_provider,)
        return (*first, *self.fallback_providers)

    @property
    def system_prompt(self) -> str | None:
        """The agent's own instructions, where a room or a binding sets no others."""
        return self._defaults.system_prompt

    @property
    def info(self) -> dict[str, Any]:
        """The provider and the model."""
        return {"provider": self.provider.name, "model": self.provider.model_name}

    @property
    def abandoned_tool_calls(self) -> int:
        """How many calls went on after they were cancelled, and were left behind."""
        return self._abandoned.count

    @property
    def provider_name(self) -> str | None:
        """The provider's name."""
        return self.provider.name

    def capabilities(self) -> ChannelCapabilities:
        """Return what the model reads: text and rich text, and images when it has vision."""
        vision = self.provider.supports_vision
        media = (ChannelMediaType.MEDIA,) if vision else ()
        return ChannelCapabilities(
            media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH, *media),
            supports_rich_text=True,
            supports_media=vision,
            supported_media_types=("image/*",) if vision else (),
        )

    def instructions(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Sequence[str]:
        """Return what else belongs into the system prompt of one turn; for subclasses."""
        return ()

    def tools_for(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> Iterable[ToolLike]:
        """Return what else the model is offered in one turn, subject to the tool policy; for subclasses."""
        return ()

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Refuse: nothing comes in through an agent. Raises InvalidInputError."""
        raise InvalidInputError(
            f"{self.channel_id!r} is an AI channel and takes no messages from outside: send them "
            "through a transport, or with send_event"
        )

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Do nothing: an agent is reached by `on_event`."""
        return ChannelOutput.empty()

    async def on_event(
        self,
        event: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        parked: ParkedRound | None = None,
    ) -> ChannelOutput:
        """Answer `event`.

        A provider that streams gives a `response_stream` of text pieces that ends with one
        `StreamDone`; else the answer is one event. Nothing is answered that is the agent's own,
        that it may not see, or that has no content. In a speculative turn the memory takes note of the
        event, tools run, and reasoning is reported only once the message is committed; the answer comes as
        a stream whatever the provider can. Raises what the provider raised,
        TurnTimeoutError, StalledAnswerError, AnswerTooLongError or ToolLoopError; a stream raises it
        after the text that was released. `parked` is the round that a turn continues from.
        """
        if not self._concerned(event, binding):
            return ChannelOutput.empty()
        try:
            turn = await self._begin(event, binding, context, parked)
            live = turn is not None and (context.speculative or streams(turn.provider, turn.request))
        except Exception as error:  # noqa: BLE001  # raised again, typed if a provider's attribute is broken
            raise self._diagnosed(error)  # noqa: B904  # it is the error itself, or has it as its cause
        if turn is None:
            return ChannelOutput.empty()
        if live:
            # The lists fill while the stream is read: a fallback that does not stream has both.
            return ChannelOutput(
                responded=True,
                response_stream=self._run(turn),
                tasks=turn.tasks,
                observations=turn.observations,
                parked=turn.parked,
            )
        return await self._collect(turn, binding)

    async def on_resume(
        self, parked: ParkedRound, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Continue a turn that a tool parked, as `on_event` answers; the room's history is read again.

        The turn has its time, `tool_loop_timeout_seconds`, from now on; rounds and calls are counted on.
        """
        return await AIChannel.on_event(self, event, binding, context, parked)

    async def steer(
        self, directive: SteeringDirective, *, room_id: str | None = None, loop_id: str | None = None
    ) -> bool:
        """Hand `directive` to a turn under way; False when there is none to take it.

        The turn is named by its `loop_id` or by its room. Raises InvalidInputError when neither is
        given and several turns are under way. `Cancel` interrupts at once; the others take effect
        before the model is asked next, and an injected message makes sure that it is. A message
        injected as `system` goes to the system prompt.
        """
        found = [
            turn
            for turn in self._turns.values()
            if turn.speculation is None and room_id in (None, turn.room_id) and loop_id in (None, turn.id)
        ]
        if len(found) > 1 and room_id is None:
            raise InvalidInputError(
                f"{self.channel_id!r} is at work in {len(found)} rooms: name one with room_id="
            )
        return bool(found) and found[-1].direct(directive)

    async def close(self) -> None:
        """Close the providers and the memory; raises CloseError with all that failed."""
        self._abandoned.cancel()
        closing = [*(part.close() for part in self._parts()), self.memory.close()]
        results = await asyncio.gather(*closing, return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise CloseError(f"AI channel {self.channel_id!r} did not close cleanly", failures)

    def _concerned(self, event: RoomEvent, binding: ChannelBinding) -> bool:
        return (
            event.source.channel_id != self.channel_id
            and event.type in self.responds_to
            and presentable(event)
            and sees(binding, event)
        )

    async def _begin(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext, parked: ParkedRound | None
    ) -> Turn | None:
        view = view_for(binding, context)
        source = event.source
        sender = view.get_participant(source.participant_id or source.on_behalf_of)
        role = None if sender is None else sender.role
        settings, tools = settings_for(self._defaults, view.room.ai_config, binding)
        own = self._tools if tools is None else with_handlers(tools, self._tools)
        further = self.tools_for(event, binding, view) if self._offers_more else ()
        offer = await self._offer(view.room) if self.tool_providers else NO_OFFER
        toolbox = self._toolbox(own, further, role, offer)
        is_noted = parked is None and not context.speculative
        spending = (
            spending_for(self._options, binding.room_id, self._room_costs) if self._options.prices else None
        )
        memory = await self._recall(event, binding, view, spending, is_noted=is_noted)
        vision = self.provider.supports_vision
        first = conversation(event, binding, view, memory, self._transcripts.of(binding, view, vision=vision))
        if not first.messages:
            if context.speculative:
                await context.confirmed()
                await self._ingest(event, binding.room_id)
            return None
        if vision and not first.is_legal:
            first = FirstMessages(await with_images(first.messages, self.services))
        extra = self.instructions(event, binding, view)
        request = first_request(
            first,
            event,
            binding,
            view,
            settings=settings,
            tools=toolbox.definitions,
            instructions=(
                [*extra, *offer.instructions, *system_texts(memory.messages)]
                if memory.messages or offer.instructions
                else extra
            ),
            response_schema=(
                self.response_schema if settings.response_schema is None else self._shape(settings)
            ),
        )
        turn = self._turn(event, binding, request, first.messages, toolbox, role, spending)
        for each in memory.requests:
            turn.count(each.response.usage.items())
        if self._runs_tools:
            request.own_calls = TurnOwnCalls(turn)
        if first.is_legal and parked is None:
            turn.call_ids = set()
        if context.speculative:
            turn.speculate(context, partial(self._ingest, event, binding.room_id))
        if self.tool_providers:
            turn.reoffer = partial(self._reoffer, own, further, role, binding.room_id)
        if parked is not None:
            await continue_from(turn, parked)
        return turn

    def _shape(self, settings: AIConfig) -> ResponseSchema | None:
        """Return the shape that the settings ask for. Raises InvalidInputError if the provider gives none."""
        return checked_schema(self.channel_id, thawed(settings.response_schema), self.provider)

    async def _offer(self, room: Room) -> ToolOffer:
        seconds = self._options.tool_timeout_seconds
        return await offers_for(self.tool_providers, room, channel_id=self.channel_id, seconds=seconds)

    async def _reoffer(
        self,
        own: Iterable[RunnableTool],
        further: Iterable[ToolLike],
        role: str | None,
        room_id: str,
    ) -> Toolbox:
        """Ask the tool providers again, about the room as it is by now."""
        room = Room(id=room_id) if self.services is None else await self.services.rooms.read_room(room_id)
        return self._toolbox(own, further, role, await self._offer(room))

    def _turn(
        self,
        event: RoomEvent,
        binding: ChannelBinding,
        request: AIContext,
        messages: list[AIMessage],
        toolbox: Toolbox,
        role: ParticipantRole | None,
        spending: Spending | None,
    ) -> Turn:
        loop_id, room_id, services = new_id(), binding.room_id, self.services
        return Turn(
            id=loop_id,
            room_id=room_id,
            channel_id=self.channel_id,
            participant_id=event.source.participant_id or event.source.on_behalf_of,
            role=role,
            event_id=event.id,
            request=request,
            earlier=messages[:-1],
            own=messages[-1:],
            abandoned=self._abandoned,
            provider=self.provider,
            fallbacks=(self.fallback_provider, *self.fallback_providers)
            if self.fallback_provider
            else self.fallback_providers,
            retry=self.retry_policy,
            toolbox=toolbox,
            options=self._options,
            services=services,
            signals=Signals(services, room_id=room_id, channel_id=self.channel_id, loop_id=loop_id),
            error_reply=self.error_reply,
            spending=spending,
        )

    def _toolbox(
        self,
        tools: Iterable[RunnableTool],
        further: Iterable[ToolLike],
        role: str | None,
        offer: ToolOffer,
    ) -> Toolbox:
        more = map(runnable, (*self.extra_tools, *further, *offer.tools))
        offered = [*tools, *more] if self._options.max_tool_rounds else ()
        if not offered and self.tool_policy is None:
            return NO_TOOLS
        policy = self.tool_policy.resolve(role) if self.tool_policy else None
        return Toolbox(offered, handler=self.tool_handler, policy=policy, offer=offer)

    async def _recall(
        self,
        event: RoomEvent,
        binding: ChannelBinding,
        view: RoomContext,
        spending: Spending | None,
        *,
        is_noted: bool,
    ) -> MemoryResult:
        """Return the memory's answer; the memory takes note of the event, if `is_noted`."""
        room_id = binding.room_id
        if spending is not None and self.memory.providers and await spending.exceeded():
            found = MemoryResult()  # its models are not asked; the turn ends before its first request
        else:
            retrieved = self.memory.retrieve(room_id, event, view, channel_id=self.channel_id)
            seconds = self._options.tool_loop_timeout_seconds or None
            found = await in_time(retrieved, seconds, self._late_memory)
        if is_noted and getattr(self.memory.ingest, "__func__", None) is not MemoryProvider.ingest:
            await self._ingest(event, room_id)
        if not isinstance(found, MemoryResult):
            raise mistyped(
                f"memory {type(self.memory).__name__}", "what retrieve() returned", found, MemoryResult
            )
        if spending is not None:
            await spending.add_all(found.requests)
        return found

    async def _ingest(self, event: RoomEvent, room_id: str) -> None:
        """Have the memory take note of an event that is committed."""
        work = self.memory.ingest(room_id, event, channel_id=self.channel_id)
        await in_time(work, self._options.tool_loop_timeout_seconds or None, self._late_memory)

    def _late_memory(self) -> TurnTimeoutError:
        seconds = self._options.tool_loop_timeout_seconds
        return TurnTimeoutError(f"the memory of {self.channel_id} gave no answer in {seconds} s")

    async def _run(self, turn: Turn) -> AsyncGenerator[str | StreamDone]:
        """Run the turn where `steer` finds it."""
        self._turns[turn.id] = turn
        try:
            async for item in (pieces := answer(turn)):
                yield item
            if turn.speculation is not None:
                await turn.confirmed()
        except Exception as error:  # noqa: BLE001  # raised again, typed if a provider's attribute is broken
            if turn.speculation is not None and not turn.speculation.speculative:
                await turn.confirmed()
            raise self._diagnosed(error)  # noqa: B904  # it is the error itself, or has it as its cause
        finally:
            del self._turns[turn.id]
            await pieces.aclose()

    def _diagnosed(self, error: Exception) -> Exception:
        return diagnosed(error, self.channel_id, self.provider, *self._fallbacks)

    async def _collect(self, turn: Turn, binding: ChannelBinding) -> ChannelOutput:
        """Run the turn to its end and make one event of it."""
        pieces: list[str] = []
        done = _NOT_DONE
        self._turns[turn.id] = turn
        try:
            async for item in answer(turn):
                if type(item) is StreamDone:
                    done = item
                else:
                    pieces.append(item)
        except Exception as error:  # noqa: BLE001  # raised again, typed if a provider's attribute is broken
            failure = self._diagnosed(error)
            if self.error_reply is None:
                raise failure  # noqa: B904  # it is the error itself, or has it as its cause
            return ChannelOutput(
                responded=True,
                response_stream=_failed(pieces[-1:], done, failure),
                tasks=turn.tasks,
                observations=turn.observations,
            )
        finally:
            del self._turns[turn.id]
        text = "".join(pieces)
        return ChannelOutput(
            responded=True,
            response_events=[self._answers.event(text, done, binding)] if text.strip() else (),
            tasks=turn.tasks,
            observations=turn.observations,
            parked=turn.parked,
        )


async def _failed(
    apology: Sequence[str], done: StreamDone, error: Exception
) -> AsyncIterator[str | StreamDone]:
    """Say the apology, then fail: the only way an answer can do both."""
    for piece in apology:
        yield piece
    yield done
    raise error
