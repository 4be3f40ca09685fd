"""Resources made once for all processes of a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from roomkit_plugins.testing.once import OncePerRun


def test_of_many_that_ask_at_once_one_makes_it(tmp_path: Path) -> None:
    """Each with an object of its own, as processes have."""
    made: list[int] = []
    together = Barrier(8)

    def ask(number: int) -> object:
        def make() -> dict[str, list[int]]:
            made.append(number)
            return {"by": made}

        together.wait()
        return OncePerRun(tmp_path)("thing", make)

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert given == [{"by": made}] * 8


def test_each_name_has_a_value_of_its_own(tmp_path: Path) -> None:
    once = OncePerRun(tmp_path)
    assert [once("a", lambda: 1), once("b", lambda: None), once("a", lambda: 3)] == [1, None, 1]


def test_after_a_failure_the_next_tries(tmp_path: Path) -> None:
    once = OncePerRun(tmp_path)
    with pytest.raises(ZeroDivisionError):
        once("thing", lambda: 1 // 0)
    assert once("thing", lambda: "made") == "made"


def test_workers_of_one_run_share_a_folder(
    once_per_run: OncePerRun, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> None:
    base = tmp_path_factory.getbasetemp()
    assert once_per_run._folder == (base if worker_id == "master" else base.parent)
