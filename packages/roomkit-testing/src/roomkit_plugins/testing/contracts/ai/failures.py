"""The contract of AI providers: failures."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode
from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
)
from roomkit_plugins.testing.contracts.ai.asking import (
    ask,
    ask_streamed,
    ask_whole,
    failure_of,
)
from roomkit_plugins.testing.contracts.ai.suite import AISuite
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Drop,
    FailMidStream,
    Failure,
    Fault,
    Malformed,
    NeverAnswer,
    Reply,
    Truncate,
    WrongShape,
)
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

__all__ = ["AIFailuresContract"]


class AIFailuresContract(AISuite):
    """Whatever the vendor does, it is an answer or a classified error."""

    async def test_a_missing_sdk_says_what_to_install(
        self, provider: AIProvider, simulator: AISimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error names the distribution, and nothing is asked."""
        if self.sdk is None:
            pytest.skip("this provider needs no SDK")
        monkeypatch.setitem(sys.modules, self.sdk, None)
        with pytest.raises(ImportError, match=f"the {self.sdk} SDK: pip install roomkit-"):
            await provider.generate(ask())
        assert simulator.requests == []

    async def test_every_error_is_classified(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Each error the vendor can report has its class, one attempt, and a message."""
        for generate in (ask_whole, ask_streamed):
            for code, failure in simulator.failures.items():
                before = len(simulator.requests)
                simulator.fail(code)
                error = await failure_of(generate(provider, ask()))
                assert error.error_code is code, f"{code}: {error}"
                assert error.retryable is code.retryable
                assert error.status_code == failure.status
                assert error.provider == provider.name
                assert len(simulator.requests) == before + 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_a_wrong_address(
        self, provider: AIProvider, simulator: AISimulator, status: int
    ) -> None:
        """It is permanent, with or without a place to go; nothing, and so no key, is sent there."""
        self.needs_http("nothing redirects")
        async with _Elsewhere() as elsewhere:
            for location in ({}, {"location": f"{elsewhere.origin}/v1/x"}):
                for generate in (ask_whole, ask_streamed):
                    simulator.reply(fault=Failure(status, {}, location))
                    error = await failure_of(generate(provider, ask()))
                    assert error.error_code in (ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST)
                    assert not error.retryable
                    assert error.status_code == status
            assert elsewhere.requests == []

    async def test_how_long_to_wait(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Seconds, milliseconds and dates are understood; nonsense is not believed."""
        self.needs_http("there are no headers: the time to wait is scripted")
        code = ErrorCode.OVERLOADED
        date = {"date": "Sun, 22 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 22 Nov 2026 10:01:30 GMT"}
        told = [
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
            (date, 90.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "-4"}, None),
            ({}, None),
        ]
        for headers, seconds in told:
            simulator.fail(code, headers=headers)
            assert (await failure_of(provider.generate(ask()))).retry_after == seconds

    async def test_the_vendor_decides_on_retrying(self, provider: AIProvider, simulator: AISimulator) -> None:
        self.needs_http("there are no headers")
        simulator.fail(ErrorCode.SERVER, headers={"x-should-retry": "false"})
        assert (await failure_of(provider.generate(ask()))).retryable is False
        simulator.fail(ErrorCode.INVALID_REQUEST, headers={"x-should-retry": "true"})
        assert (await failure_of(provider.generate(ask()))).retryable is True

    async def test_a_refused_connection(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A connection that breaks before the answer can be tried again."""
        self.needs_http("there is no connection")
        for generate in (ask_whole, ask_streamed):
            simulator.reply("Hello", fault=Drop())
            error = await failure_of(generate(provider, ask()))
            assert error.error_code is ErrorCode.CONNECTION
            assert error.retryable

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (Drop(after=5), ErrorCode.CONNECTION),
            (Truncate(after=5), ErrorCode.BAD_RESPONSE),
            (Malformed(after=5), ErrorCode.BAD_RESPONSE),
            (FailMidStream(ErrorCode.SERVER, after=5), ErrorCode.SERVER),
        ],
        ids=["dropped", "truncated", "malformed", "failed"],
    )
    async def test_a_stream_that_breaks(
        self, provider: AIProvider, simulator: AISimulator, fault: Fault, code: ErrorCode
    ) -> None:
        """Text received before stays, the error ends it, and the vendor is not asked again."""
        if not isinstance(fault, FailMidStream):
            self.needs_http("a stream breaks only as the vendor reports it")
        simulator.reply("It was a dark and stormy night; the rain fell in torrents", fault=fault)
        heard: list[StreamEvent] = []

        async def hear() -> None:
            async for event in provider.generate_structured_stream(ask()):
                heard.append(event)  # noqa: PERF401 - events received stay when the stream fails

        assert (await failure_of(hear())).error_code is code
        assert any(isinstance(event, StreamTextDelta) for event in heard)
        assert not any(isinstance(event, StreamDone) for event in heard)
        assert len(simulator.requests) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            Truncate(),
            Malformed(),
            WrongShape(),
            WrongShape(None),
            WrongShape([]),
            WrongShape("text"),
            WrongShape({"type": "message", "choices": 5, "output": {}, "content": "x"}),
            WrongShape({"type": "message", "choices": [None], "output": [None], "content": [None]}),
            WrongShape({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}),
            WrongShape({"output": [{"type": "message", "content": 5}], "status": "completed"}),
        ],
        ids=repr,
    )
    async def test_an_answer_of_the_wrong_shape(
        self, provider: AIProvider, simulator: AISimulator, fault: Fault
    ) -> None:
        """A 200 with anything else than an answer is a `bad_response`, whole and streamed."""
        self.needs_http("answers are objects")
        for generate in (ask_whole, ask_streamed):
            simulator.reply("Hello", fault=fault)
            error = await failure_of(generate(provider, ask()))
            assert error.error_code is ErrorCode.BAD_RESPONSE
            assert not error.retryable

    async def test_a_silent_vendor_times_out(
        self, factory: Callable[..., AIProvider], simulator: AISimulator
    ) -> None:
        """No byte within the timeout is a `timeout`, before the answer and inside it."""
        self.needs_http("there is no timeout")
        provider = factory(timeout=0.1)
        silent = ((ask_whole, NeverAnswer()), (ask_streamed, NeverAnswer()), (ask_streamed, NeverAnswer(2)))
        for generate, fault in silent:
            asked: list[ReceivedRequest] = []
            simulator.reply_always(_silence(fault, asked))
            while not asked:  # on a busy machine the time may pass before the vendor was asked
                error = await failure_of(generate(provider, ask()))
                assert error.error_code is ErrorCode.TIMEOUT
                assert error.retryable
        await provider.close()


def _silence(fault: NeverAnswer, asked: list[ReceivedRequest]) -> Callable[[ReceivedRequest], Reply]:
    """Return what notes each request, and makes the vendor fall silent."""

    def make(request: ReceivedRequest) -> Reply:
        asked.append(request)
        return Reply("Hello", fault=fault)

    return make


class _Elsewhere(HTTPSimulator):
    """Where a redirect leads."""

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer with nothing."""
        await exchange.send_json(200, {})
