"""A message costs no more than `cost.toml` allows, counted and not timed."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.models.content import TextContent
from tests.tree.cost import SCENARIOS, Meter, limits, measured, metered

_KEPT = 0.9
"""A count below this share of its limit is a gain to be stored."""
_PASSED = 12_000
"""The most code lines of the core's modules that a message enters, with a streamed answer of an agent."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_costs_no_more_than_it_may(name: str) -> None:
    """Calls, models, statements and tasks are each at most the limit."""
    allowed, costs = limits()[name], measured(name)
    risen = {what: (count, allowed[what]) for what, count in costs.items() if count > allowed[what]}
    assert not risen, (
        f"ten messages of {name!r} cost more than cost.toml allows (now, allowed): {risen}; "
        "make it cheaper, or raise the count in this commit and say why"
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_was_gained_is_kept(name: str) -> None:
    """A count that fell by a tenth becomes the new limit."""
    allowed, costs = limits()[name], measured(name)
    fallen = {what: (count, allowed[what]) for what, count in costs.items() if count < _KEPT * allowed[what]}
    assert not fallen, (
        f"{name!r} became cheaper (now, allowed): {fallen}; run `uv run nox -s cost -- --write`"
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_message_passes_few_lines_of_the_core(name: str) -> None:
    """Modules that it enters are counted whole: a reader who follows a message reads no more than these."""
    assert metered(name).lines <= _PASSED


def test_every_limit_belongs_to_a_scenario() -> None:
    """No table of the file is left behind, and none is missing."""
    assert list(limits()) == list(SCENARIOS)


def test_the_meter_sees_calls_tasks_and_models() -> None:
    """One of each is counted as one."""
    meter = Meter()

    async def once() -> None:
        with meter.on():
            await asyncio.create_task(asyncio.sleep(0))
            TextContent(body="hi").replace(body="ho")

    asyncio.run(once())
    assert (meter.tasks, meter.models, meter.functions) == (1, 1, 1)
