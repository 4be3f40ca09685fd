"""What a plugin may declare, and the errors for what it may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.plugins import ComponentKind, PluginError, Registry
from roomkit.plugins.components import Plugin
from roomkit.plugins.errors import RegistrationError


@pytest.fixture
def plugin() -> Plugin:
    return Plugin(name="acme", module="acme.plugin")


def test_a_component_is_declared_by_strings_alone(plugin: Plugin) -> None:
    """Nothing is imported when a component is declared."""
    Registry(plugin).add(
        "sms", "acme", "no.such.module:Class", config="no.such.module:Config", parts={"memory": "memory"}
    )

    (component,) = plugin.components
    assert str(component) == "sms:acme"
    assert component.kind is ComponentKind.SMS
    assert component.parts == {"memory": ComponentKind.MEMORY}


def test_a_kind_that_is_no_word_is_refused(plugin: Plugin) -> None:
    with pytest.raises(RegistrationError, match=r"unknown component kind 'SMS'; did you mean 'sms'\?"):
        Registry(plugin).add("SMS", "acme", "acme:SMS")


@pytest.mark.parametrize("name", ["", "Acme", "acme sms", "acme_sms", "-acme", "acme-", "é"])
def test_a_name_that_cannot_be_typed_is_refused(plugin: Plugin, name: str) -> None:
    """Names are what users write in files and commands."""
    with pytest.raises(RegistrationError, match="cannot name a component"):
        Registry(plugin).add("sms", name, "acme:SMS")


@pytest.mark.parametrize("target", ["acme", "acme:", ":SMS", "acme.SMS", "acme:SMS()", "a-b:C"])
def test_a_malformed_reference_is_refused(plugin: Plugin, target: str) -> None:
    with pytest.raises(RegistrationError, match=r"write 'package\.module:Class'"):
        Registry(plugin).add("sms", "acme", target)


def test_a_name_is_declared_once(plugin: Plugin) -> None:
    registry = Registry(plugin)
    registry.add("sms", "acme", "acme:SMS", aliases=["acme-sms"])

    with pytest.raises(RegistrationError, match="sms 'acme-sms' is declared twice"):
        registry.add("sms", "acme-sms", "acme:Other")
    registry.add("rcs", "acme", "acme:RCS")


anything = st.one_of(
    st.none(), st.integers(), st.text(max_size=20), st.binary(max_size=5), st.lists(st.text())
)


@given(kind=anything, name=anything, target=anything, config=anything)
def test_bad_declarations_give_typed_errors(
    kind: object, name: object, target: object, config: object
) -> None:
    """Whatever a plugin passes, it is taken or refused with a `PluginError`."""
    plugin = Plugin(name="acme", module="acme.plugin")
    try:
        Registry(plugin).add(kind, name, target, config=config)  # type: ignore[arg-type]
    except PluginError as error:
        assert str(error)
        assert plugin.components == []
    else:
        assert len(plugin.components) == 1
