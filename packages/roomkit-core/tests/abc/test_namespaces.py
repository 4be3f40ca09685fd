"""Which plugin a class belongs to."""

from __future__ import annotations

import pytest

from roomkit.abc.namespaces import plugin_of

PLUGINS = (("acme", "acme.plugin"), ("sms", "carriers.sms"), ("mail", "carriers.mail"), ("one", "one"))


@pytest.mark.parametrize(
    ("module", "plugin"),
    [
        ("acme", "acme"),
        ("acme.provider", "acme"),
        ("acmes.provider", None),
        ("carriers.sms", "sms"),
        ("carriers.mail.provider", "mail"),
        ("one", "one"),
        ("two", None),
    ],
)
def test_a_module_belongs_to_the_plugin_closest_to_it(module: str, plugin: str | None) -> None:
    """Also where two plugins share a package."""
    assert plugin_of(module, PLUGINS) == plugin
