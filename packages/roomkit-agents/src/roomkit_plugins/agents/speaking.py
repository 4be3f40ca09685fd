"""When an agent speaks: policies that decide before its model is asked, or let the model decide."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import AITool
from roomkit.models.base import new_id
from roomkit.models.content import text_of
from roomkit.models.task import Observation
from roomkit_plugins.agents.kinds import check_callable, check_kind, check_names

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = [
    "OFFER_TOOL",
    "SILENT_TOOL",
    "ModelDecides",
    "SpeakAlways",
    "SpeakIf",
    "SpeakPolicy",
    "SpeakWhenAddressed",
    "unanswered",
]

UNANSWERED = "unanswered"
"""The category of the observation that says why an agent does not answer."""
SILENT_TOOL = AITool(
    name="stay_silent",
    description="Do not answer this message: it is not for you, or others answer it. Say nothing else then.",
    parameters={
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "Why, in one sentence."}},
        "required": ["reason"],
    },
)
OFFERED = "offered"
"""The category of the observation that says what an agent could contribute."""
OFFER_TOOL = AITool(
    name="offer_answer",
    description=(
        "Do not answer this message, but let it be known what you could contribute: it is not for you, and "
        "you know something that helps. You are asked if it is wanted. Say nothing else then."
    ),
    parameters={
        "type": "object",
        "properties": {"offer": {"type": "string", "description": "What you could say, in one sentence."}},
        "required": ["offer"],
    },
)

type Classifier = Callable[[RoomEvent, RoomContext], Awaitable[bool | str]]


def unanswered(event: RoomEvent, channel_id: str, reason: str, category: str = UNANSWERED) -> Observation:
    """Return the record of why an agent, or none at all, answers an event."""
    return Observation(
        id=new_id(),
        room_id=event.room_id,
        channel_id=channel_id,
        content=reason,
        category=category,
        metadata={"event_id": event.id},
    )


class SpeakPolicy(ABC):
    """Decides whether an agent answers an event that is put to it. One object may serve many agents.

    It runs in the agent's turn, so it may wait, such as for a small model. What it raises fails the turn.
    """

    @abstractmethod
    async def silence(self, agent_id: str, event: RoomEvent, context: RoomContext) -> str | None:
        """Return why the agent does not answer `event`; None if it does."""

    @property
    def lets_model_decide(self) -> bool:
        """Whether the model is offered the tool `stay_silent`."""
        return False

    @property
    def lets_model_offer(self) -> bool:
        """Whether the model is offered the tool `offer_answer`, too."""
        return False

    @property
    def instruction(self) -> str | None:
        """What the model is to know of it."""
        return None


class SpeakAlways(SpeakPolicy):
    """The agent answers whatever is put to it."""

    @override
    async def silence(self, agent_id: str, event: RoomEvent, context: RoomContext) -> str | None:
        return None


class SpeakWhenAddressed(SpeakPolicy):
    """The agent answers events that are addressed to it: by `addressed_to`, such as by a router, or by name.

    Its channel id and the further `names` count if they are in the text as a word, in any case, with or
    without `@`.
    """

    def __init__(self, *names: str) -> None:
        check_names("SpeakWhenAddressed", "names", names)
        self._names = names

    @override
    async def silence(self, agent_id: str, event: RoomEvent, context: RoomContext) -> str | None:
        if event.addressed_to is not None and agent_id in event.addressed_to:
            return None
        words = "|".join(re.escape(name) for name in (agent_id, *self._names))
        named = re.search(rf"(?<![\w-])@?(?:{words})(?![\w-])", text_of(event.content), re.IGNORECASE)
        return None if named else f"{agent_id} is not addressed"


class SpeakIf(SpeakPolicy):
    """The agent answers if `classifier(event, context)` is true; a text is the reason for silence."""

    def __init__(self, classifier: Classifier) -> None:
        check_callable("SpeakIf", "classifier", classifier)
        self._classifier = classifier

    @override
    async def silence(self, agent_id: str, event: RoomEvent, context: RoomContext) -> str | None:
        asked: object = self._classifier(event, context)
        if not isawaitable(asked):
            raise InvalidInputError(
                f"SpeakIf of agent {agent_id!r}: what its classifier returned is {type(asked).__name__}; "
                "write `async def classifier(event, context)`"
            )
        verdict = await asked
        if isinstance(verdict, str):
            return verdict
        return None if verdict else f"the classifier of {agent_id} says that it is not for it"


class ModelDecides(SpeakPolicy):
    """The model decides: it answers, or stays silent by the tool `stay_silent`, whose reason is recorded.

    With `offers` it may also offer an answer, by the tool `offer_answer`: nothing is said in the room, and an
    observation of category `offered` has what it could contribute. An event that is addressed to the agent
    takes it up.
    """

    def __init__(self, *, offers: bool = False) -> None:
        check_kind("ModelDecides", "offers", offers, bool)
        self._offers = offers

    @property
    @override
    def lets_model_offer(self) -> bool:
        return self._offers

    @override
    async def silence(self, agent_id: str, event: RoomEvent, context: RoomContext) -> str | None:
        return None

    @property
    @override
    def lets_model_decide(self) -> bool:
        return True

    @property
    @override
    def instruction(self) -> str | None:
        return (
            "Several people and agents talk here. Answer only what you are meant to answer; else call "
            f"{SILENT_TOOL.name}{self._or_offer}."
        )

    @property
    def _or_offer(self) -> str:
        return f", or {OFFER_TOOL.name} if you could help" if self._offers else ""
