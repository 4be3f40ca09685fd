"""Lengths of time, wherever one is given: to a kit, a room, a configuration file."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.models.duration import length_in_seconds
from roomkit.plugins import ConfigError, PluginManager
from roomkit.plugins.config import load_config

AMBIGUOUS = ("6m", "6M", " 6m ", "6 m", "1.5m")
WRONG = (
    "soon",
    "",
    "-1d",
    "10 parsecs",
    "6",
    "d",
    "1e3d",
    "nan",
    "1d2h",
    0,
    -1,
    True,
    float("inf"),
    float("nan"),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90min", 5400),
        ("36h", 129_600),
        ("180d", 15_552_000),
        ("2w", 1_209_600),
        ("6mo", 15_552_000),
        ("1y", 31_536_000),
        (" 1.5 h ", 5400),
        (90, 90),
        (timedelta(hours=1), 3600),
    ],
)
def test_a_length_is_a_number_and_its_unit(text, seconds):
    assert length_in_seconds(text) == seconds


@pytest.mark.parametrize("wrong", [*AMBIGUOUS, *WRONG], ids=repr)
async def test_every_way_to_give_one_refuses_what_is_not_clear(wrong):
    """Nothing is created, and the error says how to write it."""
    expected = "minutes or months: say '.*min' for minutes" if wrong in AMBIGUOUS else "not a length of time"
    with pytest.raises(ValueError, match=expected):
        length_in_seconds(wrong)
    with pytest.raises(InvalidInputError, match=expected):
        RoomKit(retention=wrong)
    with pytest.raises(ConfigError, match=f"kit.retention.*{expected}"):
        load_config({"kit": {"retention": wrong}})
    async with RoomKit(plugins=PluginManager(entry_points=())) as kit:
        with pytest.raises(InvalidInputError, match=expected):
            await kit.create_room("r1", retention=wrong)
        assert await kit.store.get_room("r1") is None
        await kit.create_room("r1", retention="1d")
        with pytest.raises(InvalidInputError, match=expected):
            await kit.set_retention("r1", wrong)
        assert (await kit.get_room("r1")).retention_seconds == 86_400
