"""`roomkit serve` as a process of its own under load, and the vendors that it sends to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

__all__ = ["KEY", "FailingVendor", "HangingVendor", "Serving", "served", "settings"]

KEY = "the-key-of-the-operator"
_START = 60.0
_STOP = 120.0
_CHANNEL = """
[channels.{name}]
plugin = "sms"
[channels.{name}.provider]
plugin = "twilio"
account_sid = "{account}"
auth_token = "{token}"
from_number = "{number}"
base_url = "{origin}"
timeout = 2
"""
_SERVER = """
[kit]
close_timeout = 3

[channels.web]
plugin = "websocket"

[server]
port = 0
stop_timeout = 5
address_rate_limit = {{ max_per_second = 1000000 }}

[server.keys.operator]
secret = "{key}"
scopes = ["rooms:read", "rooms:write", "messages:send", "sockets:connect"]
rate_limit = {{ max_per_second = 1000000 }}
"""


class HangingVendor(HTTPSimulator):
    """A vendor that takes requests and never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Wait until the client has had enough."""
        self.asked += 1
        await request.disconnected.wait()


class FailingVendor(HTTPSimulator):
    """A vendor that is out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer 503, which may pass."""
        self.asked += 1
        await exchange.send_json(503, {"code": 20503, "message": "Service unavailable", "status": 503})


def settings(vendor: TwilioSimulator, origins: Mapping[str, str]) -> str:
    """Return the configuration: an SMS channel of each name, at each origin."""
    channels = [
        _CHANNEL.format(
            name=name,
            account=vendor.account_sid,
            token=vendor.auth_token,
            number=vendor.numbers[0],
            origin=origin,
        )
        for name, origin in origins.items()
    ]
    return "".join([_SERVER.format(key=KEY), *channels])


class Serving:
    """A server at work."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])

    def resident(self) -> int:
        """Return the bytes that it holds in memory."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    def cpu(self) -> float:
        """Return the seconds of CPU that it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP):
            return await self._process.wait()

    def kill(self) -> None:
        """End it if it runs."""
        if self._process.returncode is None:
            self._process.kill()


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[Serving]:
    """Run `roomkit serve` on a configuration; what it complains of goes to `serve.log` beside the file."""
    with file.with_name("serve.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "roomkit_plugins.cli", "serve", "--json", "--config", str(file)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    serving = None
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START):
            line: Any = json.loads(await process.stdout.readline())
        serving = Serving(process, line["url"])
        yield serving
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
