"""How often a server's garbage collector looks at everything."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Literal

import pytest

from roomkit_plugins.cli.serve import _rare_full_collections

_OFTEN = (100, 10, 10)
"""Thresholds of a small server, whatever this Python's are: a full collection for 10,000 new objects."""
_LIVE = 80_000
"""Objects that are made and kept."""


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """A process as it starts: pytest's plugin has frozen what it collected."""
    before = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.set_threshold(*before)
    gc.collect()
    gc.freeze()


@pytest.fixture
def small() -> None:
    """A process with few objects: full collections are the rarer the more of them live."""
    gc.freeze()
    gc.collect()
    gc.set_threshold(*_OFTEN)


class Collections:
    """Counts full collections while it is entered."""

    def __init__(self) -> None:
        self.full = 0

    def note(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        self.full += phase == "stop" and info["generation"] == 2

    def __enter__(self) -> Collections:
        gc.callbacks.append(self.note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self.note)


def _grow() -> int:
    """Return how many full collections the making of live objects costs."""
    with Collections() as collections:
        kept = [[number] for number in range(_LIVE)]
        full = collections.full
    assert len(kept) == _LIVE
    return full


@pytest.mark.usefixtures("small")
def test_a_growing_server_is_not_stopped_by_full_collections():
    without = _grow()
    with _rare_full_collections():
        assert _grow() == 0
    assert without > 0


def test_what_was_imported_is_not_looked_at_again():
    """And after the server all is as before."""
    before = gc.get_threshold()
    with _rare_full_collections():
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == (before[0], before[1], before[2] * 10)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("small")
def test_garbage_in_circles_is_collected_even_so():
    """Rarely is not never."""
    with _rare_full_collections(), Collections() as collections:
        kept = [[number] for number in range(2 * _LIVE)]
        assert collections.full == 1
        assert kept


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_server_that_fails_leaves_the_collector_as_it_was(failure: type[BaseException]):
    before = gc.get_threshold()
    with pytest.raises(failure), _rare_full_collections():
        raise failure
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
