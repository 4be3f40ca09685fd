"""One turn of an agent: everything that belongs to one answer in one room."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.ai import AIMessage
from roomkit.models.generation import AIContext
from roomkit.models.steering import Cancel, InjectMessage, UpdateSystemPrompt
from roomkit_plugins.ai.shape import append, call_ids, well_formed
from roomkit_plugins.ai.stop import Stop

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.models.ai import AIPart, AIToolCallPart
    from roomkit.models.channel import RetryPolicy
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import ParticipantRole
    from roomkit.models.parking import ParkedCall, ParkedRound
    from roomkit.models.steering import SteeringDirective
    from roomkit.models.task import Observation, Task
    from roomkit_plugins.ai.config import AIChannelConfig
    from roomkit_plugins.ai.signals import Signals
    from roomkit_plugins.ai.spending import Spending
    from roomkit_plugins.ai.tools import Toolbox
    from roomkit_plugins.ai.underway import StuckHandlers

__all__ = ["MAX_INBOX", "Call", "Turn"]

type Deferred = Callable[[], Awaitable[None]]

MAX_INBOX = 100
"""How many directions may wait for the next round."""
_canonical = json.JSONEncoder(sort_keys=True).encode


@dataclass(slots=True)
class Call:
    """A tool call of a round; `invalid` says why its arguments cannot be read."""

    part: AIToolCallPart
    invalid: str | None = None
    _key: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """The same for calls of one tool with equal arguments."""
        if self._key is None:
            self._key = self.part.name, _canonical(self.part.arguments)
        return self._key


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """The state of one turn.

    `request` is what the model is asked next; it is replaced, never changed, when a round ends, so
    that who records requests has each as it was.
    """

    id: str
    room_id: str
    channel_id: str
    participant_id: str | None
    role: ParticipantRole | None
    event_id: str
    request: AIContext
    provider: AIProvider
    fallbacks: Sequence[AIProvider]
    """The providers to go on to, in this order."""
    retry: RetryPolicy | None
    toolbox: Toolbox
    options: AIChannelConfig
    signals: Signals
    services: Services | None
    abandoned: StuckHandlers
    earlier: Sequence[AIMessage]
    """The messages before the turn."""
    own: list[AIMessage]
    """The turn's own messages: the one it answers, then everything since."""
    reoffer: Callable[[], Awaitable[Toolbox]] | None = None
    """Asks the tool providers again; None without any."""
    shown: tuple[AIPart, ...] = ()
    """The images that the tools of a round returned, each group with its caption."""
    error_reply: str | None = None
    spending: Spending | None = None
    """What the turn costs; None without prices."""
    call_ids: set[str] | None = None
    """The ids of the conversation's tool calls; None until a call needs a unique id."""

    stop: Stop = field(default_factory=Stop)
    inbox: list[SteeringDirective] = field(default_factory=list)  # bound: MAX_INBOX
    rounds: int = 0
    calls: int = 0
    """How many tool calls the model made."""
    answered: int = 0
    """How long the answer is so far, in characters, with the reasoning."""
    usage: dict[str, int] = field(default_factory=dict)
    last_piece: str = ""
    """The last piece of text, "" before the first."""
    finish_reason: str | None = None
    compacted: bool = False
    last_round: bool = False
    is_ended: bool = False
    """Whether a tool ended the turn."""
    over: bool = False
    """Whether the answer is complete, and only to be handed over."""
    repeats: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """The last result of each call, and how often it came in a row."""
    stuck: bool = False
    """Whether the last round had nothing but calls that are not made again."""
    results: list[tuple[Call, str]] = field(default_factory=list)  # bound: the calls of the turn
    """The calls whose results `repeats` has not yet."""
    waiting: list[ParkedCall] = field(default_factory=list)
    """The calls of the round that wait for a result from outside."""
    parked: list[ParkedRound] = field(default_factory=list)  # bound: one
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    speculation: RoomContext | None = None
    """The context that knows when the turn's message is committed, while it is not."""
    deferred: list[Deferred] = field(default_factory=list)  # bound: the signals of a round, and one more
    """The effects that wait for that, in order."""

    def speculate(self, context: RoomContext, *effects: Deferred) -> None:
        """Have the turn's effects wait until its message is committed."""
        self.speculation = context
        self.deferred = self.signals.deferred = [*effects]

    async def confirmed(self) -> None:
        """Wait until the turn's message is committed, then have the effects that waited for it."""
        if self.speculation is not None:
            if self.speculation.speculative:
                with self.stop:
                    await self.speculation.confirmed()
            await self.release()

    async def release(self) -> None:
        """Have the effects that waited for the commit of the turn's message."""
        self.speculation = self.signals.deferred = None
        for effect in self.deferred:
            await effect()
        self.deferred.clear()

    def direct(self, directive: SteeringDirective) -> bool:
        """Take a direction from outside: at once to cancel, else before the next round.

        False when there is no next round, or when its inbox is full.
        """
        if self.over:
            return False
        if isinstance(directive, Cancel):
            self.stop.request()
        elif len(self.inbox) >= MAX_INBOX:
            return False
        else:
            self.inbox.append(directive)
        return True

    def take_directions(self) -> bool:
        """Apply waiting directives; return whether the model is to be asked because of them."""
        asked = False
        for directive in self.inbox:
            match directive:
                case InjectMessage(role="user"):
                    self.add(AIMessage(role="user", content=directive.content))
                    asked = True
                case InjectMessage():
                    self.instruct(directive.content)
                    asked = True
                case UpdateSystemPrompt():
                    self.instruct(directive.append)
        self.inbox.clear()
        return asked

    def add(self, *messages: AIMessage) -> None:
        """Go on from `messages`, which follow the text so far."""
        self.own += messages
        conversation = list(self.request.messages)
        for message in messages:
            append(conversation, message)
        self._ask(messages=conversation)

    def _ask(self, **changes: Any) -> None:
        """Have the next request be the last one with changes: fields of `AIContext`."""
        before = self.request
        fields = {
            "messages": before.messages,
            "system_prompt": before.system_prompt,
            "temperature": before.temperature,
            "max_tokens": before.max_tokens,
            "thinking_budget": before.thinking_budget,
            "reasoning_effort": before.reasoning_effort,
            "stop": before.stop,
            "tools": before.tools,
            "tool_choice": before.tool_choice,
            "response_schema": before.response_schema,
            "room": before.room,
            "target_capabilities": before.target_capabilities,
            "target_media_types": before.target_media_types,
            "metadata": before.metadata,
            "own_calls": before.own_calls,
        }
        self.request = AIContext(**fields | changes)

    def retell(self, earlier: Sequence[AIMessage], own: list[AIMessage]) -> None:
        """Put the conversation in other words."""
        self.earlier, self.own = earlier, own
        self._ask(messages=well_formed([*earlier, *own]))

    def instruct(self, text: str) -> None:
        """Add to the system prompt."""
        prompt = "\n\n".join(filter(None, (self.request.system_prompt, text)))
        self._ask(system_prompt=prompt)

    async def offer_again(self, names: Iterable[str]) -> None:
        """Have the next request offer what the providers do after calls of these tools."""
        if self.reoffer is not None and self.toolbox.changes_offer(names):
            self.toolbox = await self.reoffer()
            self._ask(tools=self.toolbox.definitions)

    def ask_for_answer(self, why: str) -> None:
        """Make the next round the last: no more tools, an answer."""
        self.last_round = True
        self.add(AIMessage(role="user", content=f"[{why} Answer now with what you know.]"))
        self._ask(tool_choice="none")

    def count(self, usage: Iterable[tuple[str, int]]) -> None:
        """Add what a round used to what the turn used."""
        for key, tokens in usage:
            self.usage[key] = self.usage.get(key, 0) + tokens

    def unique_id(self, call_id: str) -> str:
        """Return `call_id`, changed if an earlier call of the conversation had it."""
        if self.call_ids is None:
            self.call_ids = call_ids(self.request.messages)
        unique, number = call_id or "call", 1
        while unique in self.call_ids:
            number += 1
            unique = f"{call_id or 'call'}-{number}"
        self.call_ids.add(unique)
        return unique
