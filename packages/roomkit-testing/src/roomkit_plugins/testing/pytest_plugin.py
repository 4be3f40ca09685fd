"""What `roomkit-testing` adds to pytest: the marker `virtual_time` and a few fixtures.

Loaded by pytest itself, through the entry-point group `pytest11`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from roomkit_plugins.testing.virtual_time import VirtualClock

# So that a failing contract test shows the values it compared.
pytest.register_assert_rewrite("roomkit_plugins.testing.contracts")

type LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line(
        "markers",
        "virtual_time(io_patience=0.0, io_limit=10.0, horizon=604800.0): run the test on an event "
        "loop whose clock jumps to the next timer (roomkit.testing.VirtualTimeLoop).",
    )
    config.addinivalue_line(
        "markers",
        "overrides_contract(reason): this test replaces the one of the contract suite it inherits from.",
    )


@pytest.hookimpl(wrapper=True, optionalhook=True)  # optional: pytest-asyncio may not be there
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Generator[None, Mapping[str, LoopFactory] | None, Mapping[str, LoopFactory]]:
    """Give a marked test a loop with virtual time, and any other the loop it would have had."""
    chosen = yield
    marker = item.get_closest_marker("virtual_time")
    if marker is None:
        return chosen or {"asyncio": asyncio.new_event_loop}
    from roomkit_plugins.testing.virtual_time import VirtualTimeLoop

    return {"virtual": partial(VirtualTimeLoop, **marker.kwargs)}


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """Return a clock for the kit that follows the loop of a test marked `virtual_time`."""
    from roomkit_plugins.testing.virtual_time import VirtualClock

    return VirtualClock()
