"""Arguments of the kit's constructor that plugins declare."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from roomkit import RoomKit
from roomkit.plugins import ConfigError, PluginManager, json_schema
from roomkit.plugins.errors import RegistrationError


class Switch:
    """The contract of switchboards."""


class Board(Switch):
    """A switchboard."""

    def __init__(self, lines: int = 1) -> None:
        self.lines = lines


class BoardConfig(BaseModel):
    """How many lines."""

    lines: int = 1


@pytest.fixture
def given() -> dict[str, Any]:
    """Return what the plugin was configured with."""
    return {}


@pytest.fixture
def manager(make: Any, acme: ModuleType, given: dict[str, Any]) -> PluginManager:
    acme.Switch, acme.Board, acme.BoardConfig = Switch, Board, BoardConfig  # type: ignore[attr-defined]

    def register(registry: Any) -> None:
        registry.add_kind("switch", contract="acme:Switch")
        registry.add("switch", "board", "acme:Board", config="acme:BoardConfig")
        registry.add_option("switchboard", "switch")

    def configure(settings: Any) -> None:
        given.update(settings)

    module = make.module(roomkit_register=register, roomkit_configure=configure)
    return make.manager(make.EntryPoint("acme", module))  # type: ignore[no-any-return]


async def test_an_option_is_given_to_the_constructor(manager: PluginManager, given: dict[str, Any]) -> None:
    """The plugin gets it, and programs read it; without one it is None."""
    board = Board(2)
    async with RoomKit(plugins=manager, switchboard=board) as kit:  # type: ignore[call-arg]  # an outsider's
        assert given == {"switchboard": board}
        assert kit.switchboard is board
    async with RoomKit(plugins=manager) as kit:
        assert kit.switchboard is None


async def test_an_option_is_a_table_of_the_file(manager: PluginManager, given: dict[str, Any]) -> None:
    async with await RoomKit.from_config(
        {"switchboard": {"plugin": "board", "lines": 3}}, plugins=manager
    ) as kit:
        assert kit.switchboard.lines == 3
        assert given["switchboard"] is kit.switchboard


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"switchbord": {"plugin": "board"}}, "switchbord is unknown; did you mean 'switchboard'?"),
        ({"switchboard": {"plugin": "bord"}}, "Did you mean 'board'?"),
        ({"switchboard": {"plugin": "board", "line": 1}}, "line is unknown; did you mean 'lines'?"),
        ({"switchboard": {"lines": 1}}, "switchboard names no switch"),
    ],
    ids=["table", "component", "setting", "nothing"],
)
async def test_a_wrong_table_gets_the_nearest_name(
    manager: PluginManager, tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        await RoomKit.from_config(tables, plugins=manager)
    assert said in str(refusal.value)


def test_an_argument_that_nothing_declares_gets_the_nearest_name(manager: PluginManager) -> None:
    """Of the core's own arguments too."""
    with pytest.raises(TypeError, match="'switchbord': did you mean 'switchboard'"):
        RoomKit(plugins=manager, switchbord=Board())  # type: ignore[call-arg]  # planted
    with pytest.raises(TypeError, match="'proces_timeout': did you mean 'process_timeout'"):
        RoomKit(plugins=manager, proces_timeout=3)  # type: ignore[call-arg]  # planted
    with pytest.raises(TypeError, match="'zzz': no installed plugin declares it"):
        RoomKit(plugins=manager, zzz=3)  # type: ignore[call-arg]  # planted


async def test_a_component_of_another_kind_is_refused(manager: PluginManager) -> None:
    with pytest.raises(ConfigError, match="switchboard: it is a int, which is no acme:Switch"):
        async with RoomKit(plugins=manager, switchboard=3):  # type: ignore[call-arg]  # planted
            pass


def test_the_schema_of_the_file_has_the_option(manager: PluginManager) -> None:
    assert "switchboard" in json_schema(manager)["properties"]


@pytest.mark.parametrize("name", ["store", "a-dash", "_own", "switchboard"])
def test_a_name_that_cannot_be_an_option_breaks_the_plugin(make: Any, name: str) -> None:
    refused: list[str] = []

    def register(registry: Any) -> None:
        registry.add_table("switchboard", config="acme:BoardConfig")
        try:
            registry.add_option(name, "channel")
        except RegistrationError as error:
            refused.append(str(error))

    make.manager(make.EntryPoint("acme", make.module(roomkit_register=register))).scan()
    assert len(refused) == 1
