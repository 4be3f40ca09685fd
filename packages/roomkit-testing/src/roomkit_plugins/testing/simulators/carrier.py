"""What the simulators of carriers share: telephones, and numbers that a person has opted out of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome
from roomkit_plugins.testing.simulators.vendor import SimulatedPerson, VendorSimulator

__all__ = ["CarrierSimulator", "SimulatedMessage", "SimulatedPhone"]

_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})
_START = frozenset({"START", "YES", "UNSTOP"})


@dataclass(slots=True, eq=False)
class SimulatedMessage:
    """A message that the carrier took. `segments` is how many short messages it needed."""

    id: str
    to: str
    sender: str
    text: str
    media_urls: Sequence[str] = ()
    segments: int = 1
    callback: str = ""


class SimulatedPhone[Message: SimulatedMessage](SimulatedPerson[Message]):
    """A telephone, and the person who has it."""

    def __init__(self, carrier: CarrierSimulator[Message], number: str) -> None:
        super().__init__(number)
        self._carrier = carrier

    @property
    def number(self) -> str:
        """The telephone's number."""
        return self.address

    @property
    def texts(self) -> list[str]:
        """The texts of what came."""
        return [message.text for message in self.received]

    async def write(
        self, text: str = "", *, to: str | None = None, files: Sequence[tuple[str, bytes]] = (), **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        """Send a message to a number of the carrier's; return the answer to its webhook.

        `files` are media types with bytes, kept at the carrier. `fields` are further ones of the webhook.
        """
        return await self._carrier.take_from_phone(self.number, to, text, files, **fields)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that came from a telephone."""

    mime_type: str
    data: bytes


class CarrierSimulator[Message: SimulatedMessage](VendorSimulator[Message]):
    """A carrier with numbers, and with telephones that people write from."""

    def __init__(self, *, numbers: Sequence[str], webhook_url: str) -> None:
        super().__init__(webhook_url=webhook_url)
        self.numbers = tuple(numbers)
        self._phones: dict[str, SimulatedPhone[Message]] = {}  # bound: one test
        self._files: dict[str, KeptFile] = {}  # bound: one test
        self._opted_out: set[tuple[str, str]] = set()  # bound: one test
        self._issued = 0

    def phone(self, number: str) -> SimulatedPhone[Message]:
        """Return the telephone of a number."""
        return self._phones.setdefault(number, SimulatedPhone(self, number))

    @abstractmethod
    async def take_from_phone(
        self, person: str, number: str | None, text: str, files: Sequence[tuple[str, bytes]], **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        """Carry a person's message to a number, the first one for None: see `SimulatedPhone.write`."""

    def next_number(self) -> int:
        """Return a number for an id that was not given out."""
        self._issued += 1
        return self._issued

    def keep_file(self, path: str, mime_type: str, data: bytes) -> str:
        """Keep a file at a path of the carrier's; return its URL."""
        self._files[path] = KeptFile(mime_type, data)
        return self.origin + path

    def kept_file(self, path: str) -> KeptFile | None:
        """Return the file of a path."""
        return self._files.get(path)

    def opt(self, person: str, number: str, text: str) -> str:
        """Keep what a text means for the pair of numbers; return STOP, START, or "" for another text."""
        word = text.strip().upper()
        if word in _STOP:
            self._opted_out.add((number, person))
            return "STOP"
        if word in _START:
            self._opted_out.discard((number, person))
            return "START"
        return ""

    def has_opted_out(self, person: str, number: str) -> bool:
        """Return whether a person said STOP to a number."""
        return (number, person) in self._opted_out

    def take(self, message: Message) -> Message:
        """Keep a message, and carry it to its telephone."""
        self.messages.append(message)
        self.phone(message.to.removeprefix("rcs:")).show(message)
        return message
