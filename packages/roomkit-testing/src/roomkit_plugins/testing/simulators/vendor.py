"""What the simulators of vendors behind text channels share: scripted faults, webhooks, and people."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, override

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Drop, Failure, Malformed, NeverAnswer, Slow, WrongShape
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

__all__ = ["Fault", "SentWebhook", "SimulatedPerson", "TakesWebhooks", "VendorSimulator"]

type TakesWebhooks = Callable[[WebhookRequest], Awaitable[WebhookOutcome | WebhookAnswer]]
type Fault = Failure | Slow | NeverAnswer | Drop | Malformed | WrongShape


@dataclass(frozen=True, slots=True)
class SentWebhook:
    """A webhook that was sent, and its answer."""

    request: WebhookRequest
    answer: WebhookOutcome | WebhookAnswer


class SimulatedPerson[Message]:
    """A person whom the vendor reaches at an address. `received` are their messages, oldest first."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[Message] = []  # bound: one test
        self._shown = 0
        self._arrived = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message, waiting for it."""
        while self._shown == len(self.received):
            self._arrived.clear()
            await self._arrived.wait()
        self._shown += 1
        return self.received[self._shown - 1]

    def show(self, message: Message) -> None:
        """Take a message that the vendor carried."""
        self.received.append(message)
        self._arrived.set()


class VendorSimulator[Message](HTTPSimulator):
    """A vendor's API that carries messages, and calls back.

    Faults that are scripted (`play`) befall the next messages, in order; one that breaks off has taken its
    message. With `duplicating`, each webhook is sent twice.
    """

    def __init__(self, *, webhook_url: str) -> None:
        super().__init__()
        self.webhook_url = webhook_url
        self.duplicating = False
        self.messages: list[Message] = []  # bound: one test
        self.webhooks: list[SentWebhook] = []  # bound: one test
        self.refusal: Failure | None = None
        """What every request is answered with; None answers them as the vendor does."""
        self._faults: deque[Fault | None] = deque()  # bound: one test
        self._takes: TakesWebhooks | None = None

    @abstractmethod
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        """Return an error with a code of the vendor's, as the vendor reports it; no code for 0."""

    def connect(self, takes: TakesWebhooks) -> None:
        """Have webhooks taken by `takes`, as a server at `webhook_url` would hand them over."""
        self._takes = takes

    def play(self, *faults: Fault | None) -> None:
        """Script what happens to the next messages; None is nothing."""
        self._faults.extend(faults)

    def fail(self, status: int, code: int = 0, *, headers: Mapping[str, str] | None = None) -> None:
        """Script a refusal."""
        self.play(self.failure(status, code, headers or {}))

    def refuse_all(self, status: int, code: int = 0, *, headers: Mapping[str, str] | None = None) -> None:
        """Refuse every request from now on, of messages and of anything else."""
        self.refusal = self.failure(status, code, headers or {})

    @override
    async def respond(self, request: ReceivedRequest, exchange: Exchange) -> None:
        refusal = self.refusal
        if refusal is None:
            await self.handle(request, exchange)
        else:
            await exchange.send_json(refusal.status, refusal.body, refusal.headers)

    async def hand_over(self, request: WebhookRequest) -> WebhookOutcome | WebhookAnswer:
        """Have a webhook taken; return the answer, of the first one if it is sent twice."""
        if self._takes is None:
            raise RuntimeError(f"no one takes the webhooks of {type(self).__name__}: say who by connect()")
        answers = [await self._takes(request) for _ in range(2 if self.duplicating else 1)]
        self.webhooks += [SentWebhook(request, answer) for answer in answers]
        return answers[0]

    def next_fault(self) -> Fault | None:
        """Return what happens to the message that is asked for now."""
        return self._faults.popleft() if self._faults else None

    async def answer(self, exchange: Exchange, status: int, document: Any, fault: Fault | None) -> None:
        """Answer for a message that was taken, in the way of its fault; `Failure` has none to answer for."""
        match fault:
            case Slow(seconds):
                await asyncio.sleep(seconds)
                await exchange.send_json(status, document)
            case NeverAnswer():
                await asyncio.Event().wait()
            case Drop():
                exchange.abort()
            case Malformed():
                await exchange.send_bytes(status, b'{"id": ')
            case WrongShape(body):
                await exchange.send_json(status, body)
            case _:
                await exchange.send_json(status, document)
