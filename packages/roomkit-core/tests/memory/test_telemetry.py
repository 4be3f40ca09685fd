"""Particulars of the core's telemetry providers."""

from __future__ import annotations

import logging
import re

import pytest

from roomkit.memory import telemetry
from roomkit.memory.telemetry import ConsoleTelemetryProvider, NoopTelemetryProvider
from roomkit.models.telemetry import Attr, SpanKind


def test_the_noop_provider_lets_the_kernel_skip_everything() -> None:
    """It says that it is off, and its spans have no id."""
    provider = NoopTelemetryProvider()
    assert not provider.enabled
    with provider.span(SpanKind.CUSTOM, "span") as span_id:
        assert span_id == ""


def test_a_span_is_one_line_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """With kind, name, status, duration, place and well-known attributes."""
    provider = ConsoleTelemetryProvider()
    with caplog.at_level(logging.INFO, "roomkit.telemetry"):
        span_id = provider.start_span(
            SpanKind.LLM_GENERATE, "generate", room_id="r1", attributes={Attr.MODEL: "m-1"}
        )
        assert not caplog.messages
        provider.set_attribute(span_id, Attr.LLM_INPUT_TOKENS, 12)
        provider.end_span(span_id, attributes={"note": "some words"})
    (line,) = caplog.messages
    assert re.fullmatch(
        rf"span llm\.generate generate ok \d+\.\d{{3}} ms span={span_id} room_id=r1 model=m-1 "
        r"llm\.input_tokens=12 note=<10 characters>",
        line,
    )
    assert caplog.records[0].name == "roomkit.telemetry"


def test_a_failed_span_shows_the_class_of_its_error_and_no_prose(caplog: pytest.LogCaptureFixture) -> None:
    """The name of an error is a code; its message may quote what it failed on."""
    provider = ConsoleTelemetryProvider()
    with caplog.at_level(logging.INFO):
        with pytest.raises(ValueError, match="quote"), provider.span(SpanKind.CUSTOM, "a"):
            raise ValueError("a quote of the message")
        provider.end_span(
            provider.start_span(SpanKind.CUSTOM, "b"), status="error", error_message="not a code"
        )
    assert " error ValueError " in caplog.messages[0]
    assert " error <10 characters> " in caplog.messages[1]


def test_a_metric_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ConsoleTelemetryProvider().record_metric(
            "roomkit.delivery.duration_ms", 12.5, unit="ms", attributes={Attr.CHANNEL_ID: "sms"}
        )
    assert caplog.messages == ["metric roomkit.delivery.duration_ms 12.5 ms channel_id=sms"]


def test_the_level_is_the_one_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Below the logger's level nothing is even rendered."""
    provider = ConsoleTelemetryProvider(level=logging.DEBUG)
    with caplog.at_level(logging.INFO):
        provider.record_metric("metric", 1)
        provider.end_span(provider.start_span(SpanKind.CUSTOM, "span"))
    assert not caplog.records
    with caplog.at_level(logging.DEBUG):
        provider.record_metric("metric", 1)
    assert caplog.records[0].levelno == logging.DEBUG


def test_spans_that_never_end_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest open span is dropped for a new one."""
    monkeypatch.setattr(telemetry, "MAX_OPEN_SPANS", 3)
    provider = ConsoleTelemetryProvider()
    for _ in range(5):
        provider.start_span(SpanKind.CUSTOM, "span")
    assert provider.dropped_spans == 2


def test_resetting_forgets_open_spans(caplog: pytest.LogCaptureFixture) -> None:
    """A span from before the reset ends without a line."""
    provider = ConsoleTelemetryProvider()
    span_id = provider.start_span(SpanKind.CUSTOM, "span")
    provider.reset()
    with caplog.at_level(logging.INFO):
        provider.end_span(span_id)
    assert not caplog.messages
