"""People at the other end of real sockets, who cost next to nothing: frames are counted, not decoded."""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pydantic_core import to_json

from benchmarks.world import ROOM, SENDER, TEXT

__all__ = ["Crowd", "DistantCrowd"]

_EVENT = b'{"type":"event"'
_ACK = b'{"type":"ack"'
_READY = b'{"type":"ready"'
_PATIENCE = 60.0
_PING = 0x9
_TARGET = f"/rooms/{ROOM}?participant={{}}"


class Crowd:
    """A sender and so many listeners in one room, by blocking handshakes and one epoll for all of them.

    `target` is the path of a client's socket, with the place of its name; `key` is sent as the API wants it.
    """

    def __init__(self, port: int, listeners: int, *, target: str = _TARGET, key: str = "") -> None:
        self._target = target
        self._key = key
        self._poll = select.epoll()
        self._people: dict[int, _Person] = {}  # bound: listeners + 1
        self._sender = self._enter(port, SENDER)
        self._listeners = [self._enter(port, f"listener-{number}") for number in range(listeners)]
        self._collect(self._everyone, _READY)

    @property
    def _everyone(self) -> Sequence[_Person]:
        return [self._sender, *self._listeners]

    def _enter(self, port: int, name: str) -> _Person:
        person = _Person(port, self._target.format(name), self._key)
        self._people[person.fd] = person
        self._poll.register(person.fd, select.EPOLLIN)
        return person

    def say(self, messages: int, *, acknowledged: bool) -> list[float]:
        """Say one thing after the other; return the seconds until everyone had each.

        `acknowledged`: the sender has its acknowledgement too.
        """
        took = []
        for _ in range(messages):
            began = time.perf_counter()
            self._sender.send(to_json({"type": "message", "text": TEXT}))
            waits = [*self._listeners, self._sender] if acknowledged else self._listeners
            self._collect(waits, _EVENT)
            took.append(time.perf_counter() - began)
        return took

    def frames(self) -> int:
        """Return how many events the listeners have had, all together."""
        return sum(each.events for each in self._listeners)

    def _collect(self, people: Sequence[_Person], kind: bytes) -> None:
        """Wait until each had one more frame of a kind; the sender of an event its acknowledgement."""
        waiting = set()
        for person in people:
            wanted = _ACK if person is self._sender and kind is _EVENT else kind
            if not person.expect(wanted):
                waiting.add(person.fd)
        until = time.monotonic() + _PATIENCE
        while waiting:
            for fd, _ in self._poll.poll(1.0):
                if self._people[fd].receive():
                    waiting.discard(fd)
            if time.monotonic() > until:
                raise TimeoutError(f"{len(waiting)} clients still wait for {kind!r}")

    def close(self) -> None:
        """Have everyone leave."""
        for person in self._everyone:
            person.close()
        self._poll.close()


class DistantCrowd:
    """A crowd in a process of its own, so that it takes no time from a client that is measured beside it."""

    def __init__(self, port: int, listeners: int, *, target: str, key: str) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"))
        self._do(_gather, port, listeners, target, key)

    def say(self, messages: int) -> None:
        """Say one thing after the other, and wait for the acknowledgements; see `Crowd.say`."""
        self._do(_say, messages)

    def frames(self) -> int:
        """See `Crowd.frames`."""
        return self._do(_frames)

    def close(self) -> None:
        """Have everyone leave."""
        self._do(_leave)
        self._process.shutdown()

    def _do[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._process.submit(work, *args, **kwargs).result()


_here: list[Crowd] = []  # bound: one, in the process of a distant crowd


def _gather(port: int, listeners: int, target: str, key: str) -> None:
    _here.append(Crowd(port, listeners, target=target, key=key))


def _say(messages: int) -> None:
    _here[0].say(messages, acknowledged=True)


def _frames() -> int:
    return _here[0].frames()


def _leave() -> None:
    _here.pop().close()


class _Person:
    """One client: what it has read of a frame, and whether it has the frame that it waits for."""

    def __init__(self, port: int, target: str, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self._socket.fileno()
        self._wanted = b""
        self._has = False
        self.events = 0
        self._unread = self._shake_hands(target, key)
        self._socket.setblocking(False)

    def _shake_hands(self, target: str, key: str) -> bytes:
        nonce = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {target} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {nonce}",
            "Sec-WebSocket-Version: 13",
            *([f"Authorization: Bearer {key}"] if key else ()),
        )
        self._socket.sendall("\r\n".join((*lines, "", "")).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self._socket.recv(4096)
            if not piece:
                raise ConnectionError(f"the server refused {target}: {answer[:200]!r}")
            answer += piece
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"the server refused {target}: {head[:200]!r}")
        return rest

    def send(self, text: bytes) -> None:
        """Send a text frame (RFC 6455, section 5.2), masked by nothing."""
        assert len(text) < 126
        self._socket.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def _pong(self, payload: bytes) -> None:
        """Answer a ping (section 5.5.3), or the server takes the client for dead."""
        self._socket.sendall(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def expect(self, wanted: bytes) -> bool:
        """Wait for one frame that begins so; return whether it is there already."""
        self._wanted, self._has = wanted, False
        return self._read()

    def receive(self) -> bool:
        """Read the bytes that have arrived; return whether the expected frame is complete."""
        piece = self._socket.recv(65_536)
        if not piece:
            raise ConnectionError("the server closed a socket")
        self._unread += piece
        return self._read()

    def _read(self) -> bool:
        unread = self._unread
        while len(unread) >= 2:
            length, begin = unread[1], 2
            if length == 126:
                if len(unread) < 4:
                    break
                (length,) = struct.unpack_from("!H", unread, 2)
                begin = 4
            if len(unread) < begin + length:
                break
            if unread[0] & 0x0F == _PING:
                self._pong(unread[begin : begin + length])
            if unread.startswith(self._wanted, begin):
                self._has = True
            self.events += unread.startswith(_EVENT, begin)
            unread = unread[begin + length :]
        self._unread = unread
        return self._has

    def close(self) -> None:
        self._socket.close()
