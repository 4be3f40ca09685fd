"""The contract of sources, over real sockets to a scripted IMAP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from roomkit.abc.source import SourceProvider
from roomkit_plugins.smtp import IMAPConfig, IMAPSource
from roomkit_plugins.testing.contracts import SourceProviderContract
from roomkit_plugins.testing.simulators import MailboxSimulator

PASSWORD = "canary-of-the-password"


def mail(number: int, text: str = "hello", sender: str = "ann@example.com") -> bytes:
    """Return a mail with an id of its own."""
    head = f"From: {sender}\r\nMessage-ID: <m{number}@example.com>\r\nSubject: Order {number}\r\n"
    return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()


class TestIMAPSource(SourceProviderContract):
    redelivers = True
    has_idle = True
    secrets: Sequence[str] = (PASSWORD,)
    mailbox: MailboxSimulator

    @pytest.fixture(autouse=True)
    async def keep_mailbox(self) -> AsyncIterator[None]:
        """Keep the mailbox at hand."""
        async with MailboxSimulator(users={"desk": PASSWORD}, has_idle=self.has_idle) as self.mailbox:
            yield

    @pytest.fixture
    def factory(self) -> Callable[[], IMAPSource]:
        def make() -> IMAPSource:
            config = IMAPConfig(
                channel_id="mail",
                host=self.mailbox.host,
                port=self.mailbox.port,
                security="none",
                username="desk",
                password=PASSWORD,  # type: ignore[arg-type]
                begin="all",
                poll_seconds=30.0 if self.has_idle else 0.02,
            )
            return IMAPSource(config)

        return make

    async def bring(self, source: SourceProvider, number: int) -> None:
        for _ in range(number):
            self.mailbox.deliver(mail(self.mailbox.next_uid))

    async def unacknowledged(self, source: Any) -> int:
        return sum(each.uid > source.uid for each in self.mailbox.mails)


class TestIMAPSourceWithoutIdle(TestIMAPSource):
    """Of a server that has to be asked."""

    has_idle = False
