"""Options checked against the model that declares them."""

import pytest
from pydantic import BaseModel, Field, SecretStr

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.options import checked_options


class _Options(BaseModel):
    retries: int = Field(3, ge=0)
    seconds: float = Field(1.0, gt=0)
    token: SecretStr = SecretStr("")


def test_options_that_fit_are_the_model():
    options = checked_options(_Options, {"retries": 1})
    assert (options.retries, options.seconds) == (1, 1.0)


def test_every_wrong_option_is_named_with_its_value():
    with pytest.raises(InvalidInputError) as caught:
        checked_options(_Options, {"retries": -1, "seconds": 0}, advice={"greater_than": "give it some time"})
    assert str(caught.value) == (
        "retries cannot be -1: Input should be greater than or equal to 0; seconds is 0; give it some time"
    )


def test_a_number_that_has_no_end_is_not_written_out():
    with pytest.raises(InvalidInputError, match="retries cannot be a number of 33220 bits"):
        checked_options(_Options, {"retries": -(10**10000)})


@pytest.mark.parametrize("given", [{"token": 4242}, {"token": ["4242"]}])
def test_a_secret_of_the_wrong_type_is_not_shown(given):
    with pytest.raises(InvalidInputError, match="token cannot be that") as caught:
        checked_options(_Options, given)
    assert "4242" not in str(caught.value)
    assert caught.value.__cause__ is None
