"""Lengths of time are spelled out."""

import pytest

from roomkit.abc.duration import seconds_of
from roomkit_plugins.cli.durations import in_words


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("6min", "6 minutes"),
        ("90min", "1 hour 30 minutes"),
        ("36h", "1 day 12 hours"),
        ("180d", "180 days"),
        ("6mo", "180 days"),
        ("1000y", "365,000 days"),
        (1, "1 second"),
        (61, "1 minute 1 second"),
        (0.25, "0.25 seconds"),
        (86_400.5, "1 day 0.5 seconds"),
    ],
)
def test_a_length_of_time_is_spelled_out(term, words):
    assert in_words(seconds_of(term)) == words
