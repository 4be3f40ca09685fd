"""What a model does not take is said once."""

from __future__ import annotations

import logging

import pytest

from roomkit_plugins.wire.left_out import LeftOut


def test_each_parameter_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else is omitted with it."""
    left_out = LeftOut(logging.getLogger("acme"), "acme-1")
    left_out.warn(["temperature"])
    left_out.warn(["temperature", "thinking_budget"])
    left_out.warn([])
    said = "acme-1 takes no {}: it is omitted from this request and all later ones"
    assert [record.getMessage() for record in caplog.records] == [
        said.format("temperature"),
        said.format("thinking_budget"),
    ]
