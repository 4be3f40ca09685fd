"""Whether a vendor has the model that is configured, for `SupportsProbe`: a read, which costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader

__all__ = ["asking_for_model", "model_found", "model_listed"]

_SHOWN = 5
"""Models of a server that an error names."""


@contextmanager
def asking_for_model(model: str, host: str) -> Iterator[None]:
    """Add to a failure of the block what to do about it."""
    try:
        yield
    except ProviderError as error:
        error.args = (f"{error}; {_remedy(error.error_code, model, host)}",)
        raise


def model_found(body: bytes, model: str, host: str, origin: Origin, *, field: str = "id") -> str:
    """Return in one line that the vendor answered with a model, whose id is in `field`.

    Raises ProviderError for another answer.
    """
    reader = JSONReader(origin)
    found = reader.as_text(reader.parse(body).get(field), "the model's id").removeprefix("models/")
    known_as = "" if found == model else f", as {found[:100]}"
    return f"{host} takes the key and has model {model}{known_as}"


def model_listed(body: bytes, model: str, host: str, origin: Origin) -> str:
    """Return in one line that a server lists a model, as OpenAI's API lists them.

    Raises ProviderError: NOT_FOUND, with models that it has, or BAD_RESPONSE for another answer.
    """
    reader = JSONReader(origin)
    listed = reader.as_list(reader.parse(body).get("data"), "the list of models")
    names = [reader.as_text(reader.as_object(each, "a model").get("id"), "the model's id") for each in listed]
    if model in names:
        return f"{host} has model {model}"
    shown = ", ".join(name[:100] for name in names[:_SHOWN]) or "none"
    raise origin.refused(f"{host} lists {len(names)} models: {shown}", error_code=ErrorCode.NOT_FOUND)


def _remedy(code: ErrorCode, model: str, host: str) -> str:
    match code:
        case ErrorCode.AUTH:
            return f"set a key that {host} made"
        case ErrorCode.NOT_FOUND:
            return f"{host} has no model {model} for this key, or is not the API: check model and base_url"
        case ErrorCode.CONNECTION | ErrorCode.TIMEOUT | ErrorCode.BAD_RESPONSE:
            return f"check that base_url is the API, and that {host} can be reached from here"
        case _:
            return f"model {model} of {host} was not found out"
