"""`pip install roomkit` is enough to begin."""

from importlib_metadata import requires

from roomkit.plugins import ComponentState, PluginManager


def test_what_it_brings_registers() -> None:
    """The core, the WebSocket and AI channels, the command line and the mocks are there and in order."""
    states = {plugin.name: plugin.state for plugin in PluginManager().plugins()}

    assert {"core", "websocket", "ai", "cli", "testing"} <= set(states)
    assert set(states.values()) == {ComponentState.LOADED}


def test_it_pulls_in_no_vendor() -> None:
    always = [line for line in requires("roomkit") or [] if "extra ==" not in line]
    assert not [line for line in always if "anthropic" in line or "openai" in line]
