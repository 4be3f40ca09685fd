"""Supervised work of an owner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

__all__ = ["OwnerTasks"]


class OwnerTasks(ABC):
    """Runs an owner's work; a failure is logged and published as `background_error`.

    A task begins at once, so an event loop has to run: call it from `start` on, not in `bind`. All of an
    owner's tasks end with it: `unregister_channel` and `detach_source` cancel what they left running.
    """

    @abstractmethod
    def serve(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run endless work, such as a connection: the kit's `close()` cancels it first.

        Raises InvalidInputError where no event loop runs.
        """

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run work that ends: the kit's `close()` waits for it, within its time.

        Raises InvalidInputError where no event loop runs.
        """
