"""Whether a vendor has the model that is configured, for `SupportsProbe`: a read, which costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader

__all__ = ["asking_for_model", "model_found"]


@contextmanager
def asking_for_model(model: str, host: str) -> Iterator[None]:
    """Add to a failure of the block what to do about it."""
    try:
        yield
    except ProviderError as error:
        error.args = (f"{error}; {_remedy(error.error_code, model, host)}",)
        raise


def model_found(body: bytes, model: str, host: str, origin: Origin) -> str:
    """Return in one line that the vendor answered with a model. Raises ProviderError for another answer."""
    reader = JSONReader(origin)
    found = reader.as_text(reader.parse(body).get("id"), "the model's id")
    known_as = "" if found == model else f", as {found[:100]}"
    return f"{host} takes the key and has model {model}{known_as}"


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
