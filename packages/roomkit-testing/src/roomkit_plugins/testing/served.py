"""A process that serves one agent, for tests that kill it: `python -m roomkit_plugins.testing.served`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self, override

from roomkit.abc.ai import AIProvider
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta
from roomkit.models.generation import AIContext, AIResponse
from roomkit.plugins.references import resolve

__all__ = ["LEASE", "Served"]

LEASE = 0.5
"""Seconds of the leases that tests let run out."""


class Served:
    """The process, as a test sees it: it prints a line when its provider is asked, and when that ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, target: str, config: str, settings: Mapping[str, Any], agent: str, script: str
    ) -> Self:
        """Start a process, and wait until it serves."""
        given = json.dumps({**settings, "lease_seconds": LEASE})
        command = (sys.executable, "-m", __name__, target, config, given, agent, script)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        served = cls(process)
        await served._line("serving")
        return served

    async def asked(self) -> None:
        """Wait until its provider is asked."""
        await self._line("asked")

    async def ended(self) -> None:
        """Wait until its provider's call is over."""
        await self._line("ended")

    async def _line(self, wanted: str) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line.decode().strip() == wanted, f"the process said {line!r} instead of {wanted!r}"

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        """End it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class _Model(AIProvider):
    """Says nothing, or half an answer, or all after two leases; by the name of the script."""

    def __init__(self, script: str) -> None:
        self._script = script

    @property
    @override
    def model_name(self) -> str:
        return "scripted"

    @property
    @override
    def supports_structured_streaming(self) -> bool:
        return True

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        raise NotImplementedError

    @override
    async def generate_structured_stream(self, context: AIContext) -> AsyncGenerator[StreamEvent]:
        _say("asked")
        try:
            if self._script == "half":
                yield StreamTextDelta("Half")
            if self._script != "later":
                await asyncio.Event().wait()
            await asyncio.sleep(2 * LEASE)  # the process is paused in it
            yield StreamTextDelta("Late")
            yield StreamDone("stop")
        finally:
            _say("ended")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _main(target: str, config: str, settings: str, agent: str, script: str) -> None:
    model: Any = resolve(config)
    made = resolve(target)(model.model_validate_json(settings))
    await made.open()
    _say("serving")
    await made.serve({agent: _Model(script)})


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
