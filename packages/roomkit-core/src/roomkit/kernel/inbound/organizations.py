"""The inbound pipelines, one for each organization that has messages under way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Organizations"]


class Organizations[Pipeline: object]:
    """Makes pipelines, one for an organization at a time: its messages are routed one by one."""

    def __init__(self, make: Callable[[str], Pipeline]) -> None:
        self._make = make
        self._pipelines: WeakValueDictionary[str, Pipeline] = WeakValueDictionary()

    def of(self, organization_id: str) -> Pipeline:
        """Return the pipeline of an organization, the same object while it is referenced."""
        found = self._pipelines.get(organization_id)
        if found is None:
            found = self._pipelines[organization_id] = self._make(organization_id)
        return found
