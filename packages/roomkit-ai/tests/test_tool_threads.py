"""The threads of tools that are plain functions: bounded, and apart from those of the event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from roomkit import ToolsBusyError, tool
from roomkit_plugins.ai import functions
from roomkit_plugins.ai.threads import ToolThreads

PATIENCE = 30.0


@pytest.fixture
def may_end() -> Iterator[threading.Event]:
    """Lets functions end that wait for it, after the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


class Held:
    """A function that waits; `begun` has the calls that were made."""

    def __init__(self, may_end: threading.Event) -> None:
        self.begun: list[int] = []
        self.most = 0
        self._may_end = may_end
        self._lock = threading.Lock()
        self._at_once = 0
        self._news = threading.Semaphore(0)

    def __call__(self, number: int) -> int:
        with self._lock:
            self.begun.append(number)
            self._at_once += 1
            self.most = max(self.most, self._at_once)
        self._news.release()
        assert self._may_end.wait(PATIENCE)
        with self._lock:
            self._at_once -= 1
        return number

    def wait(self, calls: int) -> None:
        """Wait until so many more calls have begun."""
        for _ in range(calls):
            assert self._news.acquire(timeout=PATIENCE)


def test_no_more_functions_run_at_once_than_there_are_threads(may_end: threading.Event) -> None:
    """The others follow in their order; threads are used again."""
    threads, work = ToolThreads(most=3), Held(may_end)
    futures = [threads.submit(work, number) for number in range(10)]
    work.wait(3)
    assert sorted(work.begun) == [0, 1, 2]
    may_end.set()
    assert [future.result(PATIENCE) for future in futures] == list(range(10))
    assert (work.most, sorted(work.begun)) == (3, list(range(10)))
    assert threads.submit(threading.current_thread).result(PATIENCE).daemon


def test_a_function_that_fails_leaves_its_thread_to_the_next() -> None:
    threads = ToolThreads(most=1)

    def fails() -> None:
        raise SystemExit("no")

    with pytest.raises(SystemExit):
        threads.submit(fails).result(PATIENCE)
    assert threads.submit(max, 1, 2).result(PATIENCE) == 2


def test_what_would_wait_without_end_is_refused(may_end: threading.Event) -> None:
    threads, work = ToolThreads(most=1, most_waiting=2), Held(may_end)
    futures = [threads.submit(work, 0)]
    work.wait(1)
    futures += [threads.submit(work, number) for number in (1, 2)]
    with pytest.raises(ToolsBusyError, match="1 calls of plain functions are under way, and 2 wait"):
        threads.submit(work, 3)
    assert threads.refused == 1
    may_end.set()
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]


FORKS = """
import os, threading
from roomkit_plugins.ai.threads import ToolThreads

threads, begun = ToolThreads(most=1), threading.Event()

def hang() -> None:
    begun.set()
    threading.Event().wait()

threads.submit(hang)
begun.wait()
if (child := os.fork()) == 0:
    os._exit(threads.submit(int, "7").result(30))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run(program: str) -> tuple[int, str]:
    """Run a program in a process of its own; return its exit code and what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(command, capture_output=True, timeout=PATIENCE, text=True)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    assert run(FORKS) == (0, "7\n")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> ToolThreads:
    """Give tools two threads."""
    made = ToolThreads(most=2)
    monkeypatch.setattr(functions, "TOOL_THREADS", made)
    return made


@pytest.mark.virtual_time
async def test_a_call_whose_time_is_over_before_its_thread_comes_is_not_made(
    threads: ToolThreads, may_end: threading.Event
) -> None:
    """The model is not left with the effect of a call that it knows as failed."""
    work = Held(may_end)
    held = tool(work, name="work")
    first = [asyncio.create_task(held.handler("work", {"number": number})) for number in (1, 2)]
    await asyncio.to_thread(work.wait, 2)
    late = asyncio.create_task(held.handler("work", {"number": 3}))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    last = asyncio.create_task(held.handler("work", {"number": 4}))
    may_end.set()
    assert await asyncio.gather(*first, last) == ["1", "2", "4"]
    assert sorted(work.begun) == [1, 2, 4]


@pytest.mark.virtual_time
async def test_tools_that_hang_hold_no_thread_of_the_event_loop(
    threads: ToolThreads, may_end: threading.Event
) -> None:
    """By those host names are looked up and files are read."""
    work = Held(may_end)
    calls = [asyncio.create_task(tool(work, name="work").handler("work", {"number": n})) for n in range(64)]
    await asyncio.to_thread(work.wait, 2)
    assert await asyncio.to_thread(str, "free") == "free"
    may_end.set()
    assert await asyncio.gather(*calls) == [str(number) for number in range(64)]
    assert work.most == 2


HANGS = """
import asyncio, threading
from roomkit import tool

begun = threading.Event()

def hang() -> None:
    begun.set()
    threading.Event().wait()

async def main():
    asyncio.ensure_future(tool(hang).handler("hang", {}))
    await asyncio.to_thread(begun.wait)

asyncio.run(main())
print("ended")
"""


def test_a_tool_that_hangs_does_not_keep_the_process_from_ending() -> None:
    assert run(HANGS) == (0, "ended\n")


def test_many_short_calls_all_return() -> None:
    """From several threads at once, while others end for want of work."""
    threads = ToolThreads(most=4, most_waiting=100_000)
    results: list[list[int]] = [[] for _ in range(4)]

    def ask(found: list[int]) -> None:
        futures = [threads.submit(pow, number, 2) for number in range(500)]
        found += [future.result(PATIENCE) for future in futures]

    askers: list[Callable[[], None]] = [lambda found=found: ask(found) for found in results]
    running = [threading.Thread(target=each) for each in askers]
    for each in running:
        each.start()
    for each in running:
        each.join(PATIENCE)
    assert results == [[number**2 for number in range(500)]] * 4
