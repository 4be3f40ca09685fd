"""What the simulators of AI vendors share: the script, in neutral words, and the faults."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.deviations import COMMON, Deviation, json_bytes
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

type Chunk = str | asyncio.Event
"""A piece of streamed text, or an event the stream waits for."""

type Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
"""Why the model stops, in RoomKit's words; each simulator says it in its vendor's."""


@dataclass(frozen=True, slots=True)
class ScriptedToolCall:
    """A tool call the model makes. `arguments` as a string go out as they are, valid JSON or not."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    @property
    def json(self) -> str:
        """The arguments as the model writes them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))


@dataclass(frozen=True, slots=True)
class ScriptedThinking:
    """A reasoning block. `signature` is the vendor's token to send back; a redacted one has no text."""

    text: str = ""
    signature: str | None = None
    redacted_data: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptedUsage:
    """Tokens of one answer. `input` is neither read from nor written to a cache."""

    input: int = 12
    output: int = 7
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait `seconds` before the answer, then give it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NeverAnswer:
    """Never answer. With `after`, stop after so many events of a stream."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """Cut the connection: before the answer, or in a stream `after` so many events."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Truncate:
    """End a stream properly `after` so many events, but before what closes it; cut a document short."""

    after: int = 1


@dataclass(frozen=True, slots=True)
class Malformed:
    """Answer 200 with JSON that does not parse; in a stream, `after` so many events."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class WrongShape:
    """Answer 200 with a JSON value that is not what this endpoint answers."""

    body: Any = field(default_factory=lambda: {"unexpected": True})


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Send the last event of a stream twice."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer with an error status and the vendor's error body."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailMidStream:
    """Report an error inside a stream that began well, `after` so many events."""

    code: ErrorCode = ErrorCode.OVERLOADED
    after: int = 2


@dataclass(frozen=True, slots=True)
class Deviate:
    """Give the same answer in one of the ways in which compatible servers deviate: see `deviations`."""

    way: str


type Fault = (
    Deviate
    | Slow
    | NeverAnswer
    | Drop
    | Truncate
    | Malformed
    | WrongShape
    | Duplicate
    | Failure
    | FailMidStream
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer. `text` as a sequence sets the chunks of a stream, and where it waits."""

    text: str | Sequence[Chunk] = ""
    tool_calls: Sequence[ScriptedToolCall] = ()
    thinking: Sequence[ScriptedThinking] = ()
    finish: Finish | None = None
    usage: ScriptedUsage | None = field(default_factory=ScriptedUsage)
    fault: Fault | None = None

    @property
    def reason(self) -> Finish:
        """Why the model stops: as scripted, or as follows from the answer."""
        return self.finish or ("tool_calls" if self.tool_calls else "stop")

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The text in pieces."""
        if not isinstance(self.text, str):
            return self.text
        return [self.text[start : start + 5] for start in range(0, len(self.text), 5)]

    @property
    def whole_text(self) -> str:
        """The text in one piece."""
        return "".join(chunk for chunk in self.chunks if isinstance(chunk, str))


type Script = Reply | Callable[[ReceivedRequest], Reply]


class UnscriptedRequestError(AssertionError):
    """A request came for which no reply was scripted."""


class UnusedRepliesError(AssertionError):
    """Scripted replies were never asked for."""


class AISimulator(HTTPSimulator):
    """An AI vendor's API, scripted: each valid request takes the next reply.

    Requests are checked as strictly as the vendor checks them; a refused one takes no reply and is
    answered with the vendor's error. `requests` holds every request. A reply that no request
    asked for fails the test when the block ends, unless `allow_unused`.
    """

    vendor: ClassVar[str]
    """The vendor's name, for messages."""

    def __init__(self, *, api_key: str = "sk-simulated", allow_unused: bool = False) -> None:
        super().__init__()
        self.api_key = api_key
        self._allow_unused = allow_unused
        self._script: deque[Script] = deque()  # bound: one test
        self._default: Callable[[ReceivedRequest], Reply] | None = None
        self._issued = 0
        self.counter: Failure | None = None
        """How the counter of tokens fails; by default it counts four bytes of a request as one."""

    @property
    @abstractmethod
    def base_url(self) -> str:
        """What to give the vendor's SDK as `base_url`."""

    @property
    @abstractmethod
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How this vendor reports each class of error it can report."""

    def deviations(self, request: ReceivedRequest) -> Mapping[str, Deviation]:
        """Return how servers of this API deviate in what means the same, each under its name."""
        return COMMON

    @abstractmethod
    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""

    @abstractmethod
    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Write the whole answer."""

    @abstractmethod
    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the answer as a stream: server-sent events, and events to wait for."""

    @abstractmethod
    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""

    def reply(
        self,
        text: str | Sequence[Chunk] = "",
        *,
        tool_calls: Sequence[ScriptedToolCall] = (),
        thinking: Sequence[ScriptedThinking] = (),
        finish: Finish | None = None,
        usage: ScriptedUsage | None = None,
        fault: Fault | None = None,
    ) -> None:
        """Script the next answer."""
        self._script.append(Reply(text, tool_calls, thinking, finish, usage or ScriptedUsage(), fault))

    def reply_with(self, script: Script) -> None:
        """Script the next answer as a `Reply`, or as a function that makes it from the request."""
        self._script.append(script)

    def reply_always(self, make: Callable[[ReceivedRequest], Reply]) -> None:
        """Answer every request that finds no scripted reply with what `make` returns."""
        self._default = make

    def fail(
        self,
        code: ErrorCode,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Script the vendor's way of reporting `code`, with more `headers` such as retry-after."""
        self.reply(fault=self.failure(code, status=status, headers=headers))

    def failure(
        self, code: ErrorCode, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Failure:
        """Return the vendor's way of reporting `code`."""
        known = self.failures[code]
        return replace(known, status=status or known.status, headers={**known.headers, **(headers or {})})

    def new_id(self, prefix: str) -> str:
        """Return an id this simulator has not given out."""
        self._issued += 1
        return f"{prefix}{self._issued:04d}"

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Check the request, take the next reply, and play it."""
        if (failure := self.refusal(request)) is not None:
            await exchange.send_json(failure.status, failure.body, failure.headers)
            return
        if await self.handle_other(request, exchange):
            return
        await self._play(request, self._next(request), exchange)

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer requests other than generations, such as the list of models; return whether it was one."""
        return False

    async def send_count(
        self, request: ReceivedRequest, exchange: Exchange, name: str, **fields: object
    ) -> None:
        """Answer how many tokens a request has, in the field `name`."""
        if self.counter is not None:
            await exchange.send_json(self.counter.status, self.counter.body, self.counter.headers)
        else:
            counted = {name: len(request.body) // 4, **fields}
            await exchange.send_json(200, counted, self.headers())

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._script and not self._allow_unused:
            self._problems.append(
                UnusedRepliesError(
                    f"{len(self._script)} scripted replies of the {self.vendor} simulator were never "
                    "asked for; script fewer, or say allow_unused=True"
                )
            )
        await super().__aexit__(kind)

    def streams(self, request: ReceivedRequest) -> bool:
        """Whether the request asks for a stream."""
        return bool(request.json().get("stream"))

    def _next(self, request: ReceivedRequest) -> Reply:
        script: Script | None = self._script.popleft() if self._script else self._default
        if script is None:
            raise UnscriptedRequestError(
                f"the {self.vendor} simulator has no reply for {request.method} {request.path}; "
                f"script one with reply(). The request was: {request.body[:500]!r}"
            )
        return script if isinstance(script, Reply) else script(request)

    async def _play(self, request: ReceivedRequest, reply: Reply, exchange: Exchange) -> None:
        match reply.fault:
            case Failure(status, body, headers):
                await exchange.send_json(status, body, headers)
            case WrongShape(body):
                await exchange.send_json(200, body, self.headers())
            case Slow(seconds):
                await asyncio.sleep(seconds)
                await self._answer_well(request, reply, exchange)
            case Deviate(way) if not self.streams(request):
                body = self.deviations(request)[way].rewrite(self.document(request, reply))
                await exchange.send_bytes(200, json_bytes(body), self.headers())
            case NeverAnswer(after=0):
                await asyncio.Event().wait()
            case Drop(after=0):
                exchange.abort()
            case fault if self.streams(request):
                await self._stream(request, reply, fault, exchange)
            case Truncate() | Malformed():
                body = json.dumps(self.document(request, reply)).encode()
                await exchange.send_bytes(200, body[: len(body) // 2], self.headers())
            case _:
                await self._answer_well(request, reply, exchange)

    async def _answer_well(self, request: ReceivedRequest, reply: Reply, exchange: Exchange) -> None:
        if self.streams(request):
            await self._stream(request, reply, None, exchange)
            return
        for chunk in reply.chunks:
            if isinstance(chunk, asyncio.Event):
                await chunk.wait()
        await exchange.send_bytes(200, json_bytes(self.document(request, reply)), self.headers())

    def headers(self) -> dict[str, str]:
        """Return the headers of a good answer."""
        return {}

    async def _stream(
        self, request: ReceivedRequest, reply: Reply, fault: Fault | None, exchange: Exchange
    ) -> None:
        await exchange.start(200, {"content-type": "text/event-stream", **self.headers()})
        sent = 0
        last = b""
        deviation = self.deviations(request)[fault.way] if isinstance(fault, Deviate) else None
        for item in self.events(request, reply):
            if isinstance(item, asyncio.Event):
                await item.wait()
                continue
            if await self._interrupted(fault, sent, exchange):
                return
            item = deviation.events(item) if deviation else item
            if item:
                await exchange.send(item)
            sent, last = sent + 1, item
        if isinstance(fault, Duplicate):
            await exchange.send(last)
        if deviation and deviation.after:
            await exchange.send(deviation.after)
        await exchange.end()

    async def _interrupted(self, fault: Fault | None, sent: int, exchange: Exchange) -> bool:
        """Do what the fault says once `sent` events are out; whether that ended the answer."""
        match fault:
            case NeverAnswer(after) if sent == after:
                await asyncio.Event().wait()
            case Drop(after) if sent == after:
                exchange.abort()
            case Truncate(after) if sent == after:
                await exchange.end()
            case Malformed(after) if sent == after:
                await exchange.send(self.malformed_event())
                await exchange.end()
            case FailMidStream(code, after) if sent == after:
                await exchange.send(self.error_event(self.failure(code)))
                await exchange.end()
            case _:
                return False
        return True

    def malformed_event(self) -> bytes:
        """Write an event whose data is not JSON."""
        return b'data: {"type": \n\n'
