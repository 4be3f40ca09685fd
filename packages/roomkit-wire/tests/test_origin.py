"""Errors that say whose they are, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomkit.abc.errors import LONGEST_PAUSE, ErrorCode, ProviderError
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.retry_after import retry_after, should_retry

_DATES = r"(Mon|Fri|), \d{1,3} (Jan|Feb|Xxx) \d{1,6} \d{1,3}:\d{1,3}(:\d{1,3})?( GMT| [+-]\d{1,6}|)"


def test_an_error_answer_says_what_the_vendor_said() -> None:
    """Its status, its codes, what it wrote, and where to find the request."""
    error = Origin("acme", "Acme").answered(
        429,
        ErrorCode.RATE_LIMIT,
        "slow down",
        headers={"retry-after": "7", "x-should-retry": "false"},
        codes=["too_fast", "requests"],
        request_id="req_1",
    )
    assert str(error) == "Acme refused the request (429 too_fast, requests): slow down"
    assert (error.provider, error.status_code, error.vendor_code) == ("acme", 429, "too_fast")
    assert (error.retryable, error.retry_after, error.request_id) == (False, 7.0, "req_1")


def test_an_error_answer_may_say_nothing() -> None:
    """Then the class decides, and the provider's name stands for the vendor's."""
    error = Origin("acme", request_id="req_2").answered(500, ErrorCode.SERVER, "x" * 900, headers={})
    assert str(error) == f"acme refused the request (500 without a code): {'x' * 500}"
    assert (error.vendor_code, error.retryable, error.request_id) == (None, True, "req_2")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2", "retry-after-ms": "x"}, 2.0),
        (
            {"date": "Sun, 22 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 22 Nov 2026 10:01:30 GMT"},
            90.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-4"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are understood; nonsense is not believed."""
    assert retry_after(headers) == seconds


def test_whether_to_try_again() -> None:
    """Only a plain yes or no counts."""
    told = [should_retry({"x-should-retry": value}) for value in ("true", "false", "maybe")]
    assert [*told, should_retry({})] == [True, False, None, None]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://ann:secret@other.example/v1?key=secret", "to other.example"),
        ("/v2", "without saying to which host"),
        ("http://[", "without saying to which host"),
        (None, "without saying to which host"),
    ],
)
def test_a_redirect_is_permanent_and_names_the_host_alone(location: str | None, said: str) -> None:
    error = Origin("acme").redirected(302, {} if location is None else {"location": location})
    assert str(error) == f"acme redirected the request (302) {said}: set base_url to where the API is"
    assert (error.error_code, error.retryable, error.status_code) == (ErrorCode.NOT_FOUND, False, 302)


@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_no_header_makes_a_wait_that_nothing_can_keep(header: str) -> None:
    """Whatever the vendor writes: a number of seconds up to a day, or nothing."""

    @examples(40)
    @given(value=st.text(max_size=40) | st.floats().map(str) | st.from_regex(_DATES, fullmatch=True))
    @example("9" * 400)
    @example("1e308")
    @example("Fri, 31 Dec 9999 23:59:59 GMT")
    @example("Mon, 01 Jan 0001 00:00:00 -2359")
    def holds(value: str) -> None:
        error = ProviderError("no", retry_after=retry_after({header: value}))
        assert error.retry_after is None or 0 <= error.retry_after <= LONGEST_PAUSE

    holds()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (None, None),
        (0, 0),
        (1.5, 1.5),
        (-1, None),
        (float("nan"), None),
        (float("inf"), LONGEST_PAUSE),
        (1e300, LONGEST_PAUSE),
    ],
)
def test_an_error_has_a_wait_that_can_be_kept(said: float | None, kept: float | None) -> None:
    assert ProviderError("no", retry_after=said).retry_after == kept
