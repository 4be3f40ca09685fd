"""Parameters that a model does not take."""

from __future__ import annotations

import logging
from collections.abc import Iterable

__all__ = ["LeftOut"]


class LeftOut:
    """Warns of each parameter that is omitted from requests to `model`, once."""

    def __init__(self, log: logging.Logger, model: str) -> None:
        self._log = log
        self._model = model
        self._warned: set[str] = set()  # bound: the parameters of AIContext

    def warn(self, parameters: Iterable[str]) -> None:
        """Warn of those that were not warned of before."""
        for parameter in parameters:
            if parameter not in self._warned:
                self._warned.add(parameter)
                self._log.warning(
                    "%s takes no %s: it is omitted from this request and all later ones",
                    self._model,
                    parameter,
                )
