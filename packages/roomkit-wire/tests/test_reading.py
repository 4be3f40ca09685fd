"""JSON of the wrong shape is a typed error that names the fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader, count

READER = JSONReader(Origin("acme"))


def test_the_right_shape_is_given_back() -> None:
    value = READER.parse('{"a": [{"b": "c"}]}')
    (item,) = READER.as_list(value["a"], "'a'")
    assert READER.as_text(READER.as_object(item, "an item")["b"], "'b'") == "c"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: READER.parse(b"{"), "not JSON"),
        (lambda: READER.parse("[1]"), "a JSON list where an object belongs"),
        (lambda: READER.as_object(None, "'a'"), "'a' is not an object"),
        (lambda: READER.as_list({}, "'a'"), "'a' is not a list"),
        (lambda: READER.as_text(1, "'a'"), "'a' is not a string"),
    ],
)
def test_any_other_is_refused(read: Callable[[], object], said: str) -> None:
    """As a `bad_response`."""
    with pytest.raises(ProviderError, match=said) as caught:
        read()
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE


@pytest.mark.parametrize("odd", [-1, True, "3", 1.5, None])
def test_a_count_that_is_none_is_not_made_up(odd: object) -> None:
    """Only a whole number from zero up counts, of an object that has it."""
    assert count({"tokens": odd}, "tokens") is None
    assert count(odd, "tokens") is None
    assert count({"tokens": 0}, "tokens") == 0
