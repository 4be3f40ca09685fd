"""The contract of AI providers: many calls, cancellation, closing and secrets."""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import aclosing

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode
from roomkit.models.ai import (
    StreamTextDelta,
)
from roomkit_plugins.testing.contracts.ai.asking import (
    ask,
    ask_streamed,
    ask_whole,
    failure_of,
    number_in,
    patient,
)
from roomkit_plugins.testing.contracts.ai.suite import AISuite
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Drop,
    Malformed,
    NeverAnswer,
    Reply,
)

__all__ = ["AIUseContract"]


class AIUseContract(AISuite):
    """Calls do not mix, end when their caller goes, and show no secret."""

    async def test_calls_do_not_mix(self, provider: AIProvider, simulator: AISimulator) -> None:
        """Fifty conversations at once, whole and streamed, each get their own answer."""
        simulator.reply_always(lambda request: Reply(f"You said {number_in(request)}."))
        said = [f"number-{number}" for number in range(50)]
        async with patient():
            whole = await asyncio.gather(*(ask_whole(provider, ask(text)) for text in said))
            streamed = await asyncio.gather(*(ask_streamed(provider, ask(text)) for text in said))
        for answers in (whole, streamed):
            assert [answer.content for answer in answers] == [f"You said {text}." for text in said]

    async def test_cancelling_lets_the_vendor_go(self, provider: AIProvider, simulator: AISimulator) -> None:
        """A cancelled call closes its connection, and the provider goes on working."""
        for number, generate in enumerate((ask_whole, ask_streamed), 1):
            simulator.reply("Hello", fault=NeverAnswer())
            async with patient(), asyncio.TaskGroup() as tasks:
                call = tasks.create_task(generate(provider, ask()))
                request = await simulator.received(number)
                call.cancel()
                await request.disconnected.wait()
        simulator.reply("Still here.")
        assert (await provider.generate(ask())).content == "Still here."

    async def test_leaving_a_stream_lets_the_vendor_go(
        self, provider: AIProvider, simulator: AISimulator
    ) -> None:
        """A stream that is closed half-way stops the model."""
        self.needs_http("there is no connection to close")
        simulator.reply(["Once upon a time", asyncio.Event(), "the end"])
        async with patient():
            stream = provider.generate_structured_stream(ask())
            async with aclosing(stream) as events:  # type: ignore[type-var]  # an async generator
                async for event in events:
                    if isinstance(event, StreamTextDelta):
                        break
            await simulator.requests[-1].disconnected.wait()

    async def test_a_closed_provider_says_so(self, provider: AIProvider, simulator: AISimulator) -> None:
        """After `close()` nothing is asked any more."""
        simulator.reply("Hello")
        await provider.generate(ask())
        await provider.close()
        await provider.close()
        for generate in (ask_whole, ask_streamed):
            error = await failure_of(generate(provider, ask()))
            assert "closed" in str(error)
            assert not error.retryable
        assert len(simulator.requests) == 1

    async def test_secrets_stay_out_of_errors_and_logs(
        self, provider: AIProvider, simulator: AISimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever fails, the key is in no message, no chained error, no local variable, no log line."""
        self.needs_http("there is no key")
        caplog.set_level(logging.DEBUG)
        body = {"error": {"type": "authentication_error", "message": f"bad key {simulator.api_key}"}}
        echo = simulator.failure(ErrorCode.AUTH)
        for fault in (
            type(echo)(echo.status, body, echo.headers),
            simulator.failure(ErrorCode.SERVER),
            Drop(),
            Malformed(),
        ):
            simulator.reply(fault=fault)
            error = await failure_of(provider.generate(ask()))
            told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            for secret in self.secrets:
                assert secret not in told
                assert secret not in repr(vars(error))
        for secret in self.secrets:
            assert secret not in caplog.text
